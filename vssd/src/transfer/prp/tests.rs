use super::*;
use crate::memory::Access;
use crate::transfer::DataPointer;
use crate::transfer::tests::{Guest, P, PAGES};

impl Guest {
    fn list(&self, at: u64, entries: &[u64]) {
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        self.table.write_bytes(at, &bytes).unwrap();
    }

    fn walk(&self, prp1: u64, prp2: u64, bytes: u64) -> Result<Vec<(u8, usize)>, Status> {
        self.runs(DataPointer::Prp { prp1, prp2 }, bytes)
    }
}

#[test]
fn one_and_two_pages_need_no_list() {
    let guest = Guest::new();
    assert_eq!(guest.walk(3 * P, 0, 4096), Ok(vec![(3, 4096)]));
    assert_eq!(guest.walk(3 * P + 512, 0, 512), Ok(vec![(3, 512)]));
    // A page that starts inside one reaches into another.
    let runs = guest.walk(3 * P + 512, 7 * P, 4096);
    assert_eq!(runs, Ok(vec![(3, 3584), (7, 512)]));
    // PRP2 is not looked at where PRP1 is enough.
    assert_eq!(guest.walk(3 * P, 0xdead_beef, 4096), Ok(vec![(3, 4096)]));
}

#[test]
fn a_list_may_start_inside_a_page() {
    let guest = Guest::new();
    for at in [5 * P, 5 * P + 8, 5 * P + 2048, 6 * P - 16] {
        guest.list(at, &[7 * P, 8 * P]);
        let runs = guest.walk(3 * P, at, 3 * 4096);
        assert_eq!(runs, Ok(vec![(3, 4096), (7, 4096), (8, 4096)]), "{at:#x}");
    }
}

#[test]
fn lists_are_chained_by_their_last_entry() {
    let guest = Guest::new();
    // Two entries of room: one page, and where it goes on.
    guest.list(6 * P - 16, &[7 * P, 6 * P]);
    guest.list(6 * P, &[8 * P, 9 * P]);
    let runs = guest.walk(3 * P, 6 * P - 16, 4 * 4096);
    assert_eq!(runs, Ok(vec![(3, 4096), (7, 4096), (8, 4096), (9, 4096)]));
    // Room for one entry: nothing but the pointer.
    guest.list(6 * P - 8, &[6 * P]);
    let runs = guest.walk(3 * P, 6 * P - 8, 3 * 4096);
    assert_eq!(runs, Ok(vec![(3, 4096), (8, 4096), (9, 4096)]));
    // Exactly as many as there is room for: the last is a page, not a pointer.
    guest.list(6 * P - 16, &[7 * P, 8 * P]);
    let runs = guest.walk(3 * P, 6 * P - 16, 3 * 4096);
    assert_eq!(runs, Ok(vec![(3, 4096), (7, 4096), (8, 4096)]));
}

#[test]
fn long_lists_are_walked_to_the_end() {
    let guest = Guest::new();
    // 600 pages: PRP1, 511 entries of the first list, 88 of the second.
    let pages: Vec<u64> = (0..599).map(|at| (6 + at % 3) * P).collect();
    guest.list(4 * P, &pages[..511]);
    guest.list(5 * P - 8, &[5 * P]);
    guest.list(5 * P, &pages[511..]);
    let runs = guest.walk(9 * P, 4 * P, 600 * 4096).unwrap();
    assert_eq!(runs.len(), 600);
    let expected = |at: usize| (u8::try_from(6 + (at - 1) % 3).unwrap(), 4096);
    assert!((1..600).all(|at| runs[at] == expected(at)));
}

#[test]
fn a_list_that_leads_to_itself_ends_with_the_transfer() {
    let guest = Guest::new();
    let mut entries = vec![7 * P; 511];
    entries.push(4 * P);
    guest.list(4 * P, &entries);
    let mut buffer = SegmentBuffer::with_capacity(8193);
    let data = DataPointer::Prp {
        prp1: 3 * P,
        prp2: 4 * P,
    };
    let bytes = 8192 * P;
    let segments = data.walk(&guest.table, bytes, Access::Read, &mut buffer);
    assert_eq!(segments.map(|found| found.bytes() as u64), Ok(bytes));
}

#[test]
fn offsets_that_break_the_rules_are_refused() {
    let guest = Guest::new();
    let refused = |prp1, prp2, bytes| {
        let status = guest.walk(prp1, prp2, bytes).unwrap_err();
        assert_eq!(
            status,
            Status::PRP_OFFSET_INVALID.dnr(),
            "{prp1:#x} {prp2:#x}"
        );
    };
    // PRP1 is aligned to a dword, a page to a page, a list to an entry.
    refused(3 * P + 2, 0, 512);
    refused(3 * P, 7 * P + 4, 8192);
    refused(3 * P, 5 * P + 4, 3 * 4096);
    guest.list(5 * P, &[7 * P, 8 * P + 512]);
    refused(3 * P, 5 * P, 3 * 4096);
    // Only the first list may start inside a page.
    guest.list(6 * P - 8, &[6 * P + 8]);
    guest.list(6 * P + 8, &[7 * P, 8 * P]);
    refused(3 * P, 6 * P - 8, 3 * 4096);
}

#[test]
fn memory_that_is_not_there_is_a_transfer_error() {
    let guest = Guest::new();
    let lost = |prp1, prp2, bytes| {
        let status = guest.walk(prp1, prp2, bytes).unwrap_err();
        assert_eq!(status, Status::DATA_TRANSFER_ERROR, "{prp1:#x} {prp2:#x}");
    };
    lost(PAGES * P, 0, 512);
    lost(0, PAGES * P, 8192);
    lost(0, PAGES * P, 3 * 4096);
    guest.list(5 * P, &[7 * P, u64::MAX - 4095]);
    lost(0, 5 * P, 3 * 4096);
    guest.list(6 * P - 8, &[u64::MAX - 4095]);
    lost(0, 6 * P - 8, 3 * 4096);
}

#[test]
fn pieces_that_continue_each_other_become_one() {
    let guest = Guest::new();
    // The guest's pages are in reverse order: going down goes up in the host.
    let mut buffer = SegmentBuffer::with_capacity(1);
    let data = DataPointer::Prp {
        prp1: 9 * P,
        prp2: 8 * P,
    };
    let found = data.walk(&guest.table, 8192, Access::Read, &mut buffer);
    assert_eq!(found.map(|found| found.bytes()), Ok(8192));
    let data = DataPointer::Prp {
        prp1: 8 * P,
        prp2: 9 * P,
    };
    let full = data.walk(&guest.table, 8192, Access::Read, &mut buffer);
    assert_eq!(full.map(|found| found.bytes()), Err(Status::INTERNAL_ERROR));
}
