//! A guest that does anything at all.

use std::collections::HashSet;
use std::os::fd::AsFd;

use nvme::{DOORBELL_BASE, Registers, SQE_BYTES, offset};
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::MIB;
use crate::host::{BASE, Host, PAGE, PAGES};
use crate::media::Ram;
use crate::{ControllerConfig, Protection};

/// What a guest can do.
#[derive(Clone, Debug)]
enum Act {
    /// Put a command into a queue and ring.
    Put {
        queue: u8,
        words: [u32; 16],
    },
    Ring {
        doorbell: u8,
        value: u32,
    },
    Register {
        offset: u32,
        value: u32,
    },
    Poll,
    Unmap {
        page: u16,
        count: u8,
    },
    Map {
        page: u16,
        count: u8,
    },
    FunctionReset,
}

/// The first pages of the host's memory come and go, the others never come.
const MAPPED: u64 = 64;

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

fn perform(host: &mut Host<Ram>, act: Act, tails: &mut [u16; 3]) {
    match act {
        Act::Put { queue, words } => {
            let tail = &mut tails[usize::from(queue)];
            let at = BASE + u64::from(queue) * PAGE + u64::from(*tail) * SQE_BYTES as u64;
            host.write(at, words.as_bytes());
            *tail = (*tail + 1) % 8;
            let value = u32::from(*tail);
            let doorbell = DOORBELL_BASE + u32::from(queue) * 8;
            host.controller.write32(doorbell, value);
            // The guest consumes whatever was posted by now.
            let head = host.controller.doorbells().load(
                nvme::QueueId(queue.into()),
                nvme::DoorbellKind::CompletionHead,
            );
            host.controller.write32(doorbell + 4, (head + 1) % 8);
        }
        Act::Ring { doorbell, value } => {
            let doorbell = DOORBELL_BASE + u32::from(doorbell) * 4;
            host.controller.write32(doorbell, value);
        }
        Act::Register { offset, value } => {
            host.controller.write32(offset, value);
            host.controller.read32(offset);
        }
        Act::Poll => {
            host.controller.poll(16);
        }
        Act::Unmap { page, count } => {
            let (at, len) = (BASE + u64::from(page) * PAGE, u64::from(count) * PAGE);
            host.controller.dma_unmap(at, len);
        }
        Act::Map { page, count } => {
            let end = (u64::from(page) + u64::from(count)).min(MAPPED);
            for page in u64::from(page)..end {
                let fd = host.memory.as_fd();
                let (at, offset) = (BASE + page * PAGE, page * PAGE);
                let rw = Protection::READ_WRITE;
                // Where it is mapped already, that is told and all is as before.
                let _ = host.controller.dma_map(at, PAGE, fd, offset, rw);
            }
        }
        Act::FunctionReset => host.controller.function_reset(),
    }
}

proptest! {
    /// Whatever a guest does: no panic, every command that was fetched is
    /// reported exactly once, and memory that is not mapped is not touched.
    /// `PROPTEST_CASES=10000` tries harder.
    #[test]
    fn a_guest_can_do_anything(acts in prop::collection::vec(act(), 1..200)) {
        let mut host = Host::new(ControllerConfig::default(), Ram::new(MIB).unwrap());
        host.controller.dma_unmap(0, u64::MAX);
        host.map(BASE, MAPPED * PAGE, 0);
        let rest = usize::try_from((PAGES - MAPPED) * PAGE).unwrap();
        host.write(BASE + MAPPED * PAGE, &vec![0x5a; rest]);
        // Queue n has its commands at page n, and its completions at page 8 + n.
        host.admin.sq = BASE;
        host.admin.cq = BASE + 8 * PAGE;
        host.enable();
        for id in [1_u16, 2] {
            let (sq, cq) = (BASE + u64::from(id) * PAGE, BASE + u64::from(8 + id) * PAGE);
            prop_assert!(host.create_cq(id, 8, cq).is_success());
            prop_assert!(host.create_sq(id, id, 8, sq).is_success());
        }
        let mut tails = [4, 0, 0];
        for act in acts {
            perform(&mut host, act, &mut tails);
        }
        host.controller.poll(64);
        host.controller.disconnected();
        let untouched = host.read(BASE + MAPPED * PAGE, rest);
        prop_assert!(untouched.iter().all(|&byte| byte == 0x5a));
        let commands = &host.controller.tap().commands;
        let seen: HashSet<_> = commands.iter().map(|(record, _)| record.sequence).collect();
        prop_assert_eq!(seen.len(), commands.len());
        let fetched = seen.iter().max().map_or(0, |last| last + 1);
        prop_assert_eq!(fetched, commands.len() as u64);
    }
}
