//! What fuzzers call: one function for each target, which takes any bytes and
//! panics where the drive does what it must not.
//!
//! The targets themselves stand in `fuzz/`; their corpora are replayed by the
//! tests of this module, without a fuzzer.

mod commands;
mod guest;
mod messages;
mod rings;
#[cfg(test)]
mod tests;
mod walks;

pub use commands::sqe;
#[cfg(test)]
pub(crate) use guest::Act;
pub(crate) use guest::{check_records, fill_unmapped, perform, prepare};
pub use messages::vfio_user;
pub use rings::vhost_user;
pub use walks::transfer;

use crate::ControllerConfig;
use crate::host::Host;
use crate::media::Ram;
use crate::profile::Profile;

/// Size of the medium, bytes: small, as each input has a fresh one.
const MEDIA_BYTES: u64 = 1 << 20;

/// A guest that does anything at all, in any order, as `data` says.
///
/// # Panics
///
/// Where a command is lost, or told of twice, or memory that is not mapped
/// changes.
pub fn controller(data: &[u8]) {
    let mut input = arbitrary::Unstructured::new(data);
    let small = input.arbitrary::<bool>().unwrap_or_default();
    let config = ControllerConfig {
        contiguous_queues_required: !small,
        cmb_bytes: if small { 16 << 10 } else { 0 },
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, Ram::new(MEDIA_BYTES).unwrap());
    let untouched = fill_unmapped(&mut host);
    let mut tails = prepare(&mut host);
    for _ in 0..128 {
        if input.is_empty() {
            break;
        }
        let Ok(act) = input.arbitrary() else { break };
        perform(&mut host, act, &mut tails);
    }
    host.controller.poll(64);
    host.controller.disconnected();
    assert!(untouched(&host), "memory that is not mapped was written");
    check_records(&host);
}

/// A profile's text: what is taken can be used, and written and read again.
///
/// # Panics
///
/// Where that is not so.
pub fn profile(data: &[u8]) {
    let Ok(profile) = Profile::parse_bytes("fuzz", data) else {
        return;
    };
    let config = profile.to_config().unwrap();
    config.check().unwrap();
    let text = profile.to_toml().unwrap();
    let again = Profile::parse("fuzz", &text).unwrap();
    assert_eq!(again.to_config().unwrap(), config, "{text}");
}
