//! Features are set and told.

use nvme::{FeatureId, Status};
use zerocopy::little_endian::U32;

use super::{data, get, host, refused, set};

#[test]
fn features_keep_what_is_set_until_a_reset() {
    let mut host = host();
    for (feature, default, value) in [
        (FeatureId::ARBITRATION, 7, 0x0102_0303),
        (FeatureId::POWER_MANAGEMENT, 0, 0),
        (FeatureId::TEMPERATURE_THRESHOLD, 343, 350),
        (FeatureId::VOLATILE_WRITE_CACHE, 1, 0),
        (FeatureId::INTERRUPT_COALESCING, 0, 0x0102),
        (FeatureId::WRITE_ATOMICITY, 0, 1),
        (FeatureId::ASYNC_EVENT_CONFIG, 0, 0x11f),
    ] {
        assert_eq!(
            host.admin(get(feature, 0)).result.get(),
            default,
            "{feature}"
        );
        assert_eq!(host.admin_status(set(feature, value)), Status::SUCCESS);
        assert_eq!(host.admin(get(feature, 0)).result.get(), value, "{feature}");
        assert_eq!(
            host.admin(get(feature, 1)).result.get(),
            default,
            "{feature}"
        );
        // Changeable, saveable, not a namespace's.
        assert_eq!(host.admin(get(feature, 3)).result.get(), 0b101, "{feature}");
    }
    host.controller.function_reset();
    host.enable();
    let cache = host.admin(get(FeatureId::VOLATILE_WRITE_CACHE, 0));
    assert_eq!(cache.result.get(), 1);
}

#[test]
fn features_with_data_come_back_as_they_went() {
    let mut host = host();
    let page = host.pages(1);
    host.write(page, b"0123456789abcdef");
    let mut sqe = set(FeatureId::HOST_IDENTIFIER, 1);
    sqe.prp1 = page.into();
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    let mut sqe = get(FeatureId::HOST_IDENTIFIER, 0);
    sqe.cdw11 = U32::new(1);
    assert_eq!(data(&mut host, sqe).unwrap()[..16], *b"0123456789abcdef");
    // The clock runs on from what the host set.
    host.write(page, &1_000_000_u64.to_le_bytes());
    let mut sqe = set(FeatureId::TIMESTAMP, 0);
    sqe.prp1 = page.into();
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    host.clock.advance(2_000_000_000);
    let value = data(&mut host, get(FeatureId::TIMESTAMP, 0)).unwrap();
    assert_eq!(value[..8], (1_002_000 | 2_u64 << 48).to_le_bytes());
}

#[test]
fn features_that_are_wrong_are_refused() {
    let mut host = host();
    for feature in [0x00, 0x03, 0x0d, 0x12, 0x13, 0x7f, 0xff] {
        refused(&mut host, get(FeatureId(feature), 0), Status::INVALID_FIELD);
        refused(&mut host, set(FeatureId(feature), 0), Status::INVALID_FIELD);
    }
    let field = Status::INVALID_FIELD;
    refused(&mut host, get(FeatureId::ARBITRATION, 4), field);
    refused(&mut host, set(FeatureId::POWER_MANAGEMENT, 5), field);
    refused(
        &mut host,
        set(FeatureId::INTERRUPT_VECTOR_CONFIG, 65),
        field,
    );
    refused(
        &mut host,
        set(FeatureId::TEMPERATURE_THRESHOLD, 3 << 20),
        field,
    );
    refused(
        &mut host,
        set(FeatureId::ERROR_RECOVERY, 1 << 16),
        Status::INVALID_NAMESPACE_OR_FORMAT,
    );
    let mut saved = set(FeatureId::NUMBER_OF_QUEUES, 0);
    saved.cdw10 |= U32::new(1 << 31);
    refused(&mut host, saved, Status::FEATURE_NOT_SAVEABLE);
    let mut namespace = set(FeatureId::ARBITRATION, 0);
    namespace.namespace_id = 1.into();
    refused(&mut host, namespace, Status::FEATURE_NOT_NAMESPACE_SPECIFIC);
}

#[test]
fn the_one_combination_of_command_sets_is_the_only_profile() {
    let mut host = host();
    let profile = FeatureId::COMMAND_SET_PROFILE;
    assert_eq!(host.admin(get(profile, 0)).result.get(), 0);
    assert_eq!(host.admin_status(set(profile, 0)), Status::SUCCESS);
    let status = host.admin_status(set(profile, 1));
    let rejected = Status::COMMAND_SET_COMBINATION_REJECTED;
    assert!(status.same_code(rejected), "{status}");
}
