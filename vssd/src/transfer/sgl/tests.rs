use super::*;
use crate::Segments;
use crate::transfer::tests::{Guest, P, PAGES};
use crate::transfer::{DataPointer, pieces_max};

fn block(address: u64, length: u32) -> SglDescriptor {
    SglDescriptor::new(SglType::DATA_BLOCK, address, length)
}

fn bucket(length: u32) -> SglDescriptor {
    SglDescriptor::new(SglType::BIT_BUCKET, 0, length)
}

fn segment(address: u64, descriptors: u32) -> SglDescriptor {
    SglDescriptor::new(SglType::SEGMENT, address, descriptors * 16)
}

fn last(address: u64, descriptors: u32) -> SglDescriptor {
    SglDescriptor::new(SglType::LAST_SEGMENT, address, descriptors * 16)
}

fn identified(identifier: u8) -> SglDescriptor {
    SglDescriptor {
        identifier,
        ..block(3 * P, 512)
    }
}

fn walk(guest: &Guest, first: SglDescriptor, bytes: u64) -> Result<Vec<(u8, usize)>, Status> {
    guest.runs(DataPointer::Sgl(first), bytes)
}

/// Runs `look` on the memory of a transfer to the guest.
fn to_guest(guest: &Guest, first: SglDescriptor, bytes: u64, look: impl FnOnce(Segments<'_>)) {
    let mut buffer = SegmentBuffer::with_capacity(pieces_max(256));
    let data = DataPointer::Sgl(first);
    look(
        data.walk(&guest.table, bytes, Access::Write, &mut buffer)
            .unwrap(),
    );
}

#[test]
fn one_block_may_stand_anywhere_and_cross_pages() {
    let guest = Guest::new();
    assert_eq!(walk(&guest, block(3 * P + 1, 7), 7), Ok(vec![(3, 7)]));
    let runs = walk(&guest, block(4 * P - 5, 4105), 4105);
    assert_eq!(runs, Ok(vec![(3, 5), (4, 4096), (5, 4)]));
    // SGLS says that a list may be longer than the data.
    assert_eq!(walk(&guest, block(3 * P, 4096), 512), Ok(vec![(3, 512)]));
    // The last byte there is can be reached, were it mapped; nothing beyond.
    let at_end = walk(&guest, block(u64::MAX - 511, 512), 512);
    assert_eq!(at_end, Err(Status::DATA_TRANSFER_ERROR));
}

#[test]
fn segments_are_followed_to_the_last() {
    let guest = Guest::new();
    guest.descriptors(
        9 * P + 8,
        &[block(3 * P, 5), block(0, 0), segment(10 * P, 2)],
    );
    guest.descriptors(10 * P, &[block(4 * P, 6), last(11 * P + 16, 2)]);
    guest.descriptors(11 * P + 16, &[block(5 * P, 7), block(6 * P, 100)]);
    let first = segment(9 * P + 8, 3);
    let runs = walk(&guest, first, 20);
    assert_eq!(runs, Ok(vec![(3, 5), (4, 6), (5, 7), (6, 2)]));
    // What comes behind the data is not looked at.
    guest.descriptors(11 * P + 16, &[block(5 * P, 9), identified(0xff)]);
    let runs = walk(&guest, first, 20);
    assert_eq!(runs, Ok(vec![(3, 5), (4, 6), (5, 9)]));
    // A segment may cross pages, which are far from each other in the host.
    let long: Vec<_> = (0..300).map(|at| block((at % 8) * P, 16)).collect();
    guest.descriptors(10 * P + 4000, &long);
    let runs = walk(&guest, last(10 * P + 4000, 300), 4800).unwrap();
    assert_eq!((runs.len(), runs[299]), (300, (3, 16)));
    // A segment that is the last although nobody said so.
    guest.descriptors(9 * P, &[block(3 * P, 5)]);
    assert_eq!(walk(&guest, segment(9 * P, 1), 5), Ok(vec![(3, 5)]));
}

#[test]
fn a_bucket_takes_bytes_of_a_read() {
    let guest = Guest::new();
    guest.descriptors(9 * P, &[block(3 * P, 4), bucket(10_000), block(4 * P, 4)]);
    let data: Vec<u8> = (0..10_008_u64).map(|at| at.to_le_bytes()[0]).collect();
    to_guest(&guest, last(9 * P, 3), 10_008, |to| to.write(&data));
    assert_eq!(guest.bytes(3 * P, 6), [0, 1, 2, 3, 3, 3]);
    let tail = [&data[10_004..], &[4, 4]].concat();
    assert_eq!(guest.bytes(4 * P, 6), tail);
    // All of it may go.
    to_guest(&guest, bucket(u32::MAX), 4096, |to| to.write(&data[..4096]));
}

#[test]
fn a_bucket_is_nothing_in_a_write() {
    let guest = Guest::new();
    guest.descriptors(9 * P, &[block(3 * P, 4), bucket(10_000), block(4 * P, 4)]);
    let runs = walk(&guest, last(9 * P, 3), 8);
    assert_eq!(runs, Ok(vec![(3, 4), (4, 4)]));
    let none = walk(&guest, bucket(512), 512);
    assert_eq!(none, Err(Status::DATA_SGL_LENGTH_INVALID.dnr()));
}

#[test]
fn every_rule_that_is_broken_has_its_status() {
    let guest = Guest::new();
    let at = 9 * P;
    let short = Status::DATA_SGL_LENGTH_INVALID;
    let bad_segment = Status::INVALID_SGL_SEGMENT;
    let number = Status::INVALID_NUMBER_OF_SGL;
    let kind = Status::SGL_TYPE_INVALID;
    let odd = SglDescriptor::new(SglType::LAST_SEGMENT, at, 24);
    let high = u64::MAX - 15;
    let table: [(&str, SglDescriptor, &[SglDescriptor], Status); 20] = [
        ("a short block", block(3 * P, 511), &[], short),
        ("an empty block", block(3 * P, 0), &[], short),
        ("a block beyond the end", block(u64::MAX, 2), &[], short),
        ("a short segment", last(at, 1), &[block(0, 511)], short),
        ("no bytes in it", segment(at, 1), &[block(0, 0)], short),
        ("a segment beyond the end", last(high & !7, 2), &[], short),
        ("no descriptors", segment(at, 0), &[], bad_segment),
        ("no last descriptors", last(at, 0), &[], bad_segment),
        ("half a descriptor", odd, &[], bad_segment),
        ("not at a qword", segment(at + 4, 1), &[], bad_segment),
        ("not at a qword, last", last(at + 1, 1), &[], bad_segment),
        (
            "a segment behind the last",
            last(at, 1),
            &[segment(P, 1)],
            bad_segment,
        ),
        ("two last ones", last(at, 1), &[last(P, 1)], bad_segment),
        (
            "a segment in the middle",
            segment(at, 2),
            &[segment(P, 1), block(0, 512)],
            number,
        ),
        (
            "a last in the middle",
            last(at, 2),
            &[last(P, 1), block(0, 512)],
            number,
        ),
        ("a key", identified(0x40), &[], kind),
        ("the transport's", identified(0x50), &[], kind),
        ("a vendor's", last(at, 1), &[identified(0xf0)], kind),
        ("an offset", identified(0x01), &[], kind),
        (
            "an offset of a segment",
            last(at, 1),
            &[identified(0x21)],
            kind,
        ),
    ];
    for (what, first, segment, status) in table {
        guest.descriptors(at, segment);
        assert_eq!(walk(&guest, first, 512), Err(status.dnr()), "{what}");
    }
}

#[test]
fn memory_that_is_not_there_is_a_transfer_error() {
    let guest = Guest::new();
    let lost = Err(Status::DATA_TRANSFER_ERROR);
    assert_eq!(walk(&guest, block(PAGES * P, 512), 512), lost);
    assert_eq!(walk(&guest, block(PAGES * P - 1, 512), 512), lost);
    assert_eq!(walk(&guest, last(PAGES * P, 1), 512), lost);
    assert_eq!(walk(&guest, last(PAGES * P - 16, 2), 512), lost);
}

#[test]
fn lists_without_end_are_cut_off() {
    let guest = Guest::new();
    let endless = Err(Status::INVALID_NUMBER_OF_SGL.dnr());
    // A segment of nothing that leads to itself.
    guest.descriptors(9 * P, &[segment(9 * P, 1)]);
    assert_eq!(walk(&guest, segment(9 * P, 1), 512), endless);
    guest.descriptors(9 * P, &[bucket(0), block(0, 0), segment(9 * P, 3)]);
    assert_eq!(walk(&guest, segment(9 * P, 3), 512), endless);
    // A byte at a time: as many as there may be, the first one included.
    guest.descriptors(9 * P, &[block(3 * P, 1); 255]);
    guest.descriptors(9 * P + 255 * 16, &[segment(9 * P, 256)]);
    let most = SGL_DESCRIPTORS_MAX - 1;
    let blocks = u64::try_from(most - most / 256).unwrap();
    let first = segment(9 * P, 256);
    let found = walk(&guest, first, blocks).map(|runs| runs[0].1 as u64);
    assert_eq!(found, Ok(blocks));
    assert_eq!(walk(&guest, first, blocks + 1), endless);
}

#[test]
fn the_largest_transfer_of_the_most_pieces_has_room() {
    let guest = Guest::new();
    // 1 MiB in blocks that start and end inside pages.
    let blocks: Vec<_> = (0..256).map(|at| block(at % 14 * P + 4095, 4098)).collect();
    guest.descriptors(9 * P, &blocks[..128]);
    guest.descriptors(9 * P + 128 * 16, &blocks[128..]);
    let first = last(9 * P, 256);
    let bytes = 256 * 4098;
    let mut buffer = SegmentBuffer::with_capacity(pieces_max(256));
    let data = DataPointer::Sgl(first);
    let found = data.walk(&guest.table, bytes, Access::Read, &mut buffer);
    assert_eq!(found.map(|found| found.bytes() as u64), Ok(bytes));
}
