use std::os::fd::AsFd;

use nvme::{NamespaceId, SglType};
use proptest::prelude::*;

use super::*;
use crate::Protection;

pub(super) const P: u64 = nvme::PAGE_BYTES;
/// Pages of the guest's memory.
pub(super) const PAGES: u64 = 16;

/// Guest memory: pages 0 to 15 of a file, at addresses in reverse order, so
/// that no two of them are adjacent in the host. Each page is full of its
/// number.
pub(super) struct Guest {
    pub(super) table: DmaTable,
}

impl Guest {
    pub(super) fn new() -> Self {
        let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, PAGES * P).unwrap();
        let mut table = DmaTable::new();
        for page in 0..PAGES {
            let rw = Protection::READ_WRITE;
            let offset = (PAGES - 1 - page) * P;
            table.map(page * P, P, file.as_fd(), offset, rw).unwrap();
        }
        for page in 0..PAGES {
            let number = u8::try_from(page).unwrap();
            table.write_bytes(page * P, &[number; 4096]).unwrap();
        }
        Self { table }
    }

    /// The pages that a transfer to media touches, run by run: (page number,
    /// bytes).
    pub(super) fn runs(&self, data: DataPointer, bytes: u64) -> Result<Vec<(u8, usize)>, Status> {
        let mut buffer = SegmentBuffer::with_capacity(pieces_max(1024));
        let segments = data.walk(&self.table, bytes, Access::Read, &mut buffer)?;
        let mut out = vec![0; usize::try_from(bytes).unwrap()];
        segments.read(&mut out);
        assert_eq!(segments.bytes(), out.len());
        Ok(runs(&out))
    }

    pub(super) fn descriptors(&self, at: u64, descriptors: &[SglDescriptor]) {
        self.table.write_bytes(at, descriptors.as_bytes()).unwrap();
    }

    pub(super) fn bytes(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        self.table.read_bytes(at, &mut out).unwrap();
        out
    }
}

/// How often each byte stands in a row.
fn runs(data: &[u8]) -> Vec<(u8, usize)> {
    let mut runs: Vec<(u8, usize)> = Vec::new();
    for &byte in data {
        match runs.last_mut() {
            Some((last, count)) if *last == byte => *count += 1,
            _ => runs.push((byte, 1)),
        }
    }
    runs
}

fn entry(flags: u8, mptr: u64) -> Sqe {
    let mut sqe = Sqe::new(1, NamespaceId(1));
    sqe.flags = flags;
    sqe.mptr.set(mptr);
    sqe.prp1.set(3 * P);
    sqe.prp2.set(0x1234);
    sqe
}

#[test]
fn psdt_says_what_the_data_pointer_is() {
    let prps = DataPointer::Prp {
        prp1: 3 * P,
        prp2: 0x1234,
    };
    assert_eq!(DataPointer::of(&entry(0, 0)), Ok(prps));
    let descriptor = SglDescriptor::new(SglType::DATA_BLOCK, 3 * P, 0x1234);
    for flags in [0x40, 0x80, 0x81] {
        let data = DataPointer::of(&entry(flags, 0));
        assert_eq!(data, Ok(DataPointer::Sgl(descriptor)));
    }
    let refused = Err(Status::INVALID_FIELD.dnr());
    assert_eq!(DataPointer::of(&entry(0xc0, 0)), refused);
}

#[test]
fn psdt_says_what_the_metadata_pointer_is() {
    let of = |flags, mptr| MetadataPointer::of(&entry(flags, mptr));
    let refused = Err(Status::INVALID_FIELD.dnr());
    assert_eq!(of(0x00, 0x1004), Ok(MetadataPointer::Buffer(0x1004)));
    assert_eq!(of(0x00, 0x1002), refused);
    assert_eq!(of(0x40, 0x1001), Ok(MetadataPointer::Buffer(0x1001)));
    assert_eq!(of(0x80, 0x1008), Ok(MetadataPointer::Sgl(0x1008)));
    assert_eq!(of(0x80, 0x1004), refused);
    assert_eq!(of(0xc0, 0x1000), refused);
}

#[test]
fn metadata_is_found_in_one_buffer_or_by_a_list() {
    let guest = Guest::new();
    let walk = |pointer: MetadataPointer, bytes: usize| {
        let mut buffer = SegmentBuffer::with_capacity(64);
        let length = u64::try_from(bytes).unwrap();
        let segments = pointer.walk(&guest.table, length, Access::Read, &mut buffer)?;
        let mut out = vec![0xff; bytes];
        segments.read(&mut out);
        Ok::<_, Status>(runs(&out))
    };
    // A buffer goes on in the guest's addresses, not in the host's.
    let across = walk(MetadataPointer::Buffer(4 * P - 3), 8);
    assert_eq!(across, Ok(vec![(3, 3), (4, 5)]));
    let block = SglDescriptor::new(SglType::DATA_BLOCK, 5 * P + 1, 16);
    guest.descriptors(2 * P + 8, &[block]);
    assert_eq!(walk(MetadataPointer::Sgl(2 * P + 8), 16), Ok(vec![(5, 16)]));
    let short = walk(MetadataPointer::Sgl(2 * P + 8), 17);
    assert_eq!(short, Err(Status::METADATA_SGL_LENGTH_INVALID.dnr()));
    let lost = Err(Status::DATA_TRANSFER_ERROR);
    assert_eq!(walk(MetadataPointer::Sgl(PAGES * P), 16), lost);
    assert_eq!(walk(MetadataPointer::Buffer(PAGES * P - 8), 9), lost);
    assert_eq!(walk(MetadataPointer::Buffer(u64::MAX - 7), 9), lost);
}

/// A descriptor that may be anything, but often is something.
fn descriptor() -> impl Strategy<Value = SglDescriptor> {
    let identifier = prop_oneof![
        8 => Just(0x00_u8),
        4 => Just(0x10),
        4 => Just(0x20),
        4 => Just(0x30),
        1 => any::<u8>(),
    ];
    let address = prop_oneof![
        8 => 0..PAGES * P,
        8 => (0..PAGES * P / 16).prop_map(|at| at * 16),
        1 => Just(PAGES * P - 16),
        1 => any::<u64>(),
    ];
    let length = prop_oneof![
        4 => 0..64_u32,
        4 => (0..64_u32).prop_map(|count| count * 16),
        2 => 0..100_000_u32,
        1 => any::<u32>(),
    ];
    (identifier, address, length).prop_map(|(identifier, address, length)| SglDescriptor {
        identifier,
        ..SglDescriptor::new(SglType::DATA_BLOCK, address, length)
    })
}

proptest! {
    /// Whatever stands in memory, a walk ends, with as much memory as was asked
    /// for, all of it the guest's, or with a status.
    #[test]
    fn a_walk_stays_in_the_guests_memory(
        memory in proptest::collection::vec(descriptor(), 64..512),
        first in descriptor(),
        prps in any::<Option<(u16, u16)>>(),
        bytes in 0_u64..200_000,
        write in any::<bool>(),
    ) {
        let guest = Guest::new();
        for at in (0..PAGES * P).step_by(memory.len() * 16) {
            let room = usize::try_from((PAGES * P - at) / 16).unwrap();
            guest.descriptors(at, &memory[..memory.len().min(room)]);
        }
        let access = if write { Access::Write } else { Access::Read };
        let data = match prps {
            Some((prp1, prp2)) => DataPointer::Prp { prp1: prp1.into(), prp2: prp2.into() },
            None => DataPointer::Sgl(first),
        };
        let mut buffer = SegmentBuffer::with_capacity(pieces_max(50));
        let sink = buffer.sink();
        let Ok(segments) = data.walk(&guest.table, bytes, access, &mut buffer) else {
            return Ok(());
        };
        prop_assert_eq!(segments.bytes() as u64, bytes);
        let start = guest.table.resolve((PAGES - 1) * P, access).unwrap().host.addr().get();
        let mapped = start..start + usize::try_from(PAGES * P).unwrap();
        let mut total = 0;
        for piece in segments.places() {
            let inside = |range: &std::ops::Range<usize>| {
                range.start <= piece.start && piece.end <= range.end
            };
            prop_assert!(inside(&mapped) || (write && inside(&sink)), "{piece:x?}");
            total += piece.len();
        }
        prop_assert_eq!(total, segments.bytes());
    }

    /// A list of blocks is what stands in them, one after the other, however it
    /// is cut into segments.
    #[test]
    fn a_list_is_its_blocks_in_their_order(
        blocks in proptest::collection::vec((0..12 * P, 0..5000_u32), 1..60),
        cut in 1_usize..20,
    ) {
        let guest = Guest::new();
        for page in 0..PAGES {
            let data: Vec<u8> = (0..4096_u64)
                .map(|at| (at.wrapping_mul(31) ^ page).to_le_bytes()[0])
                .collect();
            guest.table.write_bytes(page * P, &data).unwrap();
        }
        let mut expected = Vec::new();
        for &(at, bytes) in &blocks {
            let bytes = bytes.min(u32::try_from(12 * P - at).unwrap());
            expected.extend(guest.bytes(at, usize::try_from(bytes).unwrap()));
        }
        // The segments stand one after the other from page 12 on.
        let mut at = 12 * P;
        let parts: Vec<_> = blocks.chunks(cut).collect();
        let lead = |index: usize, at: u64| {
            let bytes = (parts[index].len() + usize::from(index + 1 < parts.len())) * 16;
            let kind = if index + 1 < parts.len() { SglType::SEGMENT } else { SglType::LAST_SEGMENT };
            SglDescriptor::new(kind, at, u32::try_from(bytes).unwrap())
        };
        let first = lead(0, at);
        for (index, part) in parts.iter().enumerate() {
            let mut segment = Vec::new();
            for &(at, bytes) in *part {
                let bytes = bytes.min(u32::try_from(12 * P - at).unwrap());
                segment.push(SglDescriptor::new(SglType::DATA_BLOCK, at, bytes));
            }
            let end = at + u64::from(lead(index, at).length.get());
            if index + 1 < parts.len() {
                segment.push(lead(index + 1, end));
            }
            guest.descriptors(at, &segment);
            at = end;
        }
        let mut buffer = SegmentBuffer::with_capacity(pieces_max(100));
        let bytes = expected.len() as u64;
        let data = DataPointer::Sgl(first);
        let segments = data.walk(&guest.table, bytes, Access::Read, &mut buffer).unwrap();
        let mut out = vec![0; expected.len()];
        segments.read(&mut out);
        prop_assert_eq!(out, expected);
    }
}
