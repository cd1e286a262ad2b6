//! Memory that moves under live queues.

use nvme::{NvmOpcode, QueueId, Status};

use super::{MIB, file, flush, ram};
use crate::Protection;
use crate::host::{BASE, Held, Host, PAGE, PAGES, Pair, io};
use crate::media::Null;

#[test]
fn all_memory_is_unmapped_and_mapped_again_under_live_queues() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(1);
    assert_eq!(host.controller.dma_unmap(0, u64::MAX), PAGES * PAGE);
    // The guest rings while nothing is mapped: nothing happens.
    let read = io(NvmOpcode::READ, 0, 8, page, 0);
    host.put(&mut pair, read);
    host.ring(&pair);
    assert_eq!(host.controller.poll(64), 0);
    // It comes back in other pieces, and the queue goes on.
    host.map(BASE, 5 * PAGE, 0);
    host.map(BASE + 5 * PAGE, (PAGES - 5) * PAGE, 5 * PAGE);
    host.settle();
    assert_eq!(host.reap(&mut pair).unwrap().status(), Status::SUCCESS);
    assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
}

#[test]
fn a_queue_follows_its_memory_to_another_place() {
    let (mut host, mut pair) = Host::ready(ram());
    assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
    // The same addresses are other pages of the host's memory now: a pointer
    // that was kept would lead to the old ones.
    let (sq, cq) = (pair.sq, pair.cq);
    let (new_sq, new_cq) = (host.pages(1), host.pages(1));
    for (at, to) in [(sq, new_sq), (cq, new_cq)] {
        let data = host.read(at, 4096);
        host.write(to, &data);
        assert_eq!(host.controller.dma_unmap(at, PAGE), PAGE);
        host.map(at, PAGE, to - BASE);
    }
    let old_cq = host.read(cq, 4096);
    pair.sq = new_sq;
    pair.cq = new_cq;
    for _ in 0..3 {
        assert_eq!(host.status(&mut pair, flush()), Status::SUCCESS);
    }
    assert_eq!(host.read(cq, 4096), old_cq);
}

#[test]
fn a_queue_of_scattered_pages_is_one_queue() {
    let mut host = Host::enabled(Null::new(MIB));
    // 256 entries are four pages of commands; they are mapped in reverse, each
    // a map of its own, as behind a virtual IOMMU.
    let pages = host.pages(4);
    let iova = 0x8000_0000;
    for page in 0..4 {
        let offset = pages - BASE + (3 - page) * PAGE;
        host.map(iova + page * PAGE, PAGE, offset);
    }
    let cq = host.pages(1);
    assert_eq!(host.create_cq(1, 256, cq), Status::SUCCESS);
    assert_eq!(host.create_sq(1, 1, 256, iova), Status::SUCCESS);
    let mut pair = Pair {
        id: QueueId(1),
        sq: pages,
        cq,
        entries: 256,
        tail: 0,
        head: 0,
        phase: true,
    };
    for turn in 0..600_u16 {
        // Where the entry stands in the host's memory.
        let slot = u64::from(pair.tail);
        let (page, inside) = (slot / 64, slot % 64);
        let mut sqe = flush();
        sqe.command_id = turn.into();
        let at = pages + (3 - page) * PAGE + inside * 64;
        host.write(at, zerocopy::IntoBytes::as_bytes(&sqe));
        pair.tail = (pair.tail + 1) % pair.entries;
        host.ring(&pair);
        host.settle();
        let cqe = host.reap(&mut pair).expect("an answer");
        assert_eq!((cqe.cid().0, cqe.status()), (turn, Status::SUCCESS));
    }
}

#[test]
fn a_completion_waits_for_its_queue_to_be_mapped() {
    let (_dir, file) = file();
    let (mut host, mut pair) = Host::ready(file);
    let cid = host.put(&mut pair, flush());
    host.ring(&pair);
    host.controller.poll(64);
    assert_eq!(host.controller.dma_unmap(pair.cq, PAGE), PAGE);
    for _ in 0..1000 {
        host.controller.poll(64);
        std::thread::yield_now();
    }
    assert!(!host.controller.idle());
    assert!(host.peek(&pair).is_none());
    host.map(pair.cq, PAGE, pair.cq - BASE);
    host.settle();
    assert_eq!(host.reap(&mut pair).unwrap().cid(), cid);
}

#[test]
fn data_in_memory_that_is_not_mapped_is_a_transfer_error() {
    let (mut host, mut pair) = Host::ready(ram());
    let page = host.pages(3);
    let hole = page + PAGE;
    host.controller.dma_unmap(hole, PAGE);
    for opcode in [NvmOpcode::READ, NvmOpcode::WRITE] {
        for (prp1, prp2, blocks) in [
            (hole, 0, 1),
            (page, hole, 16),
            (0, 0, 8),
            (u64::MAX - 4095, 0, 8),
        ] {
            let status = host.status(&mut pair, io(opcode, 0, blocks, prp1, prp2));
            assert!(status.same_code(Status::DATA_TRANSFER_ERROR), "{prp1:#x}");
        }
    }
    // What may only be read can be written to media, but not read into.
    let fd = std::os::fd::AsFd::as_fd(&host.memory);
    host.controller
        .dma_map(hole, PAGE, fd, 0, Protection::READ)
        .unwrap();
    let write = io(NvmOpcode::WRITE, 0, 8, hole, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let read = host.status(&mut pair, io(NvmOpcode::READ, 0, 8, hole, 0));
    assert!(read.same_code(Status::DATA_TRANSFER_ERROR));
}

#[test]
fn the_medium_lets_go_of_memory_before_it_is_unmapped() {
    let (mut host, mut pair) = Host::ready(Held::default());
    let page = host.pages(2);
    let cid = host.put(&mut pair, io(NvmOpcode::READ, 0, 8, page, 0));
    host.ring(&pair);
    host.controller.poll(64);
    assert!(host.peek(&pair).is_none());
    // More memory is no reason to wait, less is.
    host.map(1 << 40, PAGE, 0);
    assert_eq!(host.controller.media().let_go, 0);
    host.controller.dma_unmap(page + PAGE, PAGE);
    assert_eq!(host.controller.media().let_go, 1);
    assert_eq!(host.reap(&mut pair).unwrap().cid(), cid);
    assert!(host.controller.idle());
}
