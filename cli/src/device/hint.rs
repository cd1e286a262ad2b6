//! What to do where a device refuses a command.

use anyhow::{Error, anyhow};
use driver::DriverError;
use nvme::Status;

use super::Device;

/// The error, with the way out where the status of the command tells one.
pub(super) fn add(error: Error, device: &Device) -> Error {
    let status = match error.downcast_ref() {
        Some(DriverError::CommandFailed { status, .. }) => *status,
        _ => return error,
    };
    match hint(status) {
        Some(hint) => anyhow!("{error}: {}", hint.replace("DEVICE", &device.to_string())),
        None => error,
    }
}

fn hint(status: Status) -> Option<&'static str> {
    let hints = [
        (
            Status::INVALID_OPCODE,
            "the device has no such command: see `vssd device log DEVICE 5`",
        ),
        (
            Status::INVALID_LOG_PAGE,
            "the device has no such page: see `vssd device log DEVICE 0`",
        ),
        (
            Status::INVALID_FIELD,
            "the device does not have this, or not like this: \
             see `vssd device identify DEVICE --controller`",
        ),
        (
            Status::INVALID_NAMESPACE_OR_FORMAT,
            "see `vssd device ns list DEVICE`",
        ),
        (
            Status::INVALID_FORMAT,
            "see `vssd device identify DEVICE --namespace N`",
        ),
        (Status::FEATURE_NOT_SAVEABLE, "leave out --save"),
        (
            Status::NAMESPACE_WRITE_PROTECTED,
            "see `vssd device feature get DEVICE namespace-write-protection --nsid N`",
        ),
        (
            Status::SANITIZE_IN_PROGRESS,
            "wait for it with `vssd device sanitize status DEVICE --wait`",
        ),
        (
            Status::SANITIZE_FAILED,
            "sanitize the device again, see `vssd device sanitize status DEVICE`",
        ),
        (
            Status::SELF_TEST_IN_PROGRESS,
            "wait for it, or `vssd device selftest abort DEVICE`",
        ),
        (
            Status::INVALID_FIRMWARE_SLOT,
            "see `vssd device firmware list DEVICE`",
        ),
        (
            Status::NAMESPACE_INSUFFICIENT_CAPACITY,
            "choose a smaller size, or delete a namespace",
        ),
        (
            Status::NAMESPACE_ALREADY_ATTACHED,
            "detach it first, or leave it",
        ),
        (
            Status::NAMESPACE_NOT_ATTACHED,
            "see `vssd device ns list DEVICE`",
        ),
    ];
    hints
        .into_iter()
        .find(|(of, _)| status.same_code(*of))
        .map(|(_, hint)| hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_way_out() {
        let failed = |status| DriverError::CommandFailed {
            device: "d".into(),
            command: "Get Log Page".into(),
            status,
        };
        let device: Device = "vfio-user:/s".parse().unwrap();
        let error = add(failed(Status::INVALID_LOG_PAGE.dnr()).into(), &device).to_string();
        assert!(error.contains("Get Log Page failed"), "{error}");
        assert!(
            error.ends_with("see `vssd device log vfio-user:/s 0`"),
            "{error}"
        );
        let error = add(failed(Status::INTERNAL_ERROR).into(), &device).to_string();
        assert!(error.ends_with("Internal Error (006h)"), "{error}");
    }
}
