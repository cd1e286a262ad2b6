//! Queues by hand, and what a controller makes of them.

use std::time::Duration;

use crate::common::{Device, PATIENCE, Server};
use driver::raw::{
    RawCompletionOptions, RawCompletionQueue, RawSubmissionOptions, RawSubmissionQueue, prp_list,
};
use nvme::{AsyncEvent, Cqe, Lba, NamespaceId, NvmOpcode, QueueId, ReadWriteCdw12, Sqe, Status};
use vssd::ControllerConfig;

const N1: NamespaceId = NamespaceId(1);

/// A moment that is long for a device that has nothing to do.
const MOMENT: Duration = Duration::from_millis(50);

fn command(opcode: NvmOpcode, cid: u16) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, N1);
    sqe.set_dword(0, u32::from(opcode.0) | u32::from(cid) << 16);
    sqe
}

fn read(cid: u16, blocks: u16, prp1: u64, prp2: u64) -> Sqe {
    let mut sqe = command(NvmOpcode::READ, cid);
    sqe.set_slba(Lba(0));
    sqe.cdw12
        .set(ReadWriteCdw12::new().with_nlb(blocks - 1).into());
    sqe.prp1.set(prp1);
    sqe.prp2.set(prp2);
    sqe
}

fn pair(
    device: &mut Device,
    cq: RawCompletionOptions,
    sq: RawSubmissionOptions,
) -> (RawCompletionQueue, RawSubmissionQueue) {
    let cq = device.raw_completion_queue(cq).unwrap();
    let sq = device.raw_submission_queue(sq).unwrap();
    assert_eq!(
        device.create_raw_completion_queue(&cq).unwrap(),
        Status::SUCCESS
    );
    assert_eq!(
        device.create_raw_submission_queue(&sq).unwrap(),
        Status::SUCCESS
    );
    (cq, sq)
}

fn small(device: &mut Device) -> (RawCompletionQueue, RawSubmissionQueue) {
    pair(
        device,
        RawCompletionOptions::new(QueueId(1), 8),
        RawSubmissionOptions::new(QueueId(1), 8, QueueId(1)),
    )
}

fn next(device: &mut Device, cq: &mut RawCompletionQueue) -> Cqe {
    let cqe = device.wait_entry(cq, PATIENCE).unwrap();
    let cqe = cqe.expect("a completion");
    cq.ring(cq.head()).unwrap();
    cqe
}

#[test]
fn several_submission_queues_share_a_completion_queue() {
    let server = Server::small();
    let mut device = server.connect();
    let options = RawCompletionOptions::new(QueueId(3), 16);
    let mut cq = device.raw_completion_queue(options).unwrap();
    assert!(
        device
            .create_raw_completion_queue(&cq)
            .unwrap()
            .is_success()
    );
    let mut queues = Vec::new();
    for id in [5, 1, 9] {
        let options = RawSubmissionOptions::new(QueueId(id), 4, cq.id());
        let sq = device.raw_submission_queue(options).unwrap();
        assert!(
            device
                .create_raw_submission_queue(&sq)
                .unwrap()
                .is_success()
        );
        queues.push(sq);
    }
    for lap in 0..10 {
        for sq in &mut queues {
            sq.submit(&command(NvmOpcode::FLUSH, lap)).unwrap();
        }
        let mut seen: Vec<u16> = (0..3)
            .map(|_| {
                let cqe = next(&mut device, &mut cq);
                assert!(cqe.status().is_success());
                assert_eq!(cqe.cid().0, lap);
                cqe.sqid().0
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [1, 5, 9]);
    }
    // A completion queue that has submission queues stays.
    let refused = device.delete_raw_completion_queue(cq.id()).unwrap();
    assert!(
        refused.same_code(Status::INVALID_QUEUE_DELETION),
        "{refused}"
    );
    for sq in &queues {
        assert!(
            device
                .delete_raw_submission_queue(sq.id())
                .unwrap()
                .is_success()
        );
    }
    assert!(
        device
            .delete_raw_completion_queue(cq.id())
            .unwrap()
            .is_success()
    );
}

#[test]
fn scattered_queues_work_where_the_controller_has_them() {
    let config = ControllerConfig {
        contiguous_queues_required: false,
        ..ControllerConfig::default()
    };
    for (config, works) in [(config, true), (ControllerConfig::default(), false)] {
        let server = Server::start(config, 16 << 20);
        let mut device = server.connect();
        // Three pages of each.
        let cq = RawCompletionOptions {
            contiguous: false,
            ..RawCompletionOptions::new(QueueId(1), 700)
        };
        let sq = RawSubmissionOptions {
            contiguous: false,
            ..RawSubmissionOptions::new(QueueId(1), 180, QueueId(1))
        };
        if !works {
            let cq = device.raw_completion_queue(cq).unwrap();
            let refused = device.create_raw_completion_queue(&cq).unwrap();
            assert!(refused.same_code(Status::INVALID_FIELD), "{refused}");
            continue;
        }
        let (mut cq, mut sq) = pair(&mut device, cq, sq);
        // Laps of either that end at different times.
        for cid in 0..2000 {
            sq.submit(&command(NvmOpcode::FLUSH, cid)).unwrap();
            let cqe = next(&mut device, &mut cq);
            assert_eq!((cqe.cid().0, cqe.status()), (cid, Status::SUCCESS));
        }
    }
}

#[test]
fn phases_and_pointers_go_round() {
    let server = Server::small();
    let mut device = server.connect();
    let (mut cq, mut sq) = small(&mut device);
    for lap in 0..40_u32 {
        let place = cq.head();
        let phase = cq.phase();
        assert_eq!(phase, (lap / 8).is_multiple_of(2));
        assert_ne!(cq.entry(place).unwrap().phase(), phase);
        sq.submit(&command(NvmOpcode::FLUSH, 7)).unwrap();
        let cqe = next(&mut device, &mut cq);
        assert_eq!(cqe.phase(), phase);
        assert_eq!(u32::from(cqe.sq_head.get()), sq.tail());
        // It stays where it is until the next lap.
        assert_eq!(cq.entry(place).unwrap().phase(), phase);
    }
}

#[test]
fn a_full_completion_queue_holds_completions_back() {
    let server = Server::small();
    let mut device = server.connect();
    let (mut cq, mut sq) = pair(
        &mut device,
        RawCompletionOptions::new(QueueId(1), 4),
        RawSubmissionOptions::new(QueueId(1), 16, QueueId(1)),
    );
    for cid in 0..6 {
        sq.submit(&command(NvmOpcode::FLUSH, cid)).unwrap();
    }
    // One entry stays free, whatever waits.
    for _ in 0..3 {
        assert!(device.wait_entry(&mut cq, PATIENCE).unwrap().is_some());
    }
    assert_eq!(device.wait_entry(&mut cq, MOMENT).unwrap(), None);
    cq.ring(cq.head()).unwrap();
    for _ in 0..3 {
        next(&mut device, &mut cq);
    }
    assert_eq!(device.wait_entry(&mut cq, MOMENT).unwrap(), None);
}

#[test]
fn doorbells_that_are_wrong_are_reported_and_harm_nothing() {
    let server = Server::small();
    let mut device = server.connect();
    device.listen().unwrap();
    let (mut cq, mut sq) = small(&mut device);
    // Past the end of the queue.
    sq.ring(8).unwrap();
    let event = device.wait_event(PATIENCE).unwrap();
    assert_eq!(event, Some(AsyncEvent::INVALID_DOORBELL_VALUE));
    assert_eq!(device.wait_entry(&mut cq, MOMENT).unwrap(), None);
    // Its class is masked until the log was read.
    sq.ring(9).unwrap();
    assert_eq!(device.wait_event(MOMENT).unwrap(), None);
    let log = nvme::LogPageId::ERROR_INFORMATION;
    device.get_log_page(log, nvme::NSID_ALL, 0, 64).unwrap();
    sq.ring(10).unwrap();
    let event = device.wait_event(PATIENCE).unwrap();
    assert_eq!(event, Some(AsyncEvent::INVALID_DOORBELL_VALUE));
    sq.submit(&command(NvmOpcode::FLUSH, 1)).unwrap();
    assert!(next(&mut device, &mut cq).status().is_success());
}

/// A controller whose queues have 64 entries at most.
fn limited() -> Server {
    let config = ControllerConfig {
        queue_entries_max: 64,
        ..ControllerConfig::default()
    };
    Server::start(config, 16 << 20)
}

#[test]
fn completion_queues_that_cannot_be_are_refused() {
    type Change = fn(&mut RawCompletionOptions);
    let cases: [(Change, Status); 7] = [
        (|cq| cq.id = QueueId(0), Status::INVALID_QUEUE_ID),
        (|cq| cq.id = QueueId(0xfff0), Status::INVALID_QUEUE_ID),
        (|cq| cq.size = Some(0), Status::INVALID_QUEUE_SIZE),
        (|cq| cq.size = Some(64), Status::INVALID_QUEUE_SIZE),
        (
            |cq| cq.interrupt = Some(2048),
            Status::INVALID_INTERRUPT_VECTOR,
        ),
        (|_| {}, Status::SUCCESS),
        // There is one by now.
        (|_| {}, Status::INVALID_QUEUE_ID),
    ];
    let server = limited();
    let mut device = server.connect();
    for (change, wanted) in cases {
        let mut options = RawCompletionOptions::new(QueueId(1), 64);
        change(&mut options);
        let queue = device.raw_completion_queue(options).unwrap();
        let status = device.create_raw_completion_queue(&queue).unwrap();
        assert!(status.same_code(wanted), "{options:?}: {status}");
    }
}

#[test]
fn submission_queues_that_cannot_be_are_refused() {
    type Change = fn(&mut RawSubmissionOptions);
    let cases: [(Change, Status); 8] = [
        (|sq| sq.id = QueueId(0), Status::INVALID_QUEUE_ID),
        (|sq| sq.id = QueueId(0xfff0), Status::INVALID_QUEUE_ID),
        (
            |sq| sq.completion_queue = QueueId(2),
            Status::COMPLETION_QUEUE_INVALID,
        ),
        (
            |sq| sq.completion_queue = QueueId(0),
            Status::INVALID_QUEUE_ID,
        ),
        (|sq| sq.size = Some(0), Status::INVALID_QUEUE_SIZE),
        (|sq| sq.size = Some(64), Status::INVALID_QUEUE_SIZE),
        (|_| {}, Status::SUCCESS),
        // There is one by now.
        (|_| {}, Status::INVALID_QUEUE_ID),
    ];
    let server = limited();
    let mut device = server.connect();
    let cq = RawCompletionOptions::new(QueueId(1), 64);
    let cq = device.raw_completion_queue(cq).unwrap();
    assert_eq!(
        device.create_raw_completion_queue(&cq).unwrap(),
        Status::SUCCESS
    );
    for (change, wanted) in cases {
        let mut options = RawSubmissionOptions::new(QueueId(1), 64, QueueId(1));
        change(&mut options);
        let queue = device.raw_submission_queue(options).unwrap();
        let status = device.create_raw_submission_queue(&queue).unwrap();
        assert!(status.same_code(wanted), "{options:?}: {status}");
    }
    let wrong = device.delete_raw_submission_queue(QueueId(2)).unwrap();
    assert!(wrong.same_code(Status::INVALID_QUEUE_ID), "{wrong}");
}

#[test]
fn prp_lists_by_hand_are_walked_or_refused() {
    let server = Server::small();
    let mut device = server.connect();
    let mut pages = device.allocate_dma(8 * 4096).unwrap();
    let mut lists = device.allocate_dma(2 * 4096).unwrap();
    let first = pages.iova();
    let page = |number: u64| first + number * 4096;
    // Data from the middle of a page on, in pages that are out of order; the
    // list begins in the middle of a page, and goes on in another.
    let second = prp_list(&mut lists, 4096, &[page(6), page(2)]).unwrap();
    let list = prp_list(&mut lists, 4096 - 16, &[page(4), second]).unwrap();
    let mut write = read(1, 25, page(0) + 512, list);
    write.set_dword(0, u32::from(NvmOpcode::WRITE.0) | 1 << 16);
    for (number, value) in [(0, 0x10), (4, 0x14), (6, 0x16), (2, 0x12)] {
        pages.fill(number * 4096, 4096, value).unwrap();
    }
    let (mut cq, mut sq) = small(&mut device);
    sq.submit(&write).unwrap();
    assert_eq!(next(&mut device, &mut cq).status(), Status::SUCCESS);
    let target = device.allocate_dma(25 * 512).unwrap();
    let list = prp_list(
        &mut lists,
        0,
        &[1, 2, 3].map(|page| target.iova() + page * 4096),
    )
    .unwrap();
    sq.submit(&read(2, 25, target.iova(), list)).unwrap();
    assert_eq!(next(&mut device, &mut cq).status(), Status::SUCCESS);
    let mut found = vec![0; 25 * 512];
    target.read_at(0, &mut found).unwrap();
    let mut wanted = vec![0x10; 3584];
    wanted.extend([0x14; 4096]);
    wanted.extend([0x16; 4096]);
    wanted.extend([0x12; 25 * 512 - 3584 - 8192]);
    assert!(found == wanted, "the pages came in another order");

    for (sqe, wanted) in [
        // The second entry is no page's beginning.
        (
            read(3, 16, page(0), page(1) + 512),
            Status::PRP_OFFSET_INVALID,
        ),
        // The list's address is no dword's.
        (read(4, 32, page(0), list + 3), Status::PRP_OFFSET_INVALID),
        // No command of the NVM command set.
        (command(NvmOpcode(0x7f), 5), Status::INVALID_OPCODE),
    ] {
        sq.submit(&sqe).unwrap();
        let cqe = next(&mut device, &mut cq);
        assert!(cqe.status().same_code(wanted), "{sqe:?}: {}", cqe.status());
    }
}

#[test]
fn entries_that_nobody_has_memory_for_are_refused_here() {
    let server = Server::small();
    let mut device = server.connect();
    let (cq, sq) = small(&mut device);
    let text = sq.put(8, &Sqe::default()).unwrap_err().to_string();
    assert!(text.contains("entry 8"), "{text}");
    cq.entry(8).unwrap_err();
    let far = RawSubmissionOptions {
        id: QueueId(u16::MAX),
        ..RawSubmissionOptions::new(QueueId(1), 8, QueueId(1))
    };
    let far = device.raw_submission_queue(far).unwrap();
    let text = far.ring(0).unwrap_err().to_string();
    assert!(text.contains("doorbell"), "{text}");
}

/// What the device may still write to is kept, whoever lets go of it.
#[test]
fn memory_of_a_queue_outlives_it_until_the_device_forgets_it() {
    let server = Server::small();
    let mut device = server.connect();
    let (cq, sq) = small(&mut device);
    let place = cq.prp1();
    drop((cq, sq));
    let other = device.allocate_dma(4096).unwrap();
    assert_ne!(other.iova(), place);
    assert!(
        device
            .delete_raw_submission_queue(QueueId(1))
            .unwrap()
            .is_success()
    );
    assert!(
        device
            .delete_raw_completion_queue(QueueId(1))
            .unwrap()
            .is_success()
    );
    let mut places = Vec::new();
    let buffers: Vec<_> = (0..4).map(|_| device.allocate_dma(4096).unwrap()).collect();
    places.extend(buffers.iter().map(driver::DmaBuffer::iova));
    assert!(places.contains(&place), "{places:x?} and {place:x}");
}
