use nvme::NamespaceId;
use proptest::prelude::*;

use super::*;

const GUARD: Prinfo = Prinfo::new().with_guard(true);
const ALL: Checks = Checks {
    prinfo: Prinfo::new()
        .with_guard(true)
        .with_application(true)
        .with_reference(true),
    storage: true,
};

fn protection(kind: ProtectionType, format: GuardFormat) -> BlockProtection {
    let (storage_tag_bits, _) = format.storage_tag_bits();
    let protection = BlockProtection {
        kind,
        format,
        storage_tag_bits,
        storage_tag_mask: u64::MAX,
        first: false,
        block_bytes: 512,
        metadata_bytes: format.bytes(),
    };
    assert!(protection.is_legal());
    protection
}

fn type1() -> BlockProtection {
    protection(ProtectionType::Type1, GuardFormat::Guard16)
}

/// The guard that a block of `data` has.
fn guard(format: GuardFormat, data: &[u8]) -> u64 {
    let protection = BlockProtection {
        block_bytes: data.len(),
        ..protection(ProtectionType::Type1, format)
    };
    let mut metadata = vec![0; protection.metadata_bytes];
    protection.generate(data, &mut metadata, &Tags::default());
    let pi = ProtectionInfo::decode(format, &metadata).unwrap();
    pi.guard
}

fn counted(range: impl Iterator<Item = usize>) -> Vec<u8> {
    range.map(|at| at.to_le_bytes()[0]).collect()
}

#[test]
fn guards_have_the_check_values_of_the_catalogue() {
    let text = b"123456789";
    assert_eq!(guard(GuardFormat::Guard16, text), 0xd0db);
    assert_eq!(guard(GuardFormat::Guard32, text), 0xe306_9283);
    assert_eq!(guard(GuardFormat::Guard64, text), 0xae8b_1486_0a79_9888);
}

/// The vectors of SBC-3 (the CRC's test cases) and of Linux
/// (`crypto/testmgr.h`, crct10dif).
#[test]
fn guards_of_16_bits_are_those_of_t10() {
    let guard = |data: &[u8]| guard(GuardFormat::Guard16, data);
    assert_eq!(guard(&[0; 32]), 0x0000);
    assert_eq!(guard(&[0xff; 32]), 0xa293);
    assert_eq!(guard(&counted(0..32)), 0x0224);
    assert_eq!(guard(&[&[0xff; 2][..], &[0; 30]].concat()), 0x21b8);
    assert_eq!(guard(&counted((0xe0..=0xff).rev())), 0xa0b7);
    assert_eq!(guard(b"abc"), 0x443b);
    let digits: Vec<u8> = b"1234567890".iter().copied().cycle().take(79).collect();
    assert_eq!(guard(&digits), 0x4b70);
    assert_eq!(guard(&[&b"abc"[..], &[b'd'; 53]].concat()), 0x9ce3);
}

/// The vectors of the specification: 4 KiB of one pattern each
/// (`NVM Command Set 1.1 §5.3.1`, as SPDK's unit tests have them, too).
#[test]
fn guards_of_32_and_64_bits_are_those_of_the_specification() {
    let up = counted(0..4096);
    let down = counted((0..4096).rev());
    let table: [(&[u8], u64, u64); 4] = [
        (&[0; 4096], 0x98f9_4189, 0x6482_d367_eb22_b64e),
        (&[0xff; 4096], 0x25c1_fe13, 0xc0dd_ba73_02ec_a3ac),
        (&up, 0x9c71_fe32, 0x3e72_9f5f_6750_449c),
        (&down, 0x2149_41a8, 0x9a2d_f64b_8e9e_517e),
    ];
    for (data, short, long) in table {
        assert_eq!(guard(GuardFormat::Guard32, data), short);
        assert_eq!(guard(GuardFormat::Guard64, data), long);
    }
}

#[test]
fn protection_information_has_its_place_in_the_metadata() {
    let tags = Tags {
        reference: 0x0102_0304,
        application: 0x0506,
        ..Tags::default()
    };
    let data: Vec<u8> = counted(0..1024);
    let last = BlockProtection {
        metadata_bytes: 16,
        ..type1()
    };
    let mut metadata = [0xaa; 32];
    last.generate(&data, &mut metadata, &tags);
    assert_eq!(metadata[..8], [0xaa; 8]);
    assert_eq!(metadata[10..16], [5, 6, 1, 2, 3, 4]);
    assert_eq!(metadata[26..32], [5, 6, 1, 2, 3, 5]);
    // The metadata before it is guarded, too.
    let covered = [&data[..512], &[0xaa; 8]].concat();
    let crc = guard(GuardFormat::Guard16, &covered).to_be_bytes();
    assert_eq!(metadata[8..10], crc[6..]);
    // In the first bytes, it guards the data alone.
    let first = BlockProtection {
        first: true,
        ..last
    };
    let mut metadata = [0xaa; 32];
    first.generate(&data, &mut metadata, &tags);
    let crc = guard(GuardFormat::Guard16, &data[..512]).to_be_bytes();
    assert_eq!(metadata[..2], crc[6..]);
    assert_eq!(metadata[2..8], [5, 6, 1, 2, 3, 4]);
    assert_eq!(metadata[8..16], [0xaa; 8]);
}

#[test]
fn each_check_has_its_status_and_its_block() {
    let tags = Tags {
        storage: 0x11,
        reference: 0x00ff_fffe,
        application: 0x1234,
        application_mask: 0x0ff0,
    };
    let protection = BlockProtection {
        storage_tag_bits: 8,
        storage_tag_mask: 0x0f,
        ..type1()
    };
    let mut data = counted(0..2048);
    let mut metadata = [0; 32];
    protection.generate(&data, &mut metadata, &tags);
    // The reference tag has 24 bits here, and comes round.
    assert_eq!(metadata[4..8], [0x11, 0xff, 0xff, 0xfe]);
    assert_eq!(metadata[20..24], [0x11, 0, 0, 0]);
    let check = |data: &[u8], metadata: &[u8], tags: &Tags, checks| {
        let found = protection.check(data, metadata, tags, checks);
        found.map_err(|mismatch| (mismatch.block, mismatch.status))
    };
    assert_eq!(check(&data, &metadata, &tags, ALL), Ok(()));
    let with = |change: fn(&mut Tags)| {
        let mut other = tags;
        change(&mut other);
        check(&data, &metadata, &other, ALL)
    };
    assert_eq!(
        with(|tags| tags.application ^= 0x10),
        Err((0, Status::APPLICATION_TAG_CHECK))
    );
    assert_eq!(with(|tags| tags.application ^= 0xf00f), Ok(()));
    assert_eq!(
        with(|tags| tags.reference += 1),
        Err((0, Status::REFERENCE_TAG_CHECK))
    );
    assert_eq!(
        with(|tags| tags.storage ^= 1),
        Err((0, Status::STORAGE_TAG_CHECK))
    );
    assert_eq!(with(|tags| tags.storage ^= 0xf0), Ok(()));
    data[1500] ^= 1;
    let wrong = Err((2, Status::GUARD_CHECK));
    assert_eq!(check(&data, &metadata, &tags, ALL), wrong);
    // What is not asked for is not checked.
    let none = Checks::default();
    let other = Tags::default();
    assert_eq!(check(&data, &metadata, &other, none), Ok(()));
    let guard = Checks {
        prinfo: GUARD,
        storage: false,
    };
    assert_eq!(check(&data, &metadata, &other, guard), wrong);
    // The tag that switches checks off.
    metadata[18..20].fill(0xff);
    assert_eq!(
        check(&data, &metadata, &other, ALL).map_err(|found| found.0),
        Err(0)
    );
    assert_eq!(check(&data, &metadata, &tags, ALL), Ok(()));
    metadata[19] = 0xfe;
    assert_eq!(check(&data, &metadata, &tags, ALL), wrong);
}

#[test]
fn type_3_keeps_one_reference_tag_and_does_not_check_it() {
    let type3 = protection(ProtectionType::Type3, GuardFormat::Guard16);
    let tags = Tags {
        reference: 77,
        application: 0xffff,
        application_mask: 0xffff,
        ..Tags::default()
    };
    let data = counted(0..1024);
    let mut metadata = [0; 16];
    type3.generate(&data, &mut metadata, &tags);
    assert_eq!((metadata[7], metadata[15]), (77, 77));
    let other = Tags {
        reference: 1,
        ..tags
    };
    assert_eq!(type3.check(&data, &metadata, &other, ALL), Ok(()));
    // Both tags switch checks off here, not one alone.
    metadata[0] ^= 1;
    let wrong = type3.check(&data, &metadata, &tags, ALL);
    assert_eq!(
        wrong.map_err(|found| found.status),
        Err(Status::GUARD_CHECK)
    );
    metadata[4..8].fill(0xff);
    assert_eq!(type3.check(&data, &metadata, &tags, ALL), Ok(()));
}

#[test]
fn a_command_is_held_to_its_type() {
    let tags = Tags {
        reference: 0x1234_5678,
        ..Tags::default()
    };
    let refused = Err(Status::INVALID_PROTECTION_INFORMATION.dnr());
    let reference = Prinfo::new().with_reference(true);
    let check = |kind, prinfo, lba| {
        protection(kind, GuardFormat::Guard16).check_command(prinfo, Lba(lba), &tags)
    };
    assert_eq!(
        check(ProtectionType::Type1, reference, 0x9_1234_5678),
        Ok(())
    );
    assert_eq!(
        check(ProtectionType::Type1, reference, 0x1234_5679),
        refused
    );
    assert_eq!(check(ProtectionType::Type1, GUARD, 0x1234_5679), Ok(()));
    assert_eq!(check(ProtectionType::Type2, reference, 0), Ok(()));
    assert_eq!(
        check(ProtectionType::Type3, reference, 0x1234_5678),
        refused
    );
    assert_eq!(check(ProtectionType::Type3, GUARD, 0), Ok(()));
    // Only the bits that the reference tag has are those of the LBA.
    let narrow = BlockProtection {
        storage_tag_bits: 24,
        ..type1()
    };
    let tags = Tags {
        reference: 0x78,
        ..tags
    };
    assert_eq!(narrow.check_command(reference, Lba(0x1278), &tags), Ok(()));
}

#[test]
fn the_tags_of_a_command_are_found() {
    let mut sqe = Sqe::new(1, NamespaceId(1));
    sqe.cdw3.set(0x0000_a1a2);
    sqe.cdw14.set(0xb1b2_b3b4);
    sqe.cdw15.set(0xff00_1234);
    let protection = BlockProtection {
        storage_tag_bits: 8,
        ..protection(ProtectionType::Type2, GuardFormat::Guard64)
    };
    let expected = Tags {
        storage: 0xa1,
        reference: 0xa2_b1b2_b3b4,
        application: 0x1234,
        application_mask: 0xff00,
    };
    assert_eq!(protection.tags(&sqe), expected);
}

#[test]
fn metadata_that_is_made_here_does_not_cross_to_the_host() {
    let act = Prinfo::new().with_pract(true);
    let larger = BlockProtection {
        metadata_bytes: 64,
        ..type1()
    };
    assert!(!type1().moves_metadata(act));
    assert!(type1().moves_metadata(GUARD));
    assert!(larger.moves_metadata(act));
}

#[test]
fn zeroed_media_read_as_blocks_that_are_not_checked() {
    for format in [
        GuardFormat::Guard16,
        GuardFormat::Guard32,
        GuardFormat::Guard64,
    ] {
        for kind in [
            ProtectionType::Type1,
            ProtectionType::Type2,
            ProtectionType::Type3,
        ] {
            let protection = BlockProtection {
                metadata_bytes: 20,
                ..protection(kind, format)
            };
            let mut metadata = [0; 40];
            protection.invert(&mut metadata);
            let bytes = format.bytes();
            assert_eq!(metadata[..20 - bytes], vec![0; 20 - bytes]);
            assert_eq!(metadata[20 - bytes..20], vec![0xff; bytes]);
            let tags = Tags::default();
            let found = protection.check(&[0; 1024], &metadata, &tags, ALL);
            assert_eq!(found, Ok(()));
            protection.invert(&mut metadata);
            assert_eq!(metadata, [0; 40]);
        }
    }
}

#[test]
fn blocks_that_cannot_be_are_not_legal() {
    let legal = |change: fn(&mut BlockProtection)| {
        let mut protection = protection(ProtectionType::Type1, GuardFormat::Guard32);
        change(&mut protection);
        protection.is_legal()
    };
    assert!(legal(|_| ()));
    assert!(legal(|protection| protection.storage_tag_bits = 64));
    assert!(!legal(|protection| protection.storage_tag_bits = 65));
    assert!(!legal(|protection| protection.storage_tag_bits = 15));
    assert!(!legal(|protection| protection.metadata_bytes = 15));
    assert!(!legal(|protection| protection.block_bytes = 0));
    assert!(!legal(|protection| protection.kind = ProtectionType::None));
}

fn any_protection() -> impl Strategy<Value = BlockProtection> {
    let kind = prop_oneof![
        Just(ProtectionType::Type1),
        Just(ProtectionType::Type2),
        Just(ProtectionType::Type3),
    ];
    let format = prop_oneof![
        Just(GuardFormat::Guard16),
        Just(GuardFormat::Guard32),
        Just(GuardFormat::Guard64),
    ];
    let sized = format.prop_flat_map(|format| {
        let (least, most) = format.storage_tag_bits();
        (Just(format), least..=most, 0_usize..24)
    });
    (kind, sized, any::<bool>()).prop_map(|(kind, (format, bits, more), first)| BlockProtection {
        kind,
        format,
        storage_tag_bits: bits,
        storage_tag_mask: u64::MAX,
        first,
        block_bytes: 64,
        metadata_bytes: format.bytes() + more,
    })
}

proptest! {
    /// What was made passes every check, and no bit of it can change unnoticed.
    #[test]
    fn what_is_made_passes_and_no_bit_may_change(
        protection in any_protection(),
        data in proptest::collection::vec(any::<u8>(), 3 * 64),
        filling in any::<u8>(),
        tags in any::<(u128, u16)>(),
        flip in 0_usize..10_000,
    ) {
        prop_assert!(protection.is_legal());
        let format = protection.format;
        // The tags as a command would carry them.
        let mut sqe = Sqe::new(1, NamespaceId(1));
        let [a, b, c, ..] = nvme_words(tags.0);
        sqe.cdw14.set(a);
        sqe.cdw3.set(b);
        sqe.cdw2.set(c);
        sqe.cdw15.set(0xffff_0000 | u32::from(tags.1 & 0x7fff));
        let tags = protection.tags(&sqe);
        let mut metadata = vec![filling; 3 * protection.metadata_bytes];
        protection.generate(&data, &mut metadata, &tags);
        prop_assert_eq!(protection.check(&data, &metadata, &tags, ALL), Ok(()));

        let mut changed = [data.clone(), metadata.clone()].concat();
        let bit = flip % (changed.len() * 8);
        changed[bit / 8] ^= 1 << (bit % 8);
        let (new_data, new_metadata) = changed.split_at(data.len());
        let found = protection.check(new_data, new_metadata, &tags, ALL);
        // Metadata behind the protection information is nobody's, as is the
        // reference tag of type 3.
        let at = (bit / 8).checked_sub(data.len()).map(|at| at % protection.metadata_bytes);
        let place = protection.place();
        let tag_bits = format.tag_bits() - protection.storage_tag_bits;
        let unguarded = at.is_some_and(|at| {
            // The bits of a place that follow this one.
            let low = place.end.saturating_sub(at + 1) * 8 + bit % 8;
            let reference = place.contains(&at) && low < tag_bits as usize;
            at >= place.end || (reference && protection.kind == ProtectionType::Type3)
        });
        if unguarded {
            prop_assert_eq!(found, Ok(()));
        } else {
            let block = match (bit / 8).checked_sub(data.len()) {
                Some(at) => at / protection.metadata_bytes,
                None => bit / 8 / 64,
            };
            prop_assert_eq!(found.map_err(|found| found.block), Err(block as u64));
        }
    }
}

/// The words of a number, the lowest first.
fn nvme_words(value: u128) -> [u32; 4] {
    let bytes = value.to_le_bytes();
    std::array::from_fn(|at| {
        let word = bytes[at * 4..at * 4 + 4].try_into().unwrap();
        u32::from_le_bytes(word)
    })
}
