//! Commands that a drive does without.

use nvme::{
    AdminOpcode, Cns, FeatureId, IdentifyController, LogPageId, NamespaceId, NvmOpcode, Sqe, Status,
};
use zerocopy::FromBytes;
use zerocopy::little_endian::U64;

use super::kept::{admin, ready};
use crate::host::{Host, Pair};
use crate::media::Ram;
use crate::{ControllerConfig, OptionalCommand};

fn drive(withheld: &[OptionalCommand]) -> (Host<Ram>, Pair) {
    let config = ControllerConfig {
        withheld: withheld.to_vec(),
        ..ControllerConfig::default()
    };
    ready(Host::new(config, super::ram()))
}

fn page(host: &mut Host<Ram>, mut sqe: Sqe) -> (Status, Vec<u8>) {
    let at = host.pages(1);
    sqe.prp1 = U64::new(at);
    let status = host.admin_status(sqe);
    (status, host.read(at, 4096))
}

fn log(host: &mut Host<Ram>, page_id: LogPageId) -> (Status, Vec<u8>) {
    let cdw10 = u32::from(page_id.0) | 1023 << 16;
    page(host, admin(AdminOpcode::GET_LOG_PAGE, 0, cdw10, 0))
}

fn identify(host: &mut Host<Ram>) -> IdentifyController {
    let sqe = admin(AdminOpcode::IDENTIFY, 0, Cns::CONTROLLER.0.into(), 0);
    IdentifyController::read_from_bytes(&page(host, sqe).1).unwrap()
}

/// Opcodes that the effects page names as there: admin ones, then those of I/O.
fn opcodes(host: &mut Host<Ram>) -> Vec<usize> {
    let (status, effects) = log(host, LogPageId::COMMAND_EFFECTS);
    assert_eq!(status, Status::SUCCESS);
    (0..512).filter(|at| effects[4 * at] & 1 != 0).collect()
}

/// What Identify, the effects page and the drive's answers say of each command
/// agree, with it and without it; and nothing else changes.
#[test]
fn a_drive_does_without_what_its_profile_withholds() {
    let (mut host, _) = drive(&[]);
    let all = opcodes(&mut host);
    let told = identify(&mut host);
    for command in OptionalCommand::ALL {
        assert!(command.is_offered(&told), "{command:?}");
        let (mut host, mut pair) = drive(&[command]);
        let told = identify(&mut host);
        assert!(!command.is_offered(&told), "{command:?}");
        let others = OptionalCommand::ALL.into_iter().filter(|other| {
            // A fused Compare and Write takes a Compare.
            let fused = *other == OptionalCommand::CompareAndWrite;
            *other != command && !(fused && command == OptionalCommand::Compare)
        });
        for other in others {
            assert!(other.is_offered(&told), "{other:?} without {command:?}");
        }
        let left = opcodes(&mut host);
        let gone: Vec<usize> = all
            .iter()
            .copied()
            .filter(|at| !left.contains(at))
            .collect();
        let fused = command == OptionalCommand::CompareAndWrite;
        assert_eq!(gone.is_empty(), fused, "{command:?}");
        for at in gone {
            let sqe = Sqe::new(u8::try_from(at % 256).unwrap(), NamespaceId(1));
            let status = if at < 256 {
                host.admin_status(sqe)
            } else {
                host.run(&mut pair, sqe).status()
            };
            assert_eq!(
                status,
                Status::INVALID_OPCODE.dnr().more(),
                "{command:?}, {at:#x}"
            );
        }
    }
}

#[test]
fn pages_and_features_go_with_their_commands() {
    let pages = [
        (OptionalCommand::SelfTest, LogPageId::SELF_TEST),
        (OptionalCommand::Lockdown, LogPageId::LOCKDOWN),
        (OptionalCommand::Sanitize, LogPageId::SANITIZE_STATUS),
        (OptionalCommand::NvmeMi, LogPageId::NVME_MI_EFFECTS),
        (
            OptionalCommand::Reservations,
            LogPageId::RESERVATION_NOTIFICATION,
        ),
    ];
    for (command, page_id) in pages {
        let at = 4 * usize::from(page_id.0);
        let (mut host, _) = drive(&[]);
        assert_eq!(log(&mut host, LogPageId::SUPPORTED).1[at] & 1, 1);
        let (mut host, _) = drive(&[command]);
        assert_eq!(log(&mut host, LogPageId::SUPPORTED).1[at] & 1, 0);
        let status = log(&mut host, page_id).0;
        assert_eq!(status, Status::INVALID_LOG_PAGE.dnr().more(), "{command:?}");
    }
    let features = [
        (OptionalCommand::Sanitize, FeatureId::SANITIZE_CONFIG, 0),
        (
            OptionalCommand::Reservations,
            FeatureId::RESERVATION_PERSISTENCE,
            1,
        ),
    ];
    for (command, feature, nsid) in features {
        let get = admin(AdminOpcode::GET_FEATURES, nsid, feature.0.into(), 0);
        let (mut host, _) = drive(&[]);
        assert_eq!(host.admin_status(get), Status::SUCCESS, "{feature:?}");
        let (mut host, _) = drive(&[command]);
        let status = host.admin_status(get);
        assert_eq!(status, Status::INVALID_FIELD.dnr().more(), "{feature:?}");
    }
}

#[test]
fn fused_commands_are_refused_where_they_are_withheld() {
    for command in [OptionalCommand::CompareAndWrite, OptionalCommand::Compare] {
        let (mut host, mut pair) = drive(&[command]);
        let mut first = Sqe::new(NvmOpcode::WRITE.0, NamespaceId(1));
        first.flags |= 0b10;
        let status = host.run(&mut pair, first).status();
        assert_eq!(status, Status::INVALID_FIELD.dnr().more(), "{command:?}");
    }
}
