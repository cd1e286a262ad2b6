//! Every I/O command, and every way it can be wrong.

use nvme::{DsmRange, Lba, NSID_ALL, NamespaceId, NvmOpcode, SglDescriptor, SglType, Sqe, Status};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U32;

use super::{MIB, file, flush, ram};
use crate::host::{Held, Host, PAGE, Pair, dsm, io};
use crate::media::{Ram, RawFile};
use crate::{ControllerConfig, Media, MediaError};

const BLOCKS: u64 = 16 * MIB / 512;

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..251)
        .cycle()
        .take(len)
        .map(|byte: u8| byte.wrapping_mul(7) ^ seed)
        .collect()
}

/// Runs `check` on every kind of medium.
fn on_each(check: fn(&mut dyn Drive)) {
    let (mut host, mut pair) = Host::ready(ram());
    check(&mut (&mut host, &mut pair));
    let (_dir, file) = file();
    let (mut host, mut pair) = Host::ready(file);
    check(&mut (&mut host, &mut pair));
}

/// A host and a queue, whatever the medium.
trait Drive {
    fn pages(&mut self, count: u64) -> u64;
    fn write(&mut self, iova: u64, data: &[u8]);
    fn read(&mut self, iova: u64, len: usize) -> Vec<u8>;
    fn status(&mut self, sqe: Sqe) -> Status;
    fn ranges(&self) -> Vec<DsmRange>;
}

impl<M: Media> Drive for (&mut Host<M>, &mut Pair) {
    fn pages(&mut self, count: u64) -> u64 {
        self.0.pages(count)
    }
    fn write(&mut self, iova: u64, data: &[u8]) {
        self.0.write(iova, data);
    }
    fn read(&mut self, iova: u64, len: usize) -> Vec<u8> {
        self.0.read(iova, len)
    }
    fn status(&mut self, sqe: Sqe) -> Status {
        self.0.status(self.1, sqe)
    }
    fn ranges(&self) -> Vec<DsmRange> {
        self.0.controller.tap().commands.last().unwrap().1.clone()
    }
}

impl dyn Drive + '_ {
    /// Writes `blocks` blocks of a pattern at `lba`, and returns it.
    fn fill(&mut self, lba: u64, blocks: u32, seed: u8) -> Vec<u8> {
        let page = self.pages(2);
        let data = pattern(blocks as usize * 512, seed);
        self.write(page, &data);
        let write = io(NvmOpcode::WRITE, lba, blocks, page, page + PAGE);
        assert_eq!(self.status(write), Status::SUCCESS);
        data
    }

    fn blocks(&mut self, lba: u64, blocks: u32) -> Vec<u8> {
        let page = self.pages(2);
        self.write(page, &[0xa5; 8192]);
        let read = io(NvmOpcode::READ, lba, blocks, page, page + PAGE);
        assert_eq!(self.status(read), Status::SUCCESS);
        self.read(page, blocks as usize * 512)
    }
}

#[test]
fn what_is_written_is_read_and_the_rest_is_zero() {
    on_each(|drive| {
        let data = drive.fill(100, 16, 1);
        assert_eq!(drive.blocks(100, 16), data);
        assert_eq!(drive.blocks(99, 1), [0; 512]);
        assert_eq!(drive.blocks(116, 1), [0; 512]);
        let last = drive.fill(BLOCKS - 1, 1, 2);
        assert_eq!(drive.blocks(BLOCKS - 1, 1), last);
    });
}

#[test]
fn ranges_beyond_the_end_are_refused_without_overflow() {
    on_each(|drive| {
        let page = drive.pages(1);
        let opcodes = [
            NvmOpcode::READ,
            NvmOpcode::WRITE,
            NvmOpcode::COMPARE,
            NvmOpcode::WRITE_ZEROES,
            NvmOpcode::VERIFY,
        ];
        for opcode in opcodes {
            for (lba, blocks) in [
                (BLOCKS, 1),
                (BLOCKS - 1, 2),
                (u64::MAX, 1),
                (u64::MAX - 7, 8),
                (u64::MAX / 512 + 1, 1),
            ] {
                let status = drive.status(io(opcode, lba, blocks, page, 0));
                assert!(status.same_code(Status::LBA_OUT_OF_RANGE), "{opcode} {lba}");
                assert!(status.is_dnr());
            }
        }
    });
}

#[test]
fn transfers_beyond_mdts_are_refused_and_those_without_data_are_not() {
    on_each(|drive| {
        let page = drive.pages(1);
        // 1 MiB is 2048 blocks.
        for opcode in [NvmOpcode::READ, NvmOpcode::WRITE, NvmOpcode::COMPARE] {
            let status = drive.status(io(opcode, 0, 2049, page, page));
            assert!(status.same_code(Status::INVALID_FIELD), "{opcode}");
        }
        // NLB = FFFFh is 65,536 blocks, more than there are.
        let status = drive.status(io(NvmOpcode::READ, 0, 65_536, page, page));
        assert!(status.same_code(Status::LBA_OUT_OF_RANGE));
        for opcode in [NvmOpcode::WRITE_ZEROES, NvmOpcode::VERIFY] {
            let status = drive.status(io(opcode, 0, 32_768, 0, 0));
            assert_eq!(status, Status::SUCCESS, "{opcode}");
        }
    });
}

#[test]
fn the_largest_number_of_blocks_is_legal() {
    let config = ControllerConfig {
        mdts: 13,
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, Ram::new(40 * MIB).unwrap());
    host.enable();
    let mut pair = host.create_pair(1, 16);
    let list = host.pages(17);
    let data = host.pages(1);
    let marker = pattern(4096, 9);
    host.write(data, &marker);
    // 8192 pages, all the same one: full lists, chained, and the last entries.
    let (mut at, mut left) = (list, 8191_u64);
    while left > 0 {
        let here = if left > 512 { 511 } else { left };
        let mut entries = vec![data; usize::try_from(here).unwrap()];
        if left > 512 {
            entries.push(at + PAGE);
        }
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        host.write(at, &bytes);
        at += PAGE;
        left -= here;
    }
    let write = io(NvmOpcode::WRITE, 8, 65_536, data, list);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let to = host.pages(1);
    let last = io(NvmOpcode::READ, 65_536, 8, to, 0);
    assert_eq!(host.status(&mut pair, last), Status::SUCCESS);
    assert_eq!(host.read(to, 4096), marker);
}

#[test]
fn compare_tells_a_difference_wherever_it_is() {
    on_each(|drive| {
        let data = drive.fill(8, 16, 3);
        let page = drive.pages(2);
        let compare = io(NvmOpcode::COMPARE, 8, 16, page, page + PAGE);
        drive.write(page, &data);
        assert_eq!(drive.status(compare), Status::SUCCESS);
        for at in [0, 511, 512, 4095, 4096, 8191] {
            let mut other = data.clone();
            other[at] ^= 1;
            drive.write(page, &other);
            let status = drive.status(compare);
            assert!(status.same_code(Status::COMPARE_FAILURE), "{at}");
        }
    });
}

#[test]
fn zeroed_blocks_read_as_zeroes_and_no_others() {
    on_each(|drive| {
        for deallocate in [false, true] {
            let data = drive.fill(8, 16, 4);
            let mut zero = io(NvmOpcode::WRITE_ZEROES, 11, 7, 0, 0);
            if deallocate {
                zero.cdw12 |= U32::new(1 << 25);
            }
            assert_eq!(drive.status(zero), Status::SUCCESS);
            let seen = drive.blocks(8, 16);
            assert_eq!(seen[..1536], data[..1536]);
            assert_eq!(seen[1536..5120], [0; 3584]);
            assert_eq!(seen[5120..], data[5120..]);
        }
    });
}

#[test]
fn discarded_blocks_read_as_zeroes_and_no_others() {
    on_each(|drive| {
        let data = drive.fill(8, 16, 5);
        let page = drive.pages(1);
        let ranges = [
            DsmRange::new(Lba(9), 1),
            DsmRange::new(Lba(3), 0),
            DsmRange::new(Lba(15), 9),
        ];
        drive.write(page, ranges.as_bytes());
        assert_eq!(drive.status(dsm(3, page)), Status::SUCCESS);
        assert_eq!(drive.ranges(), ranges);
        let seen = drive.blocks(8, 16);
        assert_eq!(seen[..512], data[..512]);
        assert_eq!(seen[512..1024], [0; 512]);
        assert_eq!(seen[1024..3584], data[1024..3584]);
        assert_eq!(seen[3584..], [0; 4608]);
    });
}

#[test]
fn a_discard_takes_256_ranges_across_a_page_boundary() {
    on_each(|drive| {
        drive.fill(0, 16, 6);
        let pages = drive.pages(2);
        let ranges: Vec<_> = (0..256).map(|at| DsmRange::new(Lba(at * 3), 1)).collect();
        drive.write(pages + 64, ranges.as_bytes());
        let mut command = dsm(256, pages + 64);
        command.prp2 = (pages + PAGE).into();
        assert_eq!(drive.status(command), Status::SUCCESS);
        assert_eq!(drive.ranges(), ranges);
        assert_eq!(drive.blocks(0, 1), [0; 512]);
        assert_ne!(drive.blocks(1, 1), [0; 512]);
    });
}

#[test]
fn a_bad_range_spares_the_others() {
    on_each(|drive| {
        let data = drive.fill(0, 1, 7);
        let page = drive.pages(1);
        let ranges = [DsmRange::new(Lba(0), 1), DsmRange::new(Lba(BLOCKS), 1)];
        drive.write(page, ranges.as_bytes());
        let status = drive.status(dsm(2, page));
        assert!(status.same_code(Status::LBA_OUT_OF_RANGE));
        assert_eq!(drive.ranges(), ranges);
        assert_eq!(drive.blocks(0, 1), data);
        // Without the Deallocate attribute, ranges are hints.
        let mut hint = dsm(1, page);
        hint.cdw11 = U32::new(0);
        assert_eq!(drive.status(hint), Status::SUCCESS);
        assert_eq!(drive.blocks(0, 1), data);
        // Ranges that cannot be read.
        let lost = drive.status(dsm(2, 0xdead_0000));
        assert!(lost.same_code(Status::DATA_TRANSFER_ERROR));
    });
}

#[test]
fn data_may_be_scattered_by_a_list() {
    on_each(|drive| {
        let page = drive.pages(4);
        let data = pattern(1024, 3);
        // Blocks that start at odd bytes, and a segment behind a segment.
        drive.write(page + 1, &data[..700]);
        drive.write(page + PAGE + 13, &data[700..]);
        let block = |at, bytes| SglDescriptor::new(SglType::DATA_BLOCK, at, bytes);
        let inner = [block(page + PAGE + 13, 324)];
        drive.write(page + 2 * PAGE, inner.as_bytes());
        let last = SglDescriptor::new(SglType::LAST_SEGMENT, page + 2 * PAGE, 16);
        let outer = [block(page + 1, 700), last];
        drive.write(page + 3 * PAGE, outer.as_bytes());
        let list = SglDescriptor::new(SglType::SEGMENT, page + 3 * PAGE, 32);
        let mut write = io(NvmOpcode::WRITE, 77, 2, 0, 0);
        write.set_sgl(list);
        assert_eq!(drive.status(write), Status::SUCCESS);
        assert_eq!(drive.blocks(77, 2), data);
        let mut compare = io(NvmOpcode::COMPARE, 77, 2, 0, 0);
        compare.set_sgl(list);
        assert_eq!(drive.status(compare), Status::SUCCESS);
        // Most of a read is thrown away.
        let bucket = SglDescriptor::new(SglType::BIT_BUCKET, 0, 1000);
        let parts = [bucket, block(page + 5, 24)];
        drive.write(page + 3 * PAGE, parts.as_bytes());
        drive.write(page, &[0xee; 64]);
        let mut read = io(NvmOpcode::READ, 77, 2, 0, 0);
        read.set_sgl(SglDescriptor {
            identifier: 0x30,
            ..list
        });
        assert_eq!(drive.status(read), Status::SUCCESS);
        let expected = [&[0xee; 5], &data[1000..], &[0xee; 35]].concat();
        assert_eq!(drive.read(page, 64), expected);
        let mut ranges = dsm(1, 0);
        drive.write(page, DsmRange::new(Lba(77), 1).as_bytes());
        ranges.set_sgl(block(page, 16));
        assert_eq!(drive.status(ranges), Status::SUCCESS);
        assert_eq!(drive.blocks(77, 2), [&[0; 512], &data[512..]].concat());
        ranges.set_sgl(block(page, 15));
        let short = drive.status(ranges);
        assert!(short.same_code(Status::DATA_SGL_LENGTH_INVALID), "{short}");
    });
}

#[test]
fn namespaces_flags_and_opcodes_are_checked() {
    on_each(|drive| {
        let page = drive.pages(1);
        let good = io(NvmOpcode::READ, 0, 1, page, 0);
        for nsid in [0, 2, NSID_ALL.0] {
            let status = drive.status(Sqe {
                namespace_id: nsid.into(),
                ..good
            });
            assert!(
                status.same_code(Status::INVALID_NAMESPACE_OR_FORMAT),
                "{nsid}"
            );
        }
        for flags in [0xc0, 1, 3, 0x41] {
            let status = drive.status(Sqe { flags, ..good });
            assert!(status.same_code(Status::INVALID_FIELD), "{flags:#x}");
        }
        for opcode in [0x03, 0x06, 0x1a, 0x80, 0xff] {
            let status = drive.status(Sqe { opcode, ..good });
            assert!(status.same_code(Status::INVALID_OPCODE), "{opcode:#x}");
            assert!(status.is_dnr());
        }
        let for_all = Sqe::new(NvmOpcode::FLUSH.0, NSID_ALL);
        assert_eq!(drive.status(for_all), Status::SUCCESS);
        let status = drive.status(Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(2)));
        assert!(status.same_code(Status::INVALID_NAMESPACE_OR_FORMAT));
    });
}

#[test]
fn durable_writes_and_flushes_complete() {
    on_each(|drive| {
        let page = drive.pages(1);
        drive.write(page, &[7; 512]);
        let mut write = io(NvmOpcode::WRITE, 5, 1, page, 0);
        write.cdw12 |= U32::new(1 << 30);
        assert_eq!(drive.status(write), Status::SUCCESS);
        assert_eq!(drive.status(flush()), Status::SUCCESS);
        assert_eq!(drive.blocks(5, 1), [7; 512]);
    });
}

#[test]
fn reads_go_on_while_a_flush_waits() {
    let (_dir, file) = file();
    let (mut host, mut pair): (Host<RawFile>, Pair) = Host::ready(file);
    let page = host.pages(1);
    let first = host.put(&mut pair, flush());
    let second = host.put(&mut pair, io(NvmOpcode::READ, 0, 8, page, 0));
    host.ring(&pair);
    host.controller.poll(64);
    // Media are asked before commands are fetched, so the flush cannot be done.
    assert_eq!(host.reap(&mut pair).unwrap().cid(), second);
    host.settle();
    assert_eq!(host.reap(&mut pair).unwrap().cid(), first);
}

#[test]
fn blocks_of_4096_bytes_work_as_those_of_512() {
    let config = ControllerConfig {
        block_bytes: 4096,
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, ram());
    host.enable();
    let mut pair = host.create_pair(1, 16);
    let page = host.pages(1);
    host.write(page, &pattern(4096, 8));
    let last = 16 * MIB / 4096 - 1;
    let write = io(NvmOpcode::WRITE, last, 1, page, 0);
    assert_eq!(host.status(&mut pair, write), Status::SUCCESS);
    let status = host.status(&mut pair, io(NvmOpcode::READ, last, 2, page, page));
    assert!(status.same_code(Status::LBA_OUT_OF_RANGE));
    let to = host.pages(1);
    let read = io(NvmOpcode::READ, last, 1, to, 0);
    assert_eq!(host.status(&mut pair, read), Status::SUCCESS);
    assert_eq!(host.read(to, 4096), pattern(4096, 8));
}

#[test]
fn what_a_medium_cannot_do_is_told_as_what_it_is() {
    for (error, expected, media_errors) in [
        (MediaError::Read, Status::UNRECOVERED_READ_ERROR, 1),
        (MediaError::Write, Status::WRITE_FAULT, 1),
        (MediaError::NoSpace, Status::CAPACITY_EXCEEDED, 0),
        (MediaError::ReadOnly, Status::NAMESPACE_WRITE_PROTECTED, 0),
        (MediaError::Miscompare, Status::COMPARE_FAILURE, 0),
    ] {
        let held = Held {
            release: usize::MAX,
            error: Some(error),
            ..Held::default()
        };
        let (mut host, mut pair) = Host::ready(held);
        let status = host.status(&mut pair, flush());
        assert!(status.same_code(expected), "{status}");
        let page = host.pages(1);
        let mut smart = Sqe::new(nvme::AdminOpcode::GET_LOG_PAGE.0, NSID_ALL);
        smart.cdw10 = U32::new(0x007f_0002);
        smart.prp1 = page.into();
        assert_eq!(host.admin_status(smart), Status::SUCCESS);
        assert_eq!(host.read(page, 512)[160], media_errors, "{error:?}");
    }
}
