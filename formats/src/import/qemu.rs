//! QEMU's log of its own NVMe device: `-trace 'pci_nvme_*'` with the log
//! backend, on standard error or in the file of `-D`.
//!
//! ```text
//!   [time]pci_nvme_io_cmd cid 4 nsid 0x1 sqid 1 opc 0x2 opname 'NVME_NVM_CMD_READ'
//!   pci_nvme_read cid 4 nsid 1 nlb 32 count 16384 lba 0x1324
//!   pci_nvme_enqueue_req_completion cid 4 cqid 1 dw0 0x0 dw1 0x0 status 0x0
//! ```
//!
//! Times stand there with `-msg timestamp=on` only: `tid@sec.usec:`, or as new
//! versions have it, `2026-01-01T00:00:00.000000Z `. Without them, all times are
//! 0, and commands keep their order. Blocks are of the size that the
//! drive had, which the log does not say; flags such as force unit access are
//! not in it. It does not say which of several drives a line is of: the log of
//! one is read.

use std::collections::{BTreeMap, HashMap, VecDeque};

use nvme::{
    AdminOpcode, CommandId, DSM_RANGES_MAX, DsmRange, Lba, NamespaceId, NvmOpcode, QueueId, Status,
};
use traces::{CommandRecord, Completion};

use super::fields::Fields;
use super::lines::{Line, Lines, Out};
use super::number::billionths;
use super::pending::Pending;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Item};

/// What all its events start with.
const PREFIX: &str = "pci_nvme_";
/// Commands that wait for one before them to complete, at most; only where
/// there are no times.
const WAITING_MAX: usize = 1 << 16;

/// Whether there is such a line among the first.
pub(crate) fn recognize(head: &str) -> bool {
    head.lines().any(|line| {
        Event::of(line).is_some_and(|event| {
            event.is_ok_and(|event| matches!(event.name, "io_cmd" | "admin_cmd"))
        })
    })
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let parser = Qemu::default();
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

/// A line of the device.
#[derive(Clone, Copy, Debug)]
struct Event<'a> {
    /// None where the line has no time stamp.
    time_ns: Option<u64>,
    /// After `pci_nvme_`.
    name: &'a str,
    fields: Fields<'a>,
}

impl<'a> Event<'a> {
    /// The event that `line` is; none where it is no line of the device.
    fn of(line: &'a str) -> Option<Result<Self, String>> {
        let (before, rest) = line.split_once(PREFIX)?;
        let before = before.trim();
        let (name, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let fields = Fields { text, equals: ' ' };
        let time_ns = if before.is_empty() {
            None
        } else {
            match time(before)? {
                Ok(time_ns) => Some(time_ns),
                Err(problem) => return Some(Err(problem)),
            }
        };
        Some(Ok(Self {
            time_ns,
            name,
            fields,
        }))
    }
}

/// The time that stands before an event, since 1970; none where it is no time.
fn time(before: &str) -> Option<Result<u64, String>> {
    if let Some((_, time)) = before.strip_suffix(':').and_then(|it| it.split_once('@')) {
        return Some(billionths(time, "time"));
    }
    let time: jiff::Timestamp = before.parse().ok()?;
    let ns = u64::try_from(time.as_nanosecond());
    Some(ns.map_err(|_| format!("the time {before} is out of range")))
}

/// A command under way.
#[derive(Debug)]
struct Waiting {
    command: CommandRecord,
    ranges: Vec<DsmRange>,
    /// How many ranges are still to come.
    ranges_left: usize,
}

/// Completion queue and command identifier: completions name no other queue.
type Key = (u16, u16);

#[derive(Debug, Default)]
struct Qemu {
    pending: Pending<Key, Waiting>,
    /// The command whose operands come next.
    latest: Option<Key>,
    /// Dataset Management commands that may lack ranges, by place.
    discards: VecDeque<u64>,
    /// The completion queue of submission queues that have another number.
    completion_queues: HashMap<u16, u16>,
    /// Where there are no times: what completed before one that was submitted
    /// earlier, by place.
    done: BTreeMap<u64, Waiting>,
    stamped: bool,
}

impl Line for Qemu {
    type File = ();

    fn line(&mut self, (): &mut (), line: &str, out: &mut Out) -> Result<(), String> {
        let Some(event) = Event::of(line) else {
            out.notes.count("lines of other events were left out");
            return Ok(());
        };
        let event = event?;
        self.stamped |= event.time_ns.is_some();
        match event.name {
            "io_cmd" => self.submit(event, false, out),
            "admin_cmd" => self.submit(event, true, out),
            "enqueue_req_completion" => self.complete(event, out),
            "create_sq" => self.create_sq(event),
            "dsm_deallocate" => self.range(event),
            _ => self.operands(event),
        }
    }

    fn time(&self, (): &mut (), line: &str) -> Option<u64> {
        Event::of(line)?.ok()?.time_ns
    }

    fn finish(&mut self, out: &mut Out) {
        while let Some((place, waiting)) = self.pending.oldest() {
            self.never_completed(place, waiting, out);
        }
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1_000,
            unix: self.stamped,
        }
    }
}

impl Qemu {
    fn submit(&mut self, event: Event<'_>, admin: bool, out: &mut Out) -> Result<(), String> {
        let fields = event.fields;
        let queue: u16 = fields.get("sqid")?;
        let cid: u16 = fields.get("cid")?;
        let nsid = if admin { 0 } else { fields.get("nsid")? };
        let command = CommandRecord {
            sequence: 0,
            submit_ns: event.time_ns.unwrap_or(0),
            completion: None,
            queue: QueueId(if admin { 0 } else { queue }),
            cid: CommandId(cid),
            opcode: fields.get("opc")?,
            flags: 0,
            nsid: NamespaceId(nsid),
            cdw2_3: [0; 2],
            cdw10_15: [0; 6],
        };
        if event.time_ns.is_none() {
            out.notes
                .count("commands have no time, for the log has none: all are at 0, in their order");
        }
        if command.nvm_opcode() == Some(NvmOpcode::WRITE) {
            out.notes
                .count("writes may have lost force unit access, which the log does not have");
        }
        let key = (self.completion_queue(command.queue.0), cid);
        // Its identifier is in use again: its completion was lost.
        let mut same = 0..self.pending.count(&key);
        let again = same.find(|at| {
            let waiting = self.pending.named_mut(&key, *at);
            waiting.is_some_and(|it| it.command.queue == command.queue)
        });
        if let Some((place, stale)) = again.and_then(|at| self.pending.take_at(&key, at)) {
            self.never_completed(place, stale, out);
        }
        let waiting = Waiting {
            command,
            ranges: Vec::new(),
            ranges_left: 0,
        };
        if let Some((place, stale)) = self.pending.add(key, waiting) {
            self.never_completed(place, stale, out);
        }
        self.latest = Some(key);
        Ok(())
    }

    fn completion_queue(&self, queue: u16) -> u16 {
        let found = self.completion_queues.get(&queue);
        found.copied().unwrap_or(queue)
    }

    /// The operands of a command come on a line after it.
    fn operands(&mut self, event: Event<'_>) -> Result<(), String> {
        let Some((place, waiting)) = self.latest.and_then(|key| self.pending.last_mut(&key)) else {
            return Ok(());
        };
        let cid = event.fields.text("cid");
        if cid.is_some() && event.fields.get::<u16>("cid")? != waiting.command.cid.0 {
            return Ok(());
        }
        let admin = waiting.command.is_admin();
        let opcode = waiting.command.opcode;
        let is = |it: NvmOpcode| !admin && opcode == it.0;
        let dwords = match event.name {
            "read" | "write" | "compare" | "verify" if !admin => transfer(event.fields)?,
            "dsm" if is(NvmOpcode::DATASET_MANAGEMENT) => {
                let ranges: u32 = event.fields.get("nr")?;
                waiting.ranges_left = usize::try_from(ranges)
                    .unwrap_or(usize::MAX)
                    .min(DSM_RANGES_MAX);
                self.discards.push_back(place);
                let attributes = event.fields.get("attr")?;
                [ranges.saturating_sub(1), attributes, 0, 0, 0, 0]
            }
            _ if admin => match admin_operands(event, waiting)? {
                Some(dwords) => dwords,
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        waiting.command.cdw10_15 = dwords;
        Ok(())
    }

    /// A range of a Dataset Management command, which the line does not name:
    /// they are carried out one after the other.
    fn range(&mut self, event: Event<'_>) -> Result<(), String> {
        let slba = event.fields.get("slba")?;
        let blocks = event.fields.get("nlb")?;
        while let Some(place) = self.discards.front() {
            let waiting = self.pending.at_mut(*place);
            if let Some(waiting) = waiting.filter(|it| it.ranges_left > 0) {
                waiting.ranges_left -= 1;
                waiting.ranges.push(DsmRange::new(Lba(slba), blocks));
                break;
            }
            self.discards.pop_front();
        }
        Ok(())
    }

    /// "create submission queue, addr=0x1000, sqid=1, cqid=1, qsize=..."
    fn create_sq(&mut self, event: Event<'_>) -> Result<(), String> {
        let fields = Fields {
            equals: '=',
            ..event.fields
        };
        let (sqid, cqid): (u16, u16) = (fields.get("sqid")?, fields.get("cqid")?);
        self.completion_queues.insert(sqid, cqid);
        let latest = self.latest.and_then(|key| self.pending.last_mut(&key));
        if let Some((_, waiting)) = latest
            && waiting.command.is_admin()
            && waiting.command.opcode == AdminOpcode::CREATE_SQ.0
        {
            let word = |name| fields.get::<u16>(name).map(u32::from);
            let cdw10 = u32::from(sqid) | word("qsize")? << 16;
            let cdw11 = word("qflags")? | u32::from(cqid) << 16;
            waiting.command.cdw10_15 = [cdw10, cdw11, 0, 0, 0, 0];
        }
        Ok(())
    }

    fn complete(&mut self, event: Event<'_>, out: &mut Out) -> Result<(), String> {
        let fields = event.fields;
        let key = (fields.get("cqid")?, fields.get("cid")?);
        let completion = Completion {
            complete_ns: event.time_ns.unwrap_or(0),
            status: Status::from_field(fields.get("status")?),
            result: fields.get("dw0")?,
        };
        let Some((place, mut waiting)) = self.pending.take(&key) else {
            out.notes.count(
                "completions of commands that were submitted before the trace were left out",
            );
            return Ok(());
        };
        if waiting.ranges_left > 0 {
            out.notes
                .count("discards lack ranges that the log does not have");
        }
        waiting.command.completion = Some(completion);
        self.emit(place, waiting, out);
        Ok(())
    }

    fn never_completed(&mut self, place: u64, waiting: Waiting, out: &mut Out) {
        out.notes.count("commands have no completion in the trace");
        self.emit(place, waiting, out);
    }

    fn emit(&mut self, place: u64, waiting: Waiting, out: &mut Out) {
        if self.stamped {
            put(waiting, out);
            return;
        }
        // Nothing but the order in which they come tells them apart.
        self.done.insert(place, waiting);
        while let Some(entry) = self.done.first_entry() {
            let first = self.pending.first_place();
            if first.is_none_or(|first| *entry.key() < first) {
                put(entry.remove(), out);
            } else if self.done.len() > WAITING_MAX {
                let Some((place, stale)) = self.pending.oldest() else {
                    break;
                };
                out.notes.count("commands have no completion in the trace");
                self.done.insert(place, stale);
            } else {
                break;
            }
        }
    }
}

fn put(waiting: Waiting, out: &mut Out) {
    out.items.push_back(Item::Command {
        command: waiting.command,
        ranges: waiting.ranges,
    });
}

/// Dwords of a command with a range of blocks; `nlb` is the number of them.
fn transfer(fields: Fields<'_>) -> Result<[u32; 6], String> {
    let lba: u64 = fields.any(&["lba", "slba"])?;
    let blocks: u32 = fields.get("nlb")?;
    let nlb = blocks.checked_sub(1).and_then(|it| u16::try_from(it).ok());
    let nlb = nlb.ok_or_else(|| format!("{blocks} blocks are no length of a command"))?;
    let [low, high] =
        [lba & u64::from(u32::MAX), lba >> 32].map(|half| u32::try_from(half).unwrap_or(u32::MAX));
    Ok([low, high, nlb.into(), 0, 0, 0])
}

/// Dwords of an admin command, whose namespace some lines have; none where
/// the line is of something else.
fn admin_operands(event: Event<'_>, waiting: &mut Waiting) -> Result<Option<[u32; 6]>, String> {
    let fields = event.fields;
    let byte = |name: &str| fields.get::<u8>(name).map(u32::from);
    let is = |it: AdminOpcode| waiting.command.opcode == it.0;
    let dwords = match event.name {
        "identify" if is(AdminOpcode::IDENTIFY) => {
            let controller: u16 = fields.get("ctrlid")?;
            let cdw10 = byte("cns")? | u32::from(controller) << 16;
            [cdw10, byte("csi")? << 24, 0, 0, 0, 0]
        }
        "get_log" if is(AdminOpcode::GET_LOG_PAGE) => {
            let bytes: u32 = fields.get("len")?;
            let dwords = (bytes / 4).saturating_sub(1);
            let low = byte("lid")? | (byte("lsp")? & 0x7f) << 8 | (byte("rae")? & 1) << 15;
            let offset: u64 = fields.get("off")?;
            let [lower, upper] = [offset & u64::from(u32::MAX), offset >> 32]
                .map(|half| u32::try_from(half).unwrap_or(u32::MAX));
            [
                low | (dwords & 0xffff) << 16,
                dwords >> 16,
                lower,
                upper,
                0,
                0,
            ]
        }
        "getfeat" if is(AdminOpcode::GET_FEATURES) => {
            waiting.command.nsid = NamespaceId(fields.get("nsid")?);
            let cdw10 = byte("fid")? | (byte("sel")? & 7) << 8;
            [cdw10, fields.get("cdw11")?, 0, 0, 0, 0]
        }
        "setfeat" if is(AdminOpcode::SET_FEATURES) => {
            waiting.command.nsid = NamespaceId(fields.get("nsid")?);
            let cdw10 = byte("fid")? | (byte("save")? & 1) << 31;
            [cdw10, fields.get("cdw11")?, 0, 0, 0, 0]
        }
        "identify_ns" | "identify_ns_descr_list" if is(AdminOpcode::IDENTIFY) => {
            waiting.command.nsid = NamespaceId(fields.get("nsid")?);
            waiting.command.cdw10_15
        }
        "create_cq" if is(AdminOpcode::CREATE_CQ) => {
            let fields = Fields {
                equals: '=',
                ..fields
            };
            let word = |name| fields.get::<u16>(name).map(u32::from);
            // Some versions name it after the other queue's.
            let size = fields.any::<u16>(&["qsize", "size"]).map(u32::from);
            let cdw10 = word("cqid")? | size? << 16;
            let cdw11 = word("qflags")? | word("vector")? << 16;
            [cdw10, cdw11, 0, 0, 0, 0]
        }
        _ => return Ok(None),
    };
    Ok(Some(dwords))
}
