//! What an observer sees of what is written: the bytes that were, however the
//! host's memory lies.

use nvme::{NvmOpcode, SglDescriptor, SglType};
use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use super::ram;
use crate::ControllerConfig;
use crate::host::{Host, PAGE, Pair, io};
use crate::media::Ram;

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    let bytes = (0..251).cycle().take(len);
    bytes.map(|byte: u8| byte.wrapping_mul(7) ^ seed).collect()
}

fn watched(block_bytes: u32) -> (Host<Ram>, Pair) {
    let config = ControllerConfig {
        block_bytes,
        ..ControllerConfig::default()
    };
    let mut host = Host::new(config, ram());
    host.enable();
    let pair = host.create_pair(1, 64);
    host.controller.tap_mut().written = Some(Vec::new());
    (host, pair)
}

/// What was written since the last call: sequence number, bytes a block, data.
pub(super) fn written(host: &mut Host<Ram>) -> Vec<(u64, u32, Vec<u8>)> {
    let written = host.controller.tap_mut().written.replace(Vec::new());
    let written = written.unwrap().into_iter();
    let each = written.map(|(place, data)| {
        assert_eq!(place.first_block, 0);
        (place.sequence, place.block_bytes, data)
    });
    each.collect()
}

/// The sequence number of the last command.
pub(super) fn last(host: &Host<Ram>) -> u64 {
    host.controller.tap().commands.last().unwrap().0.sequence
}

#[test]
fn a_write_is_seen_whose_pages_lie_apart_and_start_in_the_middle() {
    for block_bytes in [512, 4096] {
        let (mut host, mut pair) = watched(block_bytes);
        let data = pattern(3 * 4096, 3);
        let pages = host.pages(5);
        let order = [4, 1, 3, 0].map(|it| pages + it * PAGE);
        let (first, rest) = data.split_at(1024);
        host.write(order[0] + 3072, first);
        for (page, part) in order[1..].iter().zip(rest.chunks(4096)) {
            host.write(*page, part);
        }
        let list = pages + 2 * PAGE;
        let entries = [order[1], order[2], order[3]].map(U64::new);
        host.write(list, entries.as_bytes());
        let blocks = 3 * 4096 / block_bytes;
        let sqe = io(NvmOpcode::WRITE, 5, blocks, order[0] + 3072, list);
        assert!(host.status(&mut pair, sqe).is_success());
        let sequence = last(&host);
        assert_eq!(written(&mut host), [(sequence, block_bytes, data)]);
    }
}

#[test]
fn a_write_by_a_list_of_odd_pieces_is_seen_and_what_reads_is_not() {
    let (mut host, mut pair) = watched(512);
    let page = host.pages(4);
    let data = pattern(1024, 9);
    host.write(page + 1, &data[..700]);
    host.write(page + PAGE + 13, &data[700..]);
    let block = |at, bytes| SglDescriptor::new(SglType::DATA_BLOCK, at, bytes);
    let pieces = [block(page + 1, 700), block(page + PAGE + 13, 324)];
    host.write(page + 3 * PAGE, pieces.as_bytes());
    let mut sqe = io(NvmOpcode::WRITE, 77, 2, 0, 0);
    sqe.set_sgl(SglDescriptor::new(
        SglType::LAST_SEGMENT,
        page + 3 * PAGE,
        32,
    ));
    assert!(host.status(&mut pair, sqe).is_success());
    let sequence = last(&host);
    assert_eq!(written(&mut host), [(sequence, 512, data)]);
    for opcode in [NvmOpcode::READ, NvmOpcode::WRITE_ZEROES, NvmOpcode::VERIFY] {
        let sqe = io(opcode, 77, 2, page, 0);
        assert!(host.status(&mut pair, sqe).is_success(), "{opcode}");
    }
    assert_eq!(written(&mut host), []);
}

#[test]
fn nobody_asks_and_nothing_is_shown() {
    let (mut host, mut pair) = watched(512);
    host.controller.tap_mut().written = None;
    let page = host.pages(1);
    let sqe = io(NvmOpcode::WRITE, 0, 8, page, 0);
    assert!(host.status(&mut pair, sqe).is_success());
    assert!(host.controller.tap().written.is_none());
}

#[test]
fn a_fused_write_is_seen_where_its_compare_finds_the_same() {
    let (mut host, mut pair) = watched(512);
    let page = host.pages(2);
    let data = pattern(512, 5);
    host.write(page + PAGE, &data);
    let mut compare = io(NvmOpcode::COMPARE, 9, 1, page, 0);
    compare.flags |= 1;
    let mut write = io(NvmOpcode::WRITE, 9, 1, page + PAGE, 0);
    write.flags |= 2;
    host.put(&mut pair, compare);
    host.put(&mut pair, write);
    host.ring(&pair);
    host.settle();
    assert!(host.reap(&mut pair).unwrap().status().is_success());
    assert!(host.reap(&mut pair).unwrap().status().is_success());
    let sequence = last(&host);
    assert_eq!(written(&mut host), [(sequence, 512, data)]);
}
