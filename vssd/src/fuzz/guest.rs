//! What a guest can do, and what must hold whatever it did.

use std::collections::HashSet;
use std::os::fd::AsFd;

use arbitrary::Arbitrary;
use nvme::{
    AdminOpcode, DOORBELL_BASE, DoorbellKind, NamespaceId, NvmOpcode, QueueId, Registers,
    SQE_BYTES, Sqe, Status,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::Protection;
use crate::host::{BASE, Host, PAGE, PAGES};
use crate::media::Ram;

/// The first pages of the host's memory come and go, the others never come.
pub(crate) const MAPPED: u64 = 64;

/// What a guest can do.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Act {
    /// Put a command into a queue and ring.
    Put { queue: u8, words: [u32; 16] },
    /// The same with a command that is likely to mean something.
    PutTamed {
        queue: u8,
        words: [u32; 16],
        wild: u8,
    },
    /// Ring a doorbell by a write that is trapped.
    Ring { doorbell: u8, value: u32 },
    /// Ring a doorbell by a store into the page.
    Store { doorbell: u8, value: u32 },
    /// Write a property and read it.
    Register { offset: u32, value: u32 },
    /// The same with 64 bits.
    Register64 { offset: u16, value: u64 },
    /// Let the controller work.
    Poll,
    /// Take pages away.
    Unmap { page: u16, count: u8 },
    /// Give pages.
    Map { page: u16, count: u8 },
    /// Give pages, that may be read only, or written only, or neither, at a
    /// place that is another than theirs.
    Remap { page: u8, at: u8, rights: u8 },
    /// Write memory.
    Fill {
        page: u8,
        offset: u16,
        data: [u8; 32],
    },
    /// Let time pass, milliseconds.
    Wait { ms: u16 },
    /// Give or take the leave to access memory.
    BusMaster(bool),
    /// Reset the function.
    FunctionReset,
    /// Reset the subsystem.
    SubsystemReset,
    /// Go away, and come again.
    Reconnect,
    /// Set everything up anew.
    SetUp,
}

/// Makes a command likely to mean something, but for what `wild` says to leave
/// as it is.
pub(super) fn tame(sqe: &mut Sqe, admin: bool, wild: u8) {
    const ADMIN: [AdminOpcode; 8] = [
        AdminOpcode::IDENTIFY,
        AdminOpcode::GET_LOG_PAGE,
        AdminOpcode::SET_FEATURES,
        AdminOpcode::GET_FEATURES,
        AdminOpcode::NAMESPACE_MANAGEMENT,
        AdminOpcode::NAMESPACE_ATTACHMENT,
        AdminOpcode::FORMAT_NVM,
        AdminOpcode::SANITIZE,
    ];
    let pick = usize::from(sqe.opcode);
    if wild & 1 == 0 {
        sqe.opcode = match admin {
            true if pick & 0x80 != 0 => ADMIN[pick % ADMIN.len()].0,
            true => sqe.opcode & 0x1f,
            false if pick & 0x80 != 0 => 0x79 + (sqe.opcode & 7),
            false => sqe.opcode & 0x1f,
        };
    }
    if wild & 2 == 0 {
        sqe.namespace_id.set(sqe.namespace_id.get() & 1 | 1);
    }
    if wild & 4 == 0 {
        let at = |word: u64| BASE + word % (MAPPED * PAGE);
        sqe.prp1.set(at(sqe.prp1.get()));
        if sqe.flags >> 6 == 0 {
            sqe.prp2.set(at(sqe.prp2.get()));
        }
        sqe.mptr.set(at(sqe.mptr.get()) & !3);
    }
    if wild & 8 == 0 {
        // Data by PRPs; the halves of fused pairs stay.
        sqe.flags &= 0x3;
    }
    if wild & 16 == 0 {
        // Low numbers: few blocks, near the start, and small identifiers.
        sqe.cdw11.set(sqe.cdw11.get() & 0xffff);
        sqe.cdw12.set(sqe.cdw12.get() & 0xffff_003f);
        if !admin {
            sqe.cdw10.set(sqe.cdw10.get() & 0x3ff);
            sqe.cdw11.set(0);
        }
    }
}

/// Maps, enables and makes two pairs of queues. Returns where the tails are:
/// queue n has its commands at page n, and its completions at page 8 + n.
///
/// # Panics
///
/// Where the controller does not come up.
pub(crate) fn prepare(host: &mut Host<Ram>) -> [u16; 3] {
    host.controller.dma_unmap(0, u64::MAX);
    host.map(BASE, MAPPED * PAGE, 0);
    host.admin.sq = BASE;
    host.admin.cq = BASE + 8 * PAGE;
    host.enable();
    for id in [1_u16, 2] {
        let (sq, cq) = (BASE + u64::from(id) * PAGE, BASE + u64::from(8 + id) * PAGE);
        assert_eq!(host.create_cq(id, 8, cq), Status::SUCCESS);
        assert_eq!(host.create_sq(id, id, 8, sq), Status::SUCCESS);
    }
    [4, 0, 0]
}

/// Marks the memory that is never mapped; the check that it is as it was.
pub(crate) fn fill_unmapped(host: &mut Host<Ram>) -> impl Fn(&Host<Ram>) -> bool + use<> {
    // A page is enough to notice: it is where what runs over ends.
    let at = BASE + MAPPED * PAGE;
    host.write(at, &[0x5a; 4096]);
    move |host| {
        let bytes = usize::try_from(if cfg!(test) { PAGES - MAPPED } else { 1 } * PAGE).unwrap();
        let data = host.read(at, bytes);
        let (first, rest) = data.split_at(4096);
        first.iter().all(|&byte| byte == 0x5a) && rest.iter().all(|&byte| byte == 0)
    }
}

/// Every command that was fetched is told of exactly once.
///
/// # Panics
///
/// Where that is not so.
pub(crate) fn check_records(host: &Host<Ram>) {
    let commands = &host.controller.tap().commands;
    let seen: HashSet<_> = commands.iter().map(|(record, _)| record.sequence).collect();
    assert_eq!(seen.len(), commands.len(), "a command was told of twice");
    let fetched = seen.iter().max().map_or(0, |last| last + 1);
    assert_eq!(fetched, commands.len() as u64, "a command was lost");
}

/// Puts a command into queue 0, 1 or 2, rings, and consumes what was posted.
pub(super) fn put(host: &mut Host<Ram>, queue: usize, sqe: &Sqe, tails: &mut [u16; 3]) {
    let queue = queue % tails.len();
    let tail = &mut tails[queue];
    let at = BASE + queue as u64 * PAGE + u64::from(*tail) * SQE_BYTES as u64;
    host.write(at, sqe.as_bytes());
    *tail = (*tail + 1) % 8;
    let value = u32::from(*tail);
    let id = u16::try_from(queue).unwrap();
    let doorbell = DOORBELL_BASE + u32::from(id) * 8;
    host.controller.write32(doorbell, value);
    let head = host
        .controller
        .doorbells()
        .load(QueueId(id), DoorbellKind::CompletionHead);
    host.controller
        .write32(doorbell + 4, (head.wrapping_add(1)) % 8);
}

/// Has the guest do something.
pub(crate) fn perform(host: &mut Host<Ram>, act: Act, tails: &mut [u16; 3]) {
    match act {
        Act::Put { queue, words } => {
            let sqe = Sqe::read_from_bytes(words.as_bytes()).unwrap();
            put(host, queue.into(), &sqe, tails);
        }
        Act::PutTamed { queue, words, wild } => {
            let mut sqe = Sqe::read_from_bytes(words.as_bytes()).unwrap();
            tame(&mut sqe, usize::from(queue).is_multiple_of(3), wild);
            put(host, queue.into(), &sqe, tails);
        }
        Act::Ring { doorbell, value } => {
            let doorbell = DOORBELL_BASE + u32::from(doorbell) * 4;
            host.controller.write32(doorbell, value);
        }
        Act::Store { doorbell, value } => {
            let doorbells = host.controller.doorbells();
            let at = doorbells.file_offset() + u64::from(doorbell % 8) * 4;
            rustix::io::pwrite(doorbells.fd(), &value.to_le_bytes(), at).unwrap();
        }
        Act::Register { offset, value } => {
            host.controller.write32(offset, value);
            host.controller.read32(offset);
        }
        Act::Register64 { offset, value } => {
            host.controller.write64(offset.into(), value);
            host.controller.read64(offset.into());
        }
        Act::Poll => {
            host.controller.poll(16);
        }
        Act::Wait { ms } => {
            host.clock.advance(u64::from(ms) * 1_000_000);
            host.controller.poll(16);
        }
        Act::BusMaster(enabled) => host.controller.set_bus_master(enabled),
        Act::FunctionReset => host.controller.function_reset(),
        Act::SubsystemReset => host.controller.subsystem_reset(),
        Act::Reconnect => {
            host.controller.disconnected();
            host.controller.connected();
        }
        Act::SetUp => set_up(host, tails),
        memory => perform_on_memory(host, &memory),
    }
}

fn perform_on_memory(host: &mut Host<Ram>, act: &Act) {
    match *act {
        Act::Unmap { page, count } => {
            let (at, len) = (BASE + u64::from(page) * PAGE, u64::from(count) * PAGE);
            host.controller.dma_unmap(at, len);
        }
        Act::Map { page, count } => {
            let end = (u64::from(page) + u64::from(count)).min(MAPPED);
            for page in u64::from(page)..end {
                map_page(host, page, page, Protection::READ_WRITE);
            }
        }
        Act::Remap { page, at, rights } => {
            let (page, at) = (u64::from(page) % MAPPED, u64::from(at) % MAPPED);
            host.controller.dma_unmap(BASE + page * PAGE, PAGE);
            let rights = Protection {
                read: rights & 1 == 0,
                write: rights & 2 == 0,
            };
            map_page(host, page, at, rights);
        }
        Act::Fill { page, offset, data } => {
            let at = u64::from(page) % MAPPED * PAGE + u64::from(offset) % (PAGE - 32);
            host.write(BASE + at, &data);
        }
        _ => {}
    }
}

/// Maps a page. Where it is mapped already, that is told and all is as before.
fn map_page(host: &mut Host<Ram>, page: u64, file_page: u64, rights: Protection) {
    let fd = host.memory.as_fd();
    let (at, offset) = (BASE + page * PAGE, file_page * PAGE);
    let _ = host.controller.dma_map(at, PAGE, fd, offset, rights);
}

/// Sets everything up anew, as far as the controller lets us.
fn set_up(host: &mut Host<Ram>, tails: &mut [u16; 3]) {
    host.controller.function_reset();
    host.controller.set_bus_master(true);
    host.controller.dma_unmap(0, u64::MAX);
    host.map(BASE, MAPPED * PAGE, 0);
    host.tell_admin_queues();
    host.controller
        .write32(nvme::offset::CC, Host::<Ram>::cc().into_bits());
    *tails = [0; 3];
    for (id, opcode) in [
        (1, AdminOpcode::CREATE_CQ),
        (1, AdminOpcode::CREATE_SQ),
        (2, AdminOpcode::CREATE_CQ),
        (2, AdminOpcode::CREATE_SQ),
    ] {
        let (page, cdw11) = match opcode {
            AdminOpcode::CREATE_CQ => (8 + u64::from(id), u32::from(id) << 16 | 3),
            _ => (u64::from(id), u32::from(id) << 16 | 1),
        };
        let sqe = crate::host::create(opcode, id, 8, BASE + page * PAGE, cdw11);
        put(host, 0, &sqe, tails);
        host.controller.poll(16);
    }
}

/// A Flush, for who wants any command at all.
pub(super) fn flush() -> Sqe {
    Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1))
}
