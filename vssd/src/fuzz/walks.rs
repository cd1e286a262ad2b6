//! Data and metadata pointers over arbitrary guest memory.

use std::os::fd::AsFd;

use nvme::{SQE_BYTES, Sqe};
use zerocopy::FromBytes;

use crate::memory::{Access, SegmentBuffer};
use crate::transfer::{DataPointer, MetadataPointer, pieces_max};
use crate::{DmaTable, Protection};

const PAGE: u64 = nvme::PAGE_BYTES;
/// Pages of the guest's memory.
const PAGES: u64 = 16;
/// Bytes of it.
const BYTES: usize = 16 * 4096;
/// The most that a transfer moves, bytes.
const TRANSFER_BYTES_MAX: u64 = 1 << 20;

thread_local! {
    /// Guest memory, made once: its pages stand in reverse order, so that no two
    /// of them are adjacent in the host, and the last is read only.
    static GUEST: DmaTable = guest();
}

fn guest() -> DmaTable {
    let file = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&file, PAGES * PAGE).unwrap();
    let mut table = DmaTable::new();
    for page in 0..PAGES {
        let rights = Protection {
            read: true,
            write: page < PAGES - 1,
        };
        let offset = (PAGES - 1 - page) * PAGE;
        table
            .map(page * PAGE, PAGE, file.as_fd(), offset, rights)
            .unwrap();
    }
    table
}

/// Walks the pointers of a command: 4 bytes say how, 64 are the command, what
/// remains is put into the guest's memory, the rest of which is 0.
///
/// # Panics
///
/// Where a walk that succeeds has not as many bytes as it should have, or what
/// is written through it is not what is read back.
pub fn transfer(data: &[u8]) {
    let [how, low, mid, high, rest @ ..] = data else {
        return;
    };
    let Some((entry, content)) = rest.split_at_checked(SQE_BYTES) else {
        return;
    };
    let mut sqe = Sqe::read_from_bytes(entry).unwrap();
    let bytes = u64::from(u32::from_le_bytes([*low, *mid, *high, 0]));
    let bytes = if how & 4 == 0 {
        bytes % (4 * PAGE)
    } else {
        bytes % TRANSFER_BYTES_MAX
    } + 1;
    if how & 1 == 0 {
        sqe.prp1.set(sqe.prp1.get() % (PAGES * PAGE));
        sqe.mptr.set(sqe.mptr.get() % (PAGES * PAGE));
        if sqe.flags >> 6 == 0 {
            sqe.prp2.set(sqe.prp2.get() % (PAGES * PAGE));
        }
    }
    let access = if how & 2 == 0 {
        Access::Read
    } else {
        Access::Write
    };
    GUEST.with(|table| {
        fill(table, content);
        let mut buffer = SegmentBuffer::with_capacity(pieces_max(257));
        if let Ok(pointer) = DataPointer::of(&sqe)
            && let Ok(segments) = pointer.walk(table, bytes, access, &mut buffer)
        {
            use_all(&segments, bytes, access);
        }
        if let Ok(pointer) = MetadataPointer::of(&sqe)
            && let Ok(segments) = pointer.walk(table, bytes, access, &mut buffer)
        {
            use_all(&segments, bytes, access);
        }
    });
}

fn fill(table: &DmaTable, content: &[u8]) {
    let mut memory = vec![0; BYTES - 4096];
    let count = content.len().min(memory.len());
    memory[..count].copy_from_slice(&content[..count]);
    for (page, data) in memory.chunks_exact(4096).enumerate() {
        table.write_bytes(page as u64 * PAGE, data).unwrap();
    }
}

fn use_all(segments: &crate::Segments<'_>, bytes: u64, access: Access) {
    let bytes = usize::try_from(bytes).unwrap();
    assert_eq!(segments.bytes(), bytes);
    let mut data = vec![0x5a; bytes];
    match access {
        Access::Read => {
            segments.read(&mut data);
            // What goes piece by piece is what goes at once.
            let mut cursor = segments.cursor();
            let mut part = [0; 100];
            for whole in data.chunks(100) {
                let got = cursor.read(&mut part[..whole.len()]);
                assert_eq!((got, &part[..got]), (whole.len(), whole));
            }
        }
        Access::Write => segments.write(&data),
    }
}
