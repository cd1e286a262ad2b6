use proptest::prelude::*;

use super::*;
use crate::transport::memory::DmaArena;

fn memory(bytes: usize) -> DmaBuffer {
    DmaArena::new().allocate(bytes, |_| Ok(())).unwrap()
}

/// Walks PRPs as a device does (`NVMe Base 2.1 §4.3.1`), byte range by byte
/// range, and joins what is adjacent.
fn walk(memory: &DmaBuffer, prp1: u64, prp2: u64, bytes: usize) -> Vec<(u64, u64)> {
    let mut left = bytes as u64;
    let mut extents: Vec<(u64, u64)> = Vec::new();
    let mut take = |address: u64, left: &mut u64| {
        let part = (PAGE_BYTES - address % PAGE_BYTES).min(*left);
        *left -= part;
        match extents.last_mut() {
            Some((start, len)) if *start + *len == address => *len += part,
            _ => extents.push((address, part)),
        }
    };
    take(prp1, &mut left);
    if left == 0 {
        assert_eq!(prp2, 0, "PRP2 is reserved where PRP1 suffices");
    } else if left <= PAGE_BYTES {
        assert_eq!(prp2 % PAGE_BYTES, 0, "PRP2 has an offset");
        take(prp2, &mut left);
    } else {
        let mut at = prp2;
        assert_eq!(at % 8, 0);
        while left > 0 {
            let offset = usize::try_from(at - memory.iova()).unwrap();
            let entry: u64 = memory.get(offset).unwrap();
            let last_in_page = at % PAGE_BYTES == PAGE_BYTES - 8;
            if last_in_page && left > PAGE_BYTES {
                assert_eq!(entry % PAGE_BYTES, 0, "the next list starts on a page");
                at = entry;
                continue;
            }
            assert_eq!(entry % PAGE_BYTES, 0, "a list entry has an offset");
            take(entry, &mut left);
            at += 8;
        }
    }
    extents
}

fn check(bytes_max: usize, slot: usize, iova: u64, bytes: usize) {
    let start = PAGE;
    let lists = PrpLists::new(start, bytes_max);
    let memory = memory(start + lists.bytes(slot + 2));
    let (prp1, prp2) = lists.build(&memory, slot, iova, bytes);
    assert_eq!(
        walk(&memory, prp1, prp2, bytes),
        [(iova, bytes as u64)],
        "{bytes} bytes at {iova:#x}, limit {bytes_max}, slot {slot}"
    );
    // Nothing outside of the slot's own list was written.
    let own = lists.start + slot * lists.stride;
    let mut all = vec![0; memory.len()];
    memory.read_at(0, &mut all).unwrap();
    assert!(all[..own].iter().all(|byte| *byte == 0));
    assert!(all[own + lists.stride..].iter().all(|byte| *byte == 0));
}

#[test]
fn every_offset_and_length_around_the_page_borders_is_covered() {
    let offsets = [0, 4, 512, 2048, 4088, 4092];
    for bytes_max in [512, 4096, 8192, 128 << 10, 256 << 10] {
        for offset in offsets {
            for pages in [0, 1, 2, 3, 31, 32, 63, 64] {
                for around in -8_i64..=8 {
                    let bytes = pages * 4096 + around;
                    if bytes > 0 && bytes <= i64::from(bytes_max) {
                        let bytes = usize::try_from(bytes).unwrap();
                        let bytes_max = usize::try_from(bytes_max).unwrap();
                        check(bytes_max, 3, 0x7_0000_0000 + offset, bytes);
                    }
                }
            }
        }
    }
}

#[test]
fn the_longest_transfer_at_the_worst_offset_has_room() {
    // 513 pages of list do not fit one page; 1024 chain twice.
    for bytes_max in [
        512 * PAGE,
        513 * PAGE,
        1023 * PAGE,
        1024 * PAGE,
        2000 * PAGE,
    ] {
        for offset in [0, 4092] {
            check(bytes_max, 2, 0x8_0000_0000 + offset, bytes_max);
        }
    }
}

proptest! {
    #[test]
    fn a_list_names_the_bytes_and_no_others(
        bytes_max in 1_usize..9 << 20,
        part in 0.0_f64..=1.0,
        slot in 0_usize..5,
        dwords in 0_u64..0x10_0000,
    ) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a length"
        )]
        let bytes = ((bytes_max as f64 * part) as usize).clamp(1, bytes_max);
        check(bytes_max, slot, 0x9_0000_0000 + dwords * 4, bytes);
    }
}
