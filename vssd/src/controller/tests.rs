use nvme::{
    AdminOpcode, DoorbellKind, DsmRange, Lba, NSID_ALL, NamespaceId, NvmOpcode, QueueId, Registers,
    Sqe, Status, offset,
};
use traces::Event;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32};

use crate::host::{BASE, Host, PAGE, PAGES, Pair, dsm, io};
use crate::media::{Null, Ram};

const MIB: u64 = 1 << 20;

fn ram() -> Ram {
    Ram::new(16 * MIB).unwrap()
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8 ^ seed).collect()
}

#[test]
fn what_is_written_is_read() {
    let (mut host, mut pair) = Host::ready(ram());
    let (from, to) = (host.pages(2), host.pages(2));
    let data = pattern(8192, 1);
    host.write(from, &data);
    let write = io(NvmOpcode::WRITE, 100, 16, from, from + PAGE);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let read = io(NvmOpcode::READ, 100, 16, to, to + PAGE);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(to, 8192), data);
    let flush = Sqe::new(NvmOpcode::FLUSH.0, NSID_ALL);
    assert_eq!(host.status(&mut pair, flush), Status::SUCCESS);
}
