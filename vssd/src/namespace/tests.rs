//! Namespaces share the capacity, and keep to their parts of it.

use super::*;
use crate::ControllerConfig;
use crate::media::MediaInfo;

const MIB: u64 = 1 << 20;

fn table(bytes: u64) -> Namespaces {
    let media = MediaInfo {
        bytes,
        read_only: false,
        volatile_cache: true,
    };
    Namespaces::new(&ControllerConfig::default(), media)
}

fn request(blocks: u64, index: u8) -> NewNamespace {
    NewNamespace {
        blocks,
        settings: FormatSettings {
            index,
            ..FormatSettings::default()
        },
        zoned: false,
    }
}

#[test]
fn a_namespace_gets_the_smallest_hole_that_fits_and_gives_it_back() {
    let mut table = table(16 * MIB);
    let blocks = 2 * MIB / 512;
    let ids: Vec<_> = (0..8)
        .map(|_| table.create(request(blocks, 0)).unwrap())
        .collect();
    assert_eq!(table.unallocated(), 0);
    let full = table.create(request(1, 0)).unwrap_err();
    assert!(full.same_code(Status::NAMESPACE_INSUFFICIENT_CAPACITY));
    for id in [ids[1], ids[4], ids[5]] {
        table.delete(id).unwrap();
    }
    assert_eq!(table.unallocated(), 6 * MIB);
    // The hole of one goes before the hole of two.
    let small = table.create(request(blocks, 0)).unwrap();
    assert_eq!(small, ids[1]);
    assert_eq!(table.get(small).unwrap().extent.offset, 2 * MIB);
    let large = table.create(request(2 * blocks, 0)).unwrap();
    assert_eq!(table.get(large).unwrap().extent.offset, 8 * MIB);
    assert_eq!(table.unallocated(), 0);
}

#[test]
fn sizes_that_are_none_are_refused() {
    let mut table = table(MIB);
    for (blocks, index, status) in [
        (0, 0, Status::INVALID_FIELD),
        (1, 63, Status::INVALID_FORMAT),
        (u64::MAX, 0, Status::NAMESPACE_INSUFFICIENT_CAPACITY),
        (u64::MAX / 512, 0, Status::NAMESPACE_INSUFFICIENT_CAPACITY),
        (MIB / 512 + 1, 0, Status::NAMESPACE_INSUFFICIENT_CAPACITY),
    ] {
        let error = table.create(request(blocks, index)).unwrap_err();
        assert!(error.same_code(status), "{blocks} {index}: {error}");
    }
}

#[test]
fn identifiers_run_out_where_the_profile_says() {
    let config = ControllerConfig {
        namespaces_max: 3,
        ..ControllerConfig::default()
    };
    let media = table(MIB).media();
    let mut table = Namespaces::new(&config, media);
    for expected in 1..=3 {
        assert_eq!(table.create(request(8, 0)).unwrap().0, expected);
    }
    let error = table.create(request(8, 0)).unwrap_err();
    assert!(error.same_code(Status::NAMESPACE_ID_UNAVAILABLE));
    table.delete(NamespaceId(2)).unwrap();
    assert_eq!(table.create(request(8, 0)).unwrap().0, 2);
    assert!(!table.is_valid(NamespaceId(0)) && !table.is_valid(NamespaceId(4)));
}

#[test]
fn data_and_metadata_of_all_blocks_lie_apart_and_inside() {
    let mut table = table(16 * MIB);
    table.create(request(8, 0)).unwrap();
    // 512 + 8 bytes.
    let nsid = table.create(request(1000, 2)).unwrap();
    let namespace = table.get(nsid).unwrap();
    let data = namespace.extent(0, 1000).unwrap();
    let metadata = namespace.metadata_extent(0, 1000);
    assert_eq!((data.bytes, metadata.bytes), (512_000, 8000));
    assert_eq!(data.offset, namespace.extent.offset);
    assert_eq!(metadata.offset, data.offset + data.bytes);
    assert!(metadata.offset + metadata.bytes <= namespace.extent.offset + namespace.extent.bytes);
    namespace.extent(1000, 1).unwrap_err();
    namespace.extent(u64::MAX, 2).unwrap_err();
}

#[test]
fn damage_is_healed_by_writing_and_shows_in_the_class() {
    let mut table = table(MIB);
    let nsid = table.create(request(100, 0)).unwrap();
    let namespace = table.get_mut(nsid).unwrap();
    namespace.attached = true;
    namespace.classify();
    assert!(namespace.plain);
    namespace.damage(10, 10);
    assert!(!namespace.plain);
    assert!(namespace.has_uncorrectable(19, 1) && !namespace.has_uncorrectable(20, 80));
    namespace.heal(12, 4);
    assert!(namespace.has_uncorrectable(0, 11) && !namespace.has_uncorrectable(12, 4));
    namespace.heal(0, 100);
    assert!(namespace.plain);
}

#[test]
fn each_namespace_has_a_uuid_of_its_own() {
    let table = table(MIB);
    let uuid = |nsid| {
        let nothing = Extent::default();
        table.blank(NamespaceId(nsid), nothing).uuid
    };
    assert_eq!(uuid(1), ControllerConfig::default().uuid());
    assert_ne!(uuid(2), uuid(1));
    assert_ne!(uuid(2), uuid(3));
}
