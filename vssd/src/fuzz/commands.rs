//! Commands, one after the other, to a whole controller.

use nvme::{AdminOpcode, FormatCdw10, NSID_ALL, SQE_BYTES, Sqe};
use zerocopy::FromBytes;
use zerocopy::little_endian::U32;

use super::MEDIA_BYTES;
use super::guest::{self, MAPPED, check_records, fill_unmapped, prepare, put, tame};
use crate::host::{BASE, Host, PAGE};
use crate::media::Ram;
use crate::{ControllerConfig, ZonedConfig};

/// The most commands of one input.
const COMMANDS_MAX: usize = 12;
/// The first page of data: those before it are the queues.
const DATA_PAGE: u64 = 16;

/// Commands to namespaces that are plain, have zones, or have metadata, as the
/// first byte says. The second is how many commands there are; each is two
/// bytes of what to do with it, and its entry; what remains is put into the
/// guest's memory.
///
/// # Panics
///
/// Where a command does not complete exactly once, but for those that wait
/// for something by their nature.
pub fn sqe(data: &[u8]) {
    let [kind, count, rest @ ..] = data else {
        return;
    };
    let mut host = Host::new(config(*kind), Ram::new(MEDIA_BYTES).unwrap());
    let untouched = fill_unmapped(&mut host);
    let mut tails = prepare(&mut host);
    if kind & 3 == 2 {
        format(&mut host, u32::from(kind >> 2), &mut tails);
    }
    let events = host.controller.tap().events.len();
    let count = usize::from(*count) % COMMANDS_MAX + 1;
    let commands = rest.len().min(count * (SQE_BYTES + 2));
    let (commands, memory) = rest.split_at(commands);
    let room = usize::try_from((MAPPED - DATA_PAGE) * PAGE).unwrap();
    let memory = memory.get(..room).unwrap_or(memory);
    host.write(BASE + DATA_PAGE * PAGE, memory);
    let mut moved = false;
    for (number, command) in commands.chunks_exact(SQE_BYTES + 2).enumerate() {
        let (head, entry) = command.split_at(2);
        let queue = usize::from(head[0]) % 3;
        let mut sqe = Sqe::read_from_bytes(entry).unwrap();
        tame(&mut sqe, queue == 0, head[1]);
        sqe.command_id.set(0x100 + u16::try_from(number).unwrap());
        moved |= queue == 0
            && matches!(
                AdminOpcode(sqe.opcode),
                AdminOpcode::CREATE_CQ | AdminOpcode::DELETE_CQ | AdminOpcode::DELETE_SQ
            );
        put(&mut host, queue, &sqe, &mut tails);
        host.controller.poll(16);
        if head[0] & 0x80 != 0 {
            pass_time(&mut host);
        }
    }
    pass_time(&mut host);
    let reset = host.controller.tap().events.len() != events;
    host.controller.disconnected();
    assert!(untouched(&host), "memory that is not mapped was written");
    check_records(&host);
    if !moved && !reset {
        check_completed(&host);
    }
}

fn config(kind: u8) -> ControllerConfig {
    let zoned = ZonedConfig {
        zone_bytes: 64 << 10,
        capacity_bytes: 48 << 10,
        active_max: Some(6),
        open_max: Some(4),
        extension_bytes: 64,
        zrwa: None,
        read_across: kind & 4 != 0,
        first_namespace: true,
    };
    ControllerConfig {
        zoned: (kind & 3 == 1).then_some(zoned),
        block_bytes: if kind & 8 == 0 { 512 } else { 4096 },
        cmb_bytes: if kind & 16 == 0 { 0 } else { 16 << 10 },
        ..ControllerConfig::default()
    }
}

/// Gives the namespace one of the formats with metadata.
fn format(host: &mut Host<Ram>, kind: u32, tails: &mut [u16; 3]) {
    let cdw10 = FormatCdw10::from_bits((2 + kind % 5) | ((kind & 0x38) << 1));
    let mut sqe = guest::flush();
    sqe.opcode = AdminOpcode::FORMAT_NVM.0;
    sqe.namespace_id = U32::new(NSID_ALL.0);
    sqe.cdw10 = U32::new(cdw10.into_bits());
    put(host, 0, &sqe, tails);
    host.controller.poll(16);
    pass_time(host);
}

/// Lets pass what every command is done after: a format, a sanitize operation,
/// an activation.
fn pass_time(host: &mut Host<Ram>) {
    for _ in 0..8 {
        host.clock.advance(400_000_000);
        for _ in 0..64 {
            if host.controller.poll(64) == 0 {
                break;
            }
        }
    }
}

/// Every command has completed but Asynchronous Event Requests and the first
/// halves of fused pairs.
fn check_completed(host: &Host<Ram>) {
    for (record, _) in &host.controller.tap().commands {
        if record.completion.is_some() {
            continue;
        }
        let event = record.queue.is_admin() && record.opcode == AdminOpcode::ASYNC_EVENT_REQUEST.0;
        let half = !record.queue.is_admin() && record.opcode == nvme::NvmOpcode::COMPARE.0;
        assert!(event || half, "never completed: {record:?}");
    }
}
