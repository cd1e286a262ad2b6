//! What the NVMe driver of Windows, stornvme.sys, is known to do, on the whole
//! controller in virtual time. Each test names who found it out; two are of
//! other hosts or of the specification, and say so.

use nvme::{
    AdminOpcode, Cc, Cns, NSID_ALL, NamespaceId, NvmOpcode, Registers, ShutdownNotification,
    ShutdownStatus, Sqe, Status, offset,
};
use vssd_tests::sim::polled::Polled;
use vssd_tests::sim::{Device, DeviceOptions};

type Result = std::result::Result<(), Box<dyn std::error::Error>>;

fn polled() -> Polled {
    let device = Device::new(DeviceOptions::default()).unwrap();
    Polled::attach(&device).unwrap()
}

fn identify(cns: Cns, nsid: u32) -> Sqe {
    let mut sqe = Sqe::new(AdminOpcode::IDENTIFY.0, NamespaceId(nsid));
    sqe.cdw10.set(u32::from(cns.0));
    sqe
}

fn create_queues(host: &mut Polled) -> Result {
    let (sq, cq) = host.bases(1);
    // Eight entries of queue 1, contiguous; no interrupts, or on queue 1.
    for (opcode, base, cdw11) in [
        (AdminOpcode::CREATE_CQ, cq, 1),
        (AdminOpcode::CREATE_SQ, sq, 1 << 16 | 1),
    ] {
        let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
        sqe.prp1.set(base);
        sqe.cdw10.set(7 << 16 | 1);
        sqe.cdw11.set(cdw11);
        host.submit(0, sqe)?;
        let cqe = host.reap(0, 1_000)?.ok_or("no completion")?;
        assert_eq!(cqe.status(), Status::SUCCESS);
    }
    Ok(())
}

fn io(opcode: NvmOpcode) -> Sqe {
    // One block, at block 8.
    let mut sqe = Sqe::new(opcode.0, NamespaceId(1));
    sqe.cdw10.set(8);
    sqe
}

fn shut_down(host: &mut Polled) -> Result {
    let cc = Cc::from_bits(host.path.read32(offset::CC));
    let cc = cc.with_shn(ShutdownNotification::Normal);
    host.path.write32(offset::CC, cc.into_bits());
    host.wait("shut down", |csts| csts.shst() == ShutdownStatus::Complete)?;
    Ok(())
}

/// Propolis, pull request 1199: the driver of Windows 11 24H2 and Server 2025
/// reads the queues' addresses back after its first Identify Controller, and
/// gives the adapter up where they read as 0.
#[test]
fn the_admin_queue_reads_back_while_the_controller_is_enabled() -> Result {
    let mut host = polled();
    host.enable()?;
    let cqe = host.execute(0, identify(Cns::CONTROLLER, 0))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    let (asq, acq) = host.bases(0);
    assert_eq!(host.path.read32(offset::AQA), 0x0007_0007);
    assert_eq!(host.path.read64(offset::ASQ), asq);
    assert_eq!(host.path.read64(offset::ACQ), acq);
    Ok(())
}

/// Propolis, pull request 1199: an Asynchronous Event Request that fails is
/// submitted again at once, for ever; four of them wait in the steady state.
#[test]
fn event_requests_wait_and_other_commands_pass_them() -> Result {
    let mut host = polled();
    host.enable()?;
    for _ in 0..4 {
        let event = AdminOpcode::ASYNC_EVENT_REQUEST.0;
        host.submit(0, Sqe::new(event, NamespaceId(0)))?;
    }
    assert!(host.reap(0, 1_000)?.is_none(), "none completes");
    let cqe = host.execute(0, identify(Cns::NAMESPACE, 1))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    // A reset of the controller takes them along.
    host.enable()?;
    assert!(host.reap(0, 1_000)?.is_none());
    Ok(())
}

/// SPDK, issue 1916, of its own host: who takes every namespace for an active
/// one trips over those that are not. Only active ones are listed.
#[test]
fn only_active_namespaces_are_shown() -> Result {
    let mut host = polled();
    host.enable()?;
    let cqe = host.execute(0, identify(Cns::ACTIVE_NAMESPACES, 0))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    let list: [u32; 2] = host.data.get(0)?;
    assert_eq!(list, [1, 0]);
    let cqe = host.execute(0, identify(Cns::NAMESPACE, NSID_ALL.0 - 1))?;
    let expected = Status::INVALID_NAMESPACE_OR_FORMAT;
    assert!(cqe.status().same_code(expected), "{}", cqe.status());
    Ok(())
}

/// The shutdown handshake (`NVMe Base 2.1 §3.6.1`): what was written is there
/// for the driver that comes next, with one pair of queues, polling.
#[test]
fn a_second_driver_takes_over_after_a_shutdown_and_reads_the_data() -> Result {
    let mut host = polled();
    host.enable()?;
    create_queues(&mut host)?;
    host.data.fill(0, 512, 0x5a)?;
    let cqe = host.execute(1, io(NvmOpcode::WRITE))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    shut_down(&mut host)?;

    host.enable()?;
    create_queues(&mut host)?;
    host.data.fill(0, 512, 0)?;
    let cqe = host.execute(1, io(NvmOpcode::READ))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    let block: [u8; 512] = host.data.get(0)?;
    assert!(block.iter().all(|byte| *byte == 0x5a));
    Ok(())
}
