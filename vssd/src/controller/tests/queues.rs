//! What is fetched when, what is told when, and where doorbells are.

use nvme::{
    AdminOpcode, CreateSqCdw11, DoorbellKind, FeatureId, NamespaceId, QueueId, Registers, Sqe,
    Status, offset,
};
use zerocopy::little_endian::{U32, U64};

use super::{MIB, flush};
use crate::ControllerConfig;
use crate::host::{Host, PAGE, Pair, create};
use crate::media::Null;

type H = Host<Null>;

fn set(host: &mut H, feature: FeatureId, cdw11: u32) {
    let mut sqe = Sqe::new(AdminOpcode::SET_FEATURES.0, NamespaceId(0));
    sqe.cdw10 = U32::new(feature.0.into());
    sqe.cdw11 = U32::new(cdw11);
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
}

/// A host whose controller uses weighted round robin, with a queue of each
/// priority: 1 urgent, 2 high, 3 medium, 4 low.
fn weighted(ams: u8) -> (H, Vec<Pair>) {
    let mut host = Host::new(ControllerConfig::default(), Null::new(MIB));
    host.tell_admin_queues();
    let cc = H::cc().with_ams(ams);
    host.controller.write32(offset::CC, cc.into_bits());
    assert!(host.csts().rdy());
    let pairs = (1..=4).map(|id| {
        let mut pair = Pair {
            id: QueueId(id),
            sq: host.pages(16),
            cq: host.pages(4),
            entries: 1024,
            ..host.admin
        };
        (pair.tail, pair.head, pair.phase) = (0, 0, true);
        assert_eq!(host.create_cq(id, 1024, pair.cq), Status::SUCCESS);
        let qprio = u8::try_from(id - 1).unwrap();
        let cdw11 = CreateSqCdw11::new()
            .with_pc(true)
            .with_cqid(id)
            .with_qprio(qprio);
        let sqe = create(AdminOpcode::CREATE_SQ, id, 1024, pair.sq, cdw11.into());
        assert_eq!(host.admin_status(sqe), Status::SUCCESS);
        pair
    });
    let pairs = pairs.collect();
    (host, pairs)
}

fn fill(host: &mut H, pair: &mut Pair, count: usize) {
    for _ in 0..count {
        host.put(pair, flush());
    }
    host.ring(pair);
}

/// How many commands of queues 1 to 4 were fetched since `before`.
fn fetched(host: &H, before: usize) -> [usize; 4] {
    let commands = &host.controller.tap().commands[before..];
    [1, 2, 3, 4].map(|id| commands.iter().filter(|(r, _)| r.queue.0 == id).count())
}

#[test]
fn classes_have_the_shares_that_their_weights_say() {
    let (mut host, mut pairs) = weighted(1);
    // Weights 8, 4 and 2 for high, medium and low; bursts of 2.
    set(&mut host, FeatureId::ARBITRATION, 0x0703_0101);
    let before = host.controller.tap().commands.len();
    for pair in &mut pairs[1..] {
        fill(&mut host, pair, 1000);
    }
    for _ in 0..14 {
        assert_eq!(host.controller.poll(50), 50);
    }
    assert_eq!(fetched(&host, before), [0, 400, 200, 100]);
    // Urgent commands come before all others.
    let before = host.controller.tap().commands.len();
    fill(&mut host, &mut pairs[0], 60);
    host.controller.poll(50);
    assert_eq!(fetched(&host, before), [50, 0, 0, 0]);
    host.controller.poll(24);
    assert_eq!(fetched(&host, before), [60, 8, 4, 2]);
    // A class with nothing to do leaves its share to the others.
    let mut host_and = weighted(1);
    let (host, pairs) = (&mut host_and.0, &mut host_and.1);
    set(host, FeatureId::ARBITRATION, 0xff00_0007);
    let before = host.controller.tap().commands.len();
    fill(host, &mut pairs[3], 100);
    assert_eq!(host.controller.poll(200), 100);
    assert_eq!(fetched(host, before), [0, 0, 0, 100]);
}

#[test]
fn plain_round_robin_heeds_the_burst_and_no_priority() {
    let (mut host, mut pairs) = weighted(0);
    set(&mut host, FeatureId::ARBITRATION, 0xff00_0002);
    let before = host.controller.tap().commands.len();
    for pair in &mut pairs {
        fill(&mut host, pair, 100);
    }
    host.controller.poll(80);
    assert_eq!(fetched(&host, before), [20, 20, 20, 20]);
    let order = &host.controller.tap().commands[before..];
    let queues: Vec<_> = order.iter().map(|(record, _)| record.queue.0).collect();
    // Bursts of four.
    assert!(
        queues
            .chunks(4)
            .all(|burst| burst.iter().all(|id| *id == burst[0]))
    );
    assert!(queues[0] != queues[4] && queues[4] != queues[8]);
}

#[test]
fn interrupts_wait_for_entries_or_for_time() {
    let (mut host, mut pair) = H::ready(Null::new(MIB));
    // Four entries, or 300 us.
    set(&mut host, FeatureId::INTERRUPT_COALESCING, 0x0303);
    host.raised.take();
    fill(&mut host, &mut pair, 3);
    host.controller.poll(64);
    assert!(host.raised.take().is_empty());
    assert_eq!(host.controller.next_deadline_ns(), Some(300_000));
    fill(&mut host, &mut pair, 1);
    host.controller.poll(64);
    assert_eq!(host.raised.take(), [1]);
    assert_eq!(host.controller.next_deadline_ns(), None);
    fill(&mut host, &mut pair, 1);
    host.controller.poll(64);
    host.clock.advance(299_999);
    host.controller.poll(64);
    assert!(host.raised.take().is_empty());
    host.clock.advance(1);
    host.controller.poll(64);
    assert_eq!(host.raised.take(), [1]);
    // A failure does not wait, nor does the admin queue.
    host.put(&mut pair, Sqe::new(0x7f, NamespaceId(1)));
    host.ring(&pair);
    host.controller.poll(64);
    assert_eq!(host.raised.take(), [1]);
    // Vector 1 without coalescing: setting it is told at once, on vector 0.
    set(&mut host, FeatureId::INTERRUPT_VECTOR_CONFIG, 0x1_0001);
    assert_eq!(host.raised.take(), [0]);
    fill(&mut host, &mut pair, 1);
    host.controller.poll(64);
    assert_eq!(host.raised.take(), [1]);
    // What waits when it is switched off is told.
    set(&mut host, FeatureId::INTERRUPT_VECTOR_CONFIG, 1);
    fill(&mut host, &mut pair, 1);
    host.controller.poll(64);
    host.raised.take();
    set(&mut host, FeatureId::INTERRUPT_COALESCING, 0);
    let mut raised = host.raised.take();
    raised.sort_unstable();
    assert_eq!(raised, [0, 1]);
}

fn config(host: &mut H, shadow: u64, event_indexes: u64) -> Status {
    let mut sqe = Sqe::new(AdminOpcode::DOORBELL_BUFFER_CONFIG.0, NamespaceId(0));
    sqe.prp1 = U64::new(shadow);
    sqe.prp2 = U64::new(event_indexes);
    host.admin_status(sqe)
}

/// A host with two pages for shadow doorbells, which are in use.
fn shadowed() -> (H, Pair, u64) {
    let (mut host, pair) = H::ready(Null::new(MIB));
    let page = host.pages(2);
    assert_eq!(config(&mut host, page, page + PAGE), Status::SUCCESS);
    (host, pair, page)
}

fn word(host: &H, at: u64) -> u16 {
    let bytes = host.read(at, 4);
    u16::try_from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).unwrap()
}

/// Stores to a shadow doorbell, as Linux does; whether the register has to be
/// written too.
fn shadow_ring(host: &H, page: u64, at: u64, value: u16) -> bool {
    let old = word(host, page + at);
    host.write(page + at, &u32::from(value).to_le_bytes());
    let event_index = word(host, page + PAGE + at);
    value.wrapping_sub(event_index).wrapping_sub(1) < value.wrapping_sub(old)
}

/// A pin that the client lowers when it sees a doorbell rung.
struct Pin;

impl crate::Interrupts for Pin {
    fn notify(&mut self, _vector: u16) {}

    fn need_doorbells(&self) -> bool {
        true
    }
}

#[test]
fn there_are_no_shadow_doorbells_where_interrupts_need_the_others() {
    let (mut host, _) = H::ready(Null::new(MIB));
    let page = host.pages(3);
    let mut sqe = Sqe::new(AdminOpcode::IDENTIFY.0, NamespaceId(0));
    sqe.cdw10 = U32::new(1);
    sqe.prp1 = U64::new(page);
    let offered = |host: &mut H| {
        assert_eq!(host.admin_status(sqe), Status::SUCCESS);
        let oacs = host.read(page + 256, 2);
        u16::from_le_bytes([oacs[0], oacs[1]]) & nvme::IdentifyController::OACS_DOORBELL_BUFFER != 0
    };
    assert!(offered(&mut host));
    host.controller.set_interrupts(Box::new(Pin));
    assert!(!offered(&mut host));
    let refused = config(&mut host, page + PAGE, page + 2 * PAGE);
    assert!(refused.same_code(Status::INVALID_OPCODE));
}

#[test]
fn a_guest_with_shadow_doorbells_never_has_to_ring() {
    const TAIL: u64 = 8;
    const HEAD: u64 = 12;
    let (mut host, mut pair, page) = shadowed();
    for round in 0..200_u16 {
        for _ in 0..=(round % 63) {
            host.put(&mut pair, flush());
            assert!(!shadow_ring(&host, page, TAIL, pair.tail), "{round}");
        }
        host.settle();
        for _ in 0..=(round % 63) {
            let cqe = host.peek(&pair).expect("an answer");
            assert_eq!(cqe.status(), Status::SUCCESS);
            pair.head = (pair.head + 1) % pair.entries;
            pair.phase ^= pair.head == 0;
            assert!(!shadow_ring(&host, page, HEAD, pair.head), "{round}");
        }
        assert!(host.peek(&pair).is_none());
    }
}

#[test]
fn the_register_does_not_move_a_queue_back_and_the_admin_queue_is_not_shadowed() {
    let (mut host, mut pair, page) = shadowed();
    host.put(&mut pair, flush());
    shadow_ring(&host, page, 8, pair.tail);
    // A register write that was posted earlier and arrives late.
    host.doorbell(pair.id, DoorbellKind::SubmissionTail, 0);
    host.settle();
    assert!(host.peek(&pair).is_some());
    let before = host.controller.tap().commands.len();
    host.write(page, &5_u32.to_le_bytes());
    host.settle();
    assert_eq!(host.controller.tap().commands.len(), before);
    // Out of range: told once, and nothing is fetched.
    host.write(page + 8, &99_u32.to_le_bytes());
    host.settle();
    assert_eq!(host.controller.tap().commands.len(), before);
}

#[test]
fn shadow_doorbells_outlive_a_remap_and_end_with_a_reset() {
    let (mut host, mut pair, page) = shadowed();
    host.controller.dma_unmap(page, 2 * PAGE);
    host.put(&mut pair, flush());
    host.settle();
    assert!(host.peek(&pair).is_none());
    host.write(page + 8, &u32::from(pair.tail).to_le_bytes());
    host.map(page, 2 * PAGE, page - crate::host::BASE);
    host.settle();
    assert!(host.peek(&pair).is_some());
    host.controller.write32(offset::CC, 0);
    host.enable();
    let mut pair = host.create_pair(1, 16);
    host.write(page + 8, &7_u32.to_le_bytes());
    assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
}

#[test]
fn buffers_that_are_no_pages_of_guest_memory_are_refused() {
    let (mut host, mut pair) = H::ready(Null::new(MIB));
    let page = host.pages(2);
    for (shadow, event_indexes) in [
        (page + 8, page + PAGE),
        (page, page + PAGE + 4),
        (page, page),
        (0, page),
        (page, !0xfff),
        (u64::MAX, page),
    ] {
        let status = config(&mut host, shadow, event_indexes);
        assert!(
            status.same_code(Status::INVALID_FIELD),
            "{shadow:x} {event_indexes:x}"
        );
    }
    // The registers are in force still.
    assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
}

#[test]
fn a_subsystem_reset_is_told_until_the_host_clears_it() {
    let (mut host, _) = H::ready(Null::new(MIB));
    let cap = nvme::Cap::from_bits(host.controller.read64(offset::CAP));
    assert!(cap.nssrs());
    // Ready with media in as long as CAP.TO says, and independent of it.
    assert_eq!((cap.crms(), cap.to()), (0b11, 20));
    assert_eq!(host.controller.read32(offset::CRTO), 0x0014_0014);
    host.controller.write32(offset::NSSR, nvme::NSSR_RESET + 1);
    assert!(host.csts().rdy() && !host.csts().nssro());
    host.controller.write32(offset::NSSR, nvme::NSSR_RESET);
    assert!(!host.csts().rdy() && host.csts().nssro());
    assert_eq!(host.controller.read32(offset::NSSR), 0);
    assert_eq!(host.controller.read32(offset::AQA), 0);
    host.enable();
    assert!(host.csts().nssro());
    host.controller.write32(offset::CSTS, 0);
    assert!(host.csts().nssro());
    host.controller.write32(offset::CSTS, 1 << 4);
    assert!(!host.csts().nssro() && host.csts().rdy());
    let mut pair = host.create_pair(1, 8);
    assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
}

#[test]
fn queues_of_scattered_pages_work_and_move_with_them() {
    let config = ControllerConfig {
        contiguous_queues_required: false,
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, Null::new(MIB));
    host.enable();
    assert!(!nvme::Cap::from_bits(host.controller.read64(offset::CAP)).cqr());
    let list = host.pages(1);
    // The second page of the queue stands before the first.
    let second = host.pages(1);
    let sq = host.pages(1);
    let cq = host.pages(1);
    let cdw11 = CreateSqCdw11::new().with_cqid(1).into();
    let make = create(AdminOpcode::CREATE_SQ, 1, 100, list, cdw11);
    assert_eq!(host.create_cq(1, 100, cq), Status::SUCCESS);
    host.write(list, &(sq + 8).to_le_bytes());
    let status = host.admin_status(make);
    assert!(status.same_code(Status::PRP_OFFSET_INVALID));
    let offset = create(AdminOpcode::CREATE_SQ, 1, 100, list + 8, cdw11);
    let status = host.admin_status(offset);
    assert!(status.same_code(Status::PRP_OFFSET_INVALID));
    let nowhere = create(AdminOpcode::CREATE_SQ, 1, 100, 0, cdw11);
    let status = host.admin_status(nowhere);
    assert!(status.same_code(Status::DATA_TRANSFER_ERROR));
    host.write(list, &sq.to_le_bytes());
    host.write(list + 8, &second.to_le_bytes());
    assert_eq!(host.admin_status(make), Status::SUCCESS);
    let mut seen = host.admin;
    (seen.id, seen.cq, seen.entries) = (QueueId(1), cq, 100);
    (seen.head, seen.phase) = (0, true);
    for slot in 0..90_u64 {
        if slot == 80 {
            host.controller.dma_unmap(second, PAGE);
        }
        let page = if slot < 64 { sq } else { second };
        let sqe = zerocopy::IntoBytes::as_bytes(&flush()).to_vec();
        host.write(page + slot % 64 * 64, &sqe);
        let tail = u32::try_from(slot + 1).unwrap();
        host.doorbell(QueueId(1), DoorbellKind::SubmissionTail, tail);
        host.settle();
        if slot == 80 {
            assert!(host.peek(&seen).is_none());
            host.map(second, PAGE, second - crate::host::BASE);
            host.settle();
        }
        let cqe = host.reap(&mut seen).expect("an answer");
        assert_eq!(
            (cqe.status(), u32::from(cqe.sq_head.get())),
            (Status::SUCCESS, tail)
        );
    }
}
