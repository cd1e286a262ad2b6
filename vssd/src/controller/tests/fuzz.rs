//! A guest that does anything at all.

use nvme::offset;
use proptest::prelude::*;

use super::MIB;
use crate::ControllerConfig;
use crate::fuzz::{Act, check_records, fill_unmapped, perform, prepare};
use crate::host::{BASE, Host};
use crate::media::Ram;

/// A word of a command: a small number, an address in the guest, or anything.
fn word() -> impl Strategy<Value = u32> {
    let base = u32::try_from(BASE).unwrap();
    prop_oneof![
        6 => 0_u32..12,
        3 => (0_u32..64).prop_map(move |page| base + page * 4096),
        1 => (0_u32..64).prop_map(move |at| base + at * 8),
        1 => any::<u32>(),
        1 => Just(0x0007_0001),
    ]
}

/// A command whose numbers are made likely to mean something.
fn command() -> impl Strategy<Value = [u32; 16]> {
    let first = (0_u32..0x0e, 0_u32..64).prop_map(|(opcode, cid)| opcode | cid << 16);
    let anything = prop::array::uniform16(word());
    let address = (0_u32..64).prop_map(|page| u32::try_from(BASE).unwrap() + page * 4096);
    (first, address.clone(), address, anything, 0_u32..4).prop_map(
        |(first, prp1, prp2, mut words, wild)| {
            words[0] = first;
            words[1] = u32::from(wild != 1);
            if wild != 0 {
                words[6..10].copy_from_slice(&[prp1, 0, prp2, 0]);
                words[11] = 0;
            }
            words
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let registers = prop_oneof![
        Just(offset::CC),
        Just(offset::AQA),
        Just(offset::ASQ),
        Just(offset::ACQ),
        Just(offset::INTMS),
        Just(offset::INTMC),
        (0_u32..0x1000).prop_map(|at| at & !3),
    ];
    let values = prop_oneof![
        4 => Just(0x0046_0001),
        1 => Just(0x0046_4001),
        1 => Just(0),
        1 => word(),
    ];
    prop_oneof![
        60 => (0_u8..3, command()).prop_map(|(queue, words)| Act::Put { queue, words }),
        10 => (0_u8..8, prop_oneof![9 => 0_u32..8, 1 => any::<u32>()])
            .prop_map(|(doorbell, value)| Act::Ring { doorbell, value }),
        1 => (registers, values).prop_map(|(offset, value)| Act::Register { offset, value }),
        30 => Just(Act::Poll),
        2 => (0_u16..64, 1_u8..8).prop_map(|(page, count)| Act::Unmap { page, count }),
        4 => (0_u16..64, 1_u8..8).prop_map(|(page, count)| Act::Map { page, count }),
        1 => Just(Act::FunctionReset),
    ]
}

proptest! {
    /// Whatever a guest does: no panic, every command that was fetched is
    /// reported exactly once, and memory that is not mapped is not touched.
    /// `PROPTEST_CASES=10000` tries harder.
    #[test]
    fn a_guest_can_do_anything(acts in prop::collection::vec(act(), 1..200)) {
        let mut host = Host::new(ControllerConfig::default(), Ram::new(MIB).unwrap());
        let untouched = fill_unmapped(&mut host);
        let mut tails = prepare(&mut host);
        for act in acts {
            perform(&mut host, act, &mut tails);
        }
        host.controller.poll(64);
        host.controller.disconnected();
        prop_assert!(untouched(&host));
        check_records(&host);
    }
}
