//! What the NVMe driver of Windows, stornvme.sys, does to the registers and the
//! queues, on the whole controller in virtual time.
//!
//! Three reports of others are behind these tests: Propolis' pull request 1199,
//! and SPDK's issues 2000 and 2009. Every other test follows from the
//! specification, and says so: that Windows does it is likely, not shown.

use driver::transport::Transport;
use nvme::{
    AdminOpcode, Aqa, Cap, Cc, Cns, NSID_ALL, NamespaceId, NvmOpcode, Registers,
    ShutdownNotification, ShutdownStatus, Sqe, Status, offset,
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

/// SPDK, issue 1916, is of its own host, not of Windows: who takes every
/// namespace for an active one trips over those that are not. By the
/// specification, only active ones are listed (`NVMe Base 2.1 §5.1.13.2.2`).
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
    host.create_queues(1)?;
    write_block(&mut host)?;
    shut_down(&mut host)?;

    host.enable()?;
    host.create_queues(1)?;
    assert_block(&mut host)?;
    Ok(())
}

fn write_block(host: &mut Polled) -> Result {
    host.data.fill(0, 512, 0x5a)?;
    let cqe = host.execute(1, io(NvmOpcode::WRITE))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    Ok(())
}

fn assert_block(host: &mut Polled) -> Result {
    host.data.fill(0, 512, 0)?;
    let cqe = host.execute(1, io(NvmOpcode::READ))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    let block: [u8; 512] = host.data.get(0)?;
    assert!(block.iter().all(|byte| *byte == 0x5a));
    Ok(())
}

/// SPDK, issue 2000: Windows sent more Asynchronous Event Requests than that
/// controller took, and got the limit for an answer. Those that wait go on
/// waiting, and other commands pass.
#[test]
fn event_requests_beyond_the_limit_are_refused_and_nothing_else_is() -> Result {
    let mut host = polled();
    host.enable()?;
    host.execute(0, identify(Cns::CONTROLLER, 0))?;
    // AERL, zero-based.
    let limit = 1 + u32::from(host.data.get::<u8>(259)?);
    let event = || Sqe::new(AdminOpcode::ASYNC_EVENT_REQUEST.0, NamespaceId(0));
    for at in 0..limit {
        host.submit(0, event())?;
        assert!(host.reap(0, 10)?.is_none(), "request {at}");
    }
    for _ in 0..3 {
        let cqe = host.execute(0, event())?;
        let expected = Status::ASYNC_EVENT_LIMIT_EXCEEDED;
        assert!(cqe.status().same_code(expected), "{}", cqe.status());
    }
    let cqe = host.execute(0, identify(Cns::CONTROLLER, 0))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    Ok(())
}

/// SPDK, issue 2009: with pin interrupts, Windows masks vector 0 when it is
/// called, takes the completions, moves the head, and unmasks.
#[test]
fn completions_are_taken_while_the_interrupt_is_masked() -> Result {
    let mut host = polled();
    host.enable()?;
    for _ in 0..20 {
        let id = host.submit(0, identify(Cns::CONTROLLER, 0))?;
        host.path.write32(offset::INTMS, 1);
        assert_eq!(host.path.read32(offset::INTMS), 1);
        let cqe = host.reap(0, 1_000)?.ok_or("no completion")?;
        assert_eq!(cqe.cid().0, id);
        host.path.write32(offset::INTMC, 1);
        assert_eq!(host.path.read32(offset::INTMS), 0);
    }
    Ok(())
}

/// From the specification (`NVMe Base 2.1 §3.1.4.1`, `§3.5.1`): CAP in halves or
/// whole; CC in one write; ready within CAP.TO.
#[test]
fn a_single_write_of_cc_enables_within_the_time_that_cap_tells() -> Result {
    let mut host = polled();
    let whole = host.path.read64(offset::CAP);
    let low = host.path.read32(offset::CAP);
    let high = host.path.read32(offset::CAP + 4);
    assert_eq!(whole, u64::from(high) << 32 | u64::from(low));
    assert!(Cap::from_bits(whole).to() > 0);
    host.disable()?;
    host.prepare()?;
    let cc = Cc::new().with_iosqes(6).with_iocqes(4).with_en(true);
    host.path.write32(offset::CC, cc.into_bits());
    // It gives up after 100 ms; CAP.TO is in units of 500 ms.
    host.wait("ready", |csts| csts.rdy())?;
    let cqe = host.execute(0, identify(Cns::CONTROLLER, 0))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    Ok(())
}

/// From the specification (`NVMe Base 2.1 §3.5.1`): the admin queue is where it
/// was when the controller was enabled; what is written later is for the next
/// time.
#[test]
fn the_admin_queue_stays_where_it_was_when_it_is_written_over() -> Result {
    let mut host = polled();
    host.enable()?;
    host.path.write32(
        offset::AQA,
        Aqa::new().with_asqs(1).with_acqs(1).into_bits(),
    );
    host.path.write64(offset::ASQ, 0);
    host.path.write64(offset::ACQ, 0);
    // More than once around the queue.
    for _ in 0..20 {
        let cqe = host.execute(0, identify(Cns::CONTROLLER, 0))?;
        assert_eq!(cqe.status(), Status::SUCCESS);
    }
    Ok(())
}

/// From the specification (`NVMe Base 2.1 §5.2.3`): all completion queues may
/// come before the submission queues; a completion queue goes last.
#[test]
fn queues_come_in_any_order_and_completion_queues_go_last() -> Result {
    let mut host = polled();
    host.add_pair()?;
    host.enable()?;
    for queue in [2, 1] {
        host.create_cq(queue)?;
    }
    for queue in [1, 2] {
        host.create_sq(queue)?;
    }
    for queue in [1, 2] {
        let cqe = host.execute(queue, io(NvmOpcode::READ))?;
        assert_eq!(cqe.status(), Status::SUCCESS);
    }
    for (opcode, expected) in [
        (AdminOpcode::DELETE_CQ, Status::INVALID_QUEUE_DELETION),
        (AdminOpcode::DELETE_SQ, Status::SUCCESS),
        (AdminOpcode::DELETE_CQ, Status::SUCCESS),
        (AdminOpcode::DELETE_CQ, Status::INVALID_QUEUE_ID),
    ] {
        let mut sqe = Sqe::new(opcode.0, NamespaceId(0));
        sqe.cdw10.set(2);
        let cqe = host.execute(0, sqe)?;
        assert!(cqe.status().same_code(expected), "{}", cqe.status());
    }
    let cqe = host.execute(1, io(NvmOpcode::READ))?;
    assert_eq!(cqe.status(), Status::SUCCESS);
    Ok(())
}

/// From the specification (`NVMe Base 2.1 §3.7.2`): a driver for dumps takes a
/// controller over that nobody shut down, with commands under way.
#[test]
fn a_driver_takes_over_that_was_told_of_no_shutdown() -> Result {
    let mut host = polled();
    host.enable()?;
    host.create_queues(1)?;
    write_block(&mut host)?;
    let event = AdminOpcode::ASYNC_EVENT_REQUEST.0;
    host.submit(0, Sqe::new(event, NamespaceId(0)))?;
    host.submit(1, io(NvmOpcode::FLUSH))?;

    host.enable()?;
    assert!(host.reap(0, 100)?.is_none(), "a completion from before");
    // The queue is gone with the reset, and can be made again.
    host.create_queues(1)?;
    assert!(host.reap(1, 100)?.is_none(), "a completion from before");
    assert_block(&mut host)?;
    Ok(())
}

/// From the specification (`NVMe Base 2.1 §3.7.2`): a function level reset while
/// the controller is enabled puts its registers back.
#[test]
fn a_function_level_reset_starts_over() -> Result {
    let mut host = polled();
    host.enable()?;
    host.create_queues(1)?;
    write_block(&mut host)?;
    host.path.reset()?;
    host.wait("not ready", |csts| !csts.rdy())?;
    assert_eq!(host.path.read32(offset::CC), 0);
    assert_eq!(host.path.read64(offset::ASQ), 0);

    host.enable()?;
    host.create_queues(1)?;
    assert_block(&mut host)?;
    Ok(())
}

/// From the specification (`NVMe Base 2.1 §3.6.1`): sleep and resume, more than
/// once: shut down, let the power state go to D3, which resets the function,
/// and start over.
#[test]
fn the_data_is_there_after_sleep() -> Result {
    let mut host = polled();
    host.enable()?;
    host.create_queues(1)?;
    write_block(&mut host)?;
    for _ in 0..3 {
        shut_down(&mut host)?;
        host.path.reset()?;
        host.enable()?;
        host.create_queues(1)?;
        assert_block(&mut host)?;
    }
    Ok(())
}
