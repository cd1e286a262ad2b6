use std::ops::Range;

use proptest::prelude::*;

use super::*;

fn allocate(arena: &DmaArena, bytes: usize) -> DmaBuffer {
    arena.allocate(bytes, |_| Ok(())).unwrap()
}

fn range(buffer: &DmaBuffer) -> Range<u64> {
    buffer.iova()..buffer.iova() + buffer.len() as u64
}

#[test]
fn buffers_are_whole_zeroed_pages_and_go_back() {
    let arena = DmaArena::new();
    let mut buffer = allocate(&arena, 5000);
    assert_eq!((buffer.len(), buffer.iova() % 4096), (8192, 0));
    buffer.fill(0, 8192, 0xaa).unwrap();
    let iova = buffer.iova();
    drop(buffer);
    let buffer = allocate(&arena, 8192);
    assert_eq!(buffer.iova(), iova);
    let mut bytes = vec![1; 8192];
    buffer.read_at(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(arena.regions().len(), 1);
}

#[test]
fn a_device_that_maps_the_file_sees_the_same_bytes() {
    let arena = DmaArena::new();
    let _first = allocate(&arena, 4096);
    let mut buffer = allocate(&arena, 4096);
    buffer.write_at(100, b"hello").unwrap();
    let regions = arena.regions();
    let region = &regions[0];
    let offset = buffer.iova() - region.iova();
    let mut seen = [0; 5];
    let fd = region.fd();
    rustix::io::pread(fd, &mut seen, offset + 100).unwrap();
    assert_eq!(&seen, b"hello");
    rustix::io::pwrite(fd, b"world", offset + 200).unwrap();
    buffer.read_at(200, &mut seen).unwrap();
    assert_eq!(&seen, b"world");
}

#[test]
fn a_region_is_announced_once_before_it_is_used() {
    let arena = DmaArena::new();
    let mut announced = Vec::new();
    for _ in 0..3 {
        let bytes = REGION_BYTES_MIN - PAGE;
        let mut buffers = Vec::new();
        for _ in 0..2 {
            let buffer = arena.allocate(bytes, |region| {
                announced.push(region.iova()..region.iova() + region.len() as u64);
                Ok(())
            });
            let buffer = buffer.unwrap();
            let known = |known: &Range<u64>| {
                known.start <= buffer.iova() && range(&buffer).end <= known.end
            };
            assert!(announced.iter().any(known));
            buffers.push(buffer);
        }
    }
    assert_eq!(announced.len(), 2, "the same two again and again");
    assert!(announced[0].end < announced[1].start, "with a hole between");
}

#[test]
fn a_region_that_the_device_refuses_is_not_used() {
    let arena = DmaArena::new();
    let refused = arena.allocate(4096, |_| {
        Err(DriverError::transport("test", "mapping", "refused"))
    });
    refused.unwrap_err();
    assert!(arena.regions().is_empty());
    arena.allocate(0, |_| Ok(())).unwrap_err();
    arena.allocate(usize::MAX, |_| Ok(())).unwrap_err();
}

#[test]
fn accesses_outside_are_refused() {
    let arena = DmaArena::new();
    let mut buffer = allocate(&arena, 4096);
    buffer.write_at(4095, &[1, 2]).unwrap_err();
    buffer.read_at(usize::MAX, &mut [0]).unwrap_err();
    buffer.fill(0, 4097, 0).unwrap_err();
    buffer.slice(4096, 1).unwrap_err();
    assert_eq!(buffer.slice(4092, 4).unwrap().iova(), buffer.iova() + 4092);
    let slice = buffer.slice(8, 8).unwrap();
    slice.read_at(4, &mut [0; 5]).unwrap_err();
    slice.read_at(4, &mut [0; 4]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_byte_is_handed_out_twice_and_all_come_back(
        steps in prop::collection::vec((1_usize..9 << 20, 0_usize..8), 1..60),
    ) {
        let arena = DmaArena::new();
        let mut held: Vec<DmaBuffer> = Vec::new();
        for (bytes, victim) in steps {
            if held.len() > 4 {
                held.swap_remove(victim % held.len());
            }
            let buffer = allocate(&arena, bytes.next_multiple_of(1 << 18));
            for other in &held {
                let (a, b) = (range(&buffer), range(other));
                prop_assert!(a.end <= b.start || b.end <= a.start);
            }
            held.push(buffer);
        }
        held.clear();
        for region in arena.regions() {
            prop_assert_eq!(region.free, BTreeMap::from([(0, region.bytes)]));
        }
    }
}

#[test]
fn regions_keep_to_what_the_device_may_use() {
    // An IOMMU of 39 bits, with the addresses of messages left out.
    let low = IovaRange {
        first: 0,
        last: 0xfedf_ffff,
    };
    let high = IovaRange {
        first: 0xfef0_0000,
        last: (1 << 39) - 1,
    };
    let arena = DmaArena::within(vec![low, high], 1 << 20);
    assert_eq!(allocate(&arena, 4096).iova(), IOVA_START);
    // Nothing above 4 GiB.
    let narrow = DmaArena::within(vec![low], 1 << 20);
    let first = allocate(&narrow, 4096);
    let second = allocate(&narrow, 1 << 20);
    assert_eq!(first.iova(), LOW_START);
    assert_eq!(second.iova(), LOW_START + (1 << 20) + 4096);
    // No more than there is, and a clear word.
    let tiny = IovaRange {
        first: 0x10_0000,
        last: 0x2f_ffff,
    };
    let arena = DmaArena::within(vec![tiny], 1 << 20);
    let _kept = allocate(&arena, 1 << 20);
    let error = arena.allocate(1 << 20, |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("too few addresses"), "{error}");
}
