use std::os::fd::{AsFd, OwnedFd};

use proptest::prelude::*;
use rustix::fs::MemfdFlags;

use super::*;

const P: u64 = PAGE_BYTES;

/// A memfd of `pages` pages; page n is full of the byte n.
fn file(pages: u8) -> OwnedFd {
    let fd = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
    for page in 0..pages {
        rustix::io::pwrite(&fd, &[page; 4096], u64::from(page) * P).unwrap();
    }
    fd
}

fn byte(table: &DmaTable, iova: u64) -> Option<u8> {
    let mut byte = [0];
    table.read_bytes(iova, &mut byte).ok().map(|()| byte[0])
}

#[test]
fn pages_are_found_where_they_were_mapped() {
    let fd = file(8);
    let mut table = DmaTable::new();
    let rw = Protection::READ_WRITE;
    table.map(0x10_000, P, fd.as_fd(), 3 * P, rw).unwrap();
    table.map(0x11_000, P, fd.as_fd(), P, rw).unwrap();
    let mut out = [0; 4];
    table.read_bytes(0x10_ffe, &mut out).unwrap();
    assert_eq!(out, [3, 3, 1, 1]);
    table.write_bytes(0x10_fff, &[7, 8]).unwrap();
    let mut page = [0; 1];
    rustix::io::pread(&fd, &mut page, 4 * P - 1).unwrap();
    assert_eq!(page, [7]);
    assert_eq!(
        table.read_bytes(0x11_ffe, &mut out),
        Err(Unmapped { iova: 0x12_000 })
    );
    assert_eq!(byte(&table, 0xffff), None);
}

#[test]
fn ranges_that_are_none_are_refused_and_change_nothing() {
    let fd = file(2);
    let mut table = DmaTable::new();
    let rw = Protection::READ_WRITE;
    table.map(P, P, fd.as_fd(), 0, rw).unwrap();
    let generation = table.generation();
    let mut map = |iova, len, offset| table.map(iova, len, fd.as_fd(), offset, rw).unwrap_err();
    assert!(matches!(map(8 * P, 0, 0), MapError::Empty { .. }));
    assert!(matches!(map(8 * P, 5, 0), MapError::Unaligned { .. }));
    assert!(matches!(map(8 * P + 1, P, 0), MapError::Unaligned { .. }));
    assert!(matches!(map(8 * P, P, 512), MapError::Unaligned { .. }));
    assert!(matches!(
        map(0u64.wrapping_sub(P), 2 * P, 0),
        MapError::Overflow { .. }
    ));
    assert!(matches!(
        map(8 * P, P, 0u64.wrapping_sub(P)),
        MapError::Overflow { .. }
    ));
    assert!(matches!(map(P, P, 0), MapError::Overlap { other: P, .. }));
    assert!(matches!(
        map(0, 2 * P, 0),
        MapError::Overlap { other: P, .. }
    ));
    assert!(matches!(
        map(8 * P, 2 * P, P),
        MapError::FileTooShort {
            file_bytes: 8192,
            ..
        }
    ));
    assert_eq!((table.len(), table.generation()), (1, generation));
}

#[test]
fn the_rest_of_a_files_last_page_can_be_used() {
    let fd = file(1);
    rustix::fs::ftruncate(&fd, P + 1).unwrap();
    let mut table = DmaTable::new();
    let mut map = |pages| table.map(0, pages * P, fd.as_fd(), 0, Protection::READ_WRITE);
    assert!(matches!(map(3), Err(MapError::FileTooShort { .. })));
    map(2).unwrap();
    table.write_bytes(2 * P - 1, &[7]).unwrap();
    assert_eq!(byte(&table, 2 * P - 1), Some(7));
}

#[test]
fn what_may_only_be_read_is_not_written() {
    let fd = file(1);
    let mut table = DmaTable::new();
    table.map(0, P, fd.as_fd(), 0, Protection::READ).unwrap();
    assert_eq!(table.write_bytes(16, &[1]), Err(Unmapped { iova: 16 }));
    assert_eq!(byte(&table, 16), Some(0));
}

#[test]
fn a_file_that_grew_is_mapped_anew_and_old_regions_stay() {
    let fd = file(1);
    let mut table = DmaTable::new();
    let rw = Protection::READ_WRITE;
    table.map(0, P, fd.as_fd(), 0, rw).unwrap();
    rustix::io::pwrite(&fd, &[9; 4096], P).unwrap();
    table.map(P, P, fd.as_fd(), P, rw).unwrap();
    assert_eq!((byte(&table, 0), byte(&table, P)), (Some(0), Some(9)));
    assert_eq!(table.files.len(), 1);
}

#[test]
fn one_file_is_mapped_once_for_many_regions() {
    let fd = file(4);
    let mut table = DmaTable::new();
    for page in 0..4000 {
        let offset = (page % 4) * P;
        table
            .map(page * 2 * P, P, fd.as_fd(), offset, Protection::READ_WRITE)
            .unwrap();
    }
    assert_eq!((table.len(), table.files.len()), (4000, 1));
    assert_eq!(byte(&table, 3999 * 2 * P), Some(3));
    assert_eq!(table.unmap(0, u64::MAX), 4000 * P);
    assert!(table.is_empty());
}

#[test]
fn an_unmap_may_hit_nothing_or_cut_a_region() {
    let fd = file(8);
    let mut table = DmaTable::new();
    table
        .map(P, 6 * P, fd.as_fd(), 0, Protection::READ_WRITE)
        .unwrap();
    let generation = table.generation();
    assert_eq!(table.unmap(32 * P, P), 0);
    assert_eq!(table.unmap(P, 0), 0);
    assert_eq!(table.generation(), generation);
    assert_eq!(table.unmap(3 * P, 2 * P), 2 * P);
    assert_ne!(table.generation(), generation);
    let seen: Vec<_> = (0..8).map(|page| byte(&table, page * P)).collect();
    assert_eq!(
        seen,
        [None, Some(0), Some(1), None, None, Some(4), Some(5), None]
    );
}

proptest! {
    /// The table agrees, page by page, with a plain list of what is mapped.
    #[test]
    fn the_table_agrees_with_a_list(
        steps in proptest::collection::vec((any::<bool>(), 0_usize..32, 1_usize..8, 0_u8..25), 1..60),
    ) {
        let fd = file(32);
        let mut table = DmaTable::new();
        let mut model: [Option<u8>; 40] = [None; 40];
        for (map, start, count, offset) in steps {
            let (iova, len) = (start as u64 * P, count as u64 * P);
            let pages = &mut model[start..start + count];
            if map {
                let rw = Protection::READ_WRITE;
                let done = table.map(iova, len, fd.as_fd(), u64::from(offset) * P, rw);
                prop_assert_eq!(done.is_ok(), pages.iter().all(Option::is_none));
                if done.is_ok() {
                    for (page, value) in pages.iter_mut().zip(offset..) {
                        *page = Some(value);
                    }
                }
            } else {
                let mapped = pages.iter().filter(|page| page.is_some()).count() as u64;
                prop_assert_eq!(table.unmap(iova, len), mapped * P);
                pages.fill(None);
            }
            for (page, expected) in (0_u64..).zip(model) {
                prop_assert_eq!(byte(&table, page * P + 17), expected);
            }
        }
    }
}
