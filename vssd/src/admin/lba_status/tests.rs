use nvme::{
    AdminOpcode, AsyncEvent, FeatureId, LbaStatusDescriptor, LbaStatusElement, LbaStatusHeader,
    LbaStatusLog, LbaStatusRange, LogPageId, NamespaceId, NvmOpcode, Sqe, Status,
};
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use crate::host::{Host, Pair, io};
use crate::media::Ram;

const TRACKED: u32 = 0x11 << 24;

fn drive() -> (Host<Ram>, Pair) {
    Host::ready(Ram::new(16 << 20).unwrap())
}

fn admin(opcode: AdminOpcode, nsid: u32, cdw10: u32, cdw11: u32) -> Sqe {
    let mut sqe = Sqe::new(opcode.0, NamespaceId(nsid));
    sqe.cdw10 = U32::new(cdw10);
    sqe.cdw11 = U32::new(cdw11);
    sqe
}

fn damage(host: &mut Host<Ram>, pair: &mut Pair, lba: u64, blocks: u32) {
    let sqe = io(NvmOpcode::WRITE_UNCORRECTABLE, lba, blocks, 0, 0);
    assert_eq!(host.status(pair, sqe), Status::SUCCESS);
}

/// Get LBA Status of namespace 1: from where on, dwords, CDW13.
fn ask(lba: u32, dwords: u32, cdw13: u32) -> Sqe {
    let mut sqe = admin(AdminOpcode::GET_LBA_STATUS, 1, lba, 0);
    sqe.cdw12 = U32::new(dwords - 1);
    sqe.cdw13 = U32::new(cdw13);
    sqe
}

/// The completion condition, and the ranges.
fn ranges(host: &mut Host<Ram>, mut sqe: Sqe) -> (u8, Vec<(u64, u32)>) {
    let page = host.pages(1);
    host.write(page, &[0xa5; 4096]);
    sqe.prp1 = U64::new(page);
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    let data = host.read(page, 4096);
    let (head, rest) = LbaStatusHeader::read_from_prefix(&data).unwrap();
    let list = rest.chunks_exact(16).take(head.descriptors.get() as usize);
    let list = list.map(|bytes| LbaStatusDescriptor::read_from_bytes(bytes).unwrap());
    let list: Vec<_> = list.map(|one| (one.slba.get(), one.blocks.get())).collect();
    // What was not asked for was not written.
    let room = 4 * (sqe.cdw12.get() as usize + 1);
    assert!(data[room..].iter().all(|&byte| byte == 0xa5));
    (head.condition, list)
}

fn log(host: &mut Host<Ram>) -> Vec<u8> {
    let page = host.pages(1);
    let cdw10 = u32::from(LogPageId::LBA_STATUS.0) | 1023 << 16;
    let mut sqe = admin(AdminOpcode::GET_LOG_PAGE, 0, cdw10, 0);
    sqe.prp1 = U64::new(page);
    assert_eq!(host.admin_status(sqe), Status::SUCCESS);
    host.read(page, 4096)
}

#[test]
fn the_ranges_that_cannot_be_read_are_told() {
    let (mut host, mut pair) = drive();
    assert_eq!(ranges(&mut host, ask(0, 100, TRACKED)), (2, vec![]));
    damage(&mut host, &mut pair, 10, 5);
    damage(&mut host, &mut pair, 100, 1);
    damage(&mut host, &mut pair, 200, 8);
    let all = vec![(10, 5), (100, 1), (200, 8)];
    assert_eq!(ranges(&mut host, ask(0, 100, TRACKED)), (2, all.clone()));
    assert_eq!(ranges(&mut host, ask(0, 100, 0x10 << 24)), (2, all));
    // Blocks 12 to 203, and no others.
    let within = vec![(12, 3), (100, 1), (200, 4)];
    assert_eq!(ranges(&mut host, ask(12, 100, TRACKED | 192)), (2, within));
    // Room for the head and one range and a half.
    let first = vec![(10, 5)];
    assert_eq!(ranges(&mut host, ask(0, 8, TRACKED)), (1, first));
    // What was written can be read.
    let page = host.pages(1);
    let write = io(NvmOpcode::WRITE, 12, 1, page, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let left = vec![(10, 2), (13, 2), (100, 1), (200, 8)];
    assert_eq!(ranges(&mut host, ask(0, 100, TRACKED)), (2, left));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let (mut host, _) = drive();
    let blocks = (16 << 20) / 512;
    let cases = [
        (ask(0, 8, 0x12 << 24), Status::INVALID_FIELD),
        (ask(blocks, 8, TRACKED), Status::LBA_OUT_OF_RANGE),
        (ask(blocks - 1, 8, TRACKED | 2), Status::LBA_OUT_OF_RANGE),
    ];
    for (sqe, expected) in cases {
        let status = host.admin_status(sqe);
        assert!(status.same_code(expected), "{status}");
    }
    let mut sqe = ask(0, 8, TRACKED);
    sqe.namespace_id = U32::new(9);
    let status = host.admin_status(sqe);
    assert!(
        status.same_code(Status::INVALID_NAMESPACE_OR_FORMAT),
        "{status}"
    );
}

#[test]
fn the_log_page_names_them_and_too_many_are_the_whole_namespace() {
    let (mut host, mut pair) = drive();
    let empty = LbaStatusLog::read_from_prefix(&log(&mut host)).unwrap().0;
    assert_eq!((empty.bytes.get(), empty.elements.get()), (16, 0));
    damage(&mut host, &mut pair, 10, 5);
    damage(&mut host, &mut pair, 100, 1);
    let page = log(&mut host);
    let (head, rest) = LbaStatusLog::read_from_prefix(&page).unwrap();
    assert_eq!((head.bytes.get(), head.elements.get()), (64, 1));
    assert_eq!((head.estimate.get(), head.generation.get()), (6, 2));
    let (element, rest) = LbaStatusElement::read_from_prefix(rest).unwrap();
    assert_eq!((element.namespace_id.get(), element.ranges.get()), (1, 2));
    assert_eq!(element.action, 0x11);
    let (range, _) = LbaStatusRange::read_from_prefix(rest).unwrap();
    assert_eq!((range.slba.get(), range.blocks.get()), (10, 5));
    for lba in 0..1100 {
        damage(&mut host, &mut pair, 1000 + 2 * lba, 1);
    }
    let page = log(&mut host);
    let (head, rest) = LbaStatusLog::read_from_prefix(&page).unwrap();
    assert_eq!((head.bytes.get(), head.elements.get()), (32, 1));
    let (element, _) = LbaStatusElement::read_from_prefix(rest).unwrap();
    assert_eq!(element.ranges.get(), u32::MAX);
}

#[test]
fn a_host_is_alerted_no_more_often_than_it_wants() {
    let (mut host, mut pair) = drive();
    let feature = u32::from(FeatureId::LBA_STATUS_INTERVAL.0);
    let get = |select: u32| admin(AdminOpcode::GET_FEATURES, 0, feature | select << 8, 0);
    assert_eq!(host.admin(get(0)).result.get(), 1 << 16 | 1);
    // Two seconds; the poll interval is the drive's.
    let set = admin(AdminOpcode::SET_FEATURES, 0, feature, 7 << 16 | 20);
    assert_eq!(host.admin_status(set), Status::SUCCESS);
    assert_eq!(host.admin(get(0)).result.get(), 1 << 16 | 20);
    let wanted = admin(AdminOpcode::SET_FEATURES, 0, 0x0b, 1 << 13);
    assert_eq!(host.admin_status(wanted), Status::SUCCESS);
    damage(&mut host, &mut pair, 10, 5);
    for _ in 0..64 {
        host.controller.poll(64);
    }
    let ask = admin(AdminOpcode::ASYNC_EVENT_REQUEST, 0, 0, 0);
    let told = host.admin(ask).result.get();
    assert_eq!(told, AsyncEvent::LBA_STATUS_ALERT.dword0());
    log(&mut host);
    // The next has to wait for its time.
    damage(&mut host, &mut pair, 20, 5);
    let due_ns = host.controller.next_deadline_ns().unwrap();
    host.controller.device.look();
    assert_eq!(host.controller.next_deadline_ns(), Some(due_ns));
    host.clock.advance(2_000_000_000);
    host.controller.device.look();
    assert_eq!(host.controller.next_deadline_ns(), None);
    let told = host.admin(ask).result.get();
    assert_eq!(told, AsyncEvent::LBA_STATUS_ALERT.dword0());
}
