use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;

fn target(blocks: u64, block_bytes: u32) -> NamespaceInfo {
    NamespaceInfo {
        nsid: NamespaceId(1),
        blocks,
        block_bytes,
        metadata_bytes: 0,
    }
}

fn one(lba: u64, blocks: u64) -> Extents {
    Extents {
        first: Extent {
            lba: Lba(lba),
            blocks,
        },
        second: None,
    }
}

#[test]
fn mappings_read_as_they_are_written() {
    for mapping in [
        Mapping::Identity,
        Mapping::Wrap,
        Mapping::Scale,
        Mapping::Compact,
        Mapping::Offset(2048),
        Mapping::Offset(-1),
    ] {
        assert_eq!(mapping.to_string().parse(), Ok(mapping));
    }
    let error = "fold".parse::<Mapping>().unwrap_err().to_string();
    assert!(error.contains("`wrap`"), "{error}");
}

#[test]
fn identity_keeps_addresses_up_to_the_last_block() {
    let map = AddressMap::new(Mapping::Identity, 512, 1000 * 512, target(1000, 512));
    assert_eq!(map.place(Lba(992), 8), Ok(one(992, 8)));
    assert_eq!(map.place(Lba(993), 8), Err(Misplaced::BeyondEnd));
    assert_eq!(map.place(Lba(u64::MAX), 1), Err(Misplaced::BeyondEnd));
    assert_eq!(map.place(Lba(0), u64::MAX), Err(Misplaced::BeyondEnd));
}

#[test]
fn blocks_are_converted_both_ways_where_they_are_whole() {
    let up = AddressMap::new(Mapping::Identity, 512, 8 * MIB, target(2048, 4096));
    assert_eq!(up.place(Lba(16), 8), Ok(one(2, 1)));
    // Whole blocks of the target, however little of them was recorded.
    assert_eq!(up.place(Lba(17), 8), Ok(one(2, 2)));
    assert_eq!(up.place(Lba(16), 7), Ok(one(2, 1)));
    assert!(up.is_whole(Lba(16), 8) && !up.is_whole(Lba(16), 7) && !up.is_whole(Lba(17), 8));
    let down = AddressMap::new(Mapping::Identity, 4096, 8 * MIB, target(16_384, 512));
    assert_eq!(down.place(Lba(2), 3), Ok(one(16, 24)));
    // A range that may only be deallocated as a whole is cut to what is whole.
    assert_eq!(up.place_inside(Lba(9), 23), Ok(Some(one(2, 2))));
    assert_eq!(up.place_inside(Lba(9), 14), Ok(None));
    assert_eq!(up.place_inside(Lba(9), 7), Ok(None));
    assert_eq!(up.place_inside(Lba(16), 16), Ok(Some(one(2, 2))));
}

#[test]
fn wrap_splits_at_the_end_and_goes_on_at_the_start() {
    let map = AddressMap::new(Mapping::Wrap, 512, 10_000 * 512, target(1000, 512));
    assert_eq!(map.place(Lba(2_992), 8), Ok(one(992, 8)));
    let split = Extents {
        second: Some(Extent {
            lba: Lba(0),
            blocks: 3,
        }),
        ..one(995, 5)
    };
    assert_eq!(map.place(Lba(995), 8), Ok(split));
    // More than all of the target is all of the target, once.
    let all = map.place(Lba(10), 5_000).unwrap();
    assert_eq!(all.first.blocks + all.second.unwrap().blocks, 1000);
}

#[test]
fn scale_fills_the_target_and_keeps_runs_together() {
    let map = AddressMap::new(
        Mapping::Scale,
        512,
        1024 * MIB,
        target(128 * MIB / 512, 512),
    );
    assert_eq!(map.place(Lba(0), 8), Ok(one(0, 8)));
    let middle = 512 * MIB / 512;
    assert_eq!(map.place(Lba(middle), 8), Ok(one(middle / 8, 8)));
    assert_eq!(map.place(Lba(middle + 8), 8), Ok(one(middle / 8 + 8, 8)));
    let last = 1024 * MIB / 512 - 8;
    assert_eq!(map.place(Lba(last), 8), Ok(one(128 * MIB / 512 - 8, 8)));
}

proptest! {
    /// Whatever the mapping, nothing lands outside of the target, and no block
    /// is lost where the target has room for the command.
    #[test]
    fn nothing_lands_outside(
        mapping in prop_oneof![Just(Mapping::Wrap), Just(Mapping::Scale), Just(Mapping::Identity)],
        recorded_block in prop_oneof![Just(512_u32), Just(4096)],
        target_block in prop_oneof![Just(512_u32), Just(4096)],
        recorded_blocks in 1_u64..1 << 40,
        target_blocks in 1_u64..1 << 34,
        lba in 0_u64..1 << 40,
        blocks in 1_u64..70_000,
    ) {
        let recorded_bytes = recorded_blocks * u64::from(recorded_block);
        let map = AddressMap::new(mapping, recorded_block, recorded_bytes, target(target_blocks, target_block));
        if let Ok(extents) = map.place(Lba(lba), blocks) {
            let mut placed = 0;
            for extent in std::iter::once(extents.first).chain(extents.second) {
                prop_assert!(extent.blocks > 0);
                prop_assert!(extent.lba.0 + extent.blocks <= target_blocks);
                placed += extent.blocks;
            }
            let start = lba * u64::from(recorded_block) / u64::from(target_block);
            let end = ((lba + blocks) * u64::from(recorded_block)).div_ceil(u64::from(target_block));
            prop_assert_eq!(placed, (end - start).min(target_blocks));
        } else {
            prop_assert_eq!(mapping, Mapping::Identity);
        }
    }
}
