//! `nvme_setup_cmd` and `nvme_complete_rq`.

use std::collections::HashMap;

use nvme::{CommandId, NamespaceId, NvmOpcode, QueueId, Status};
use traces::{CommandRecord, Completion};

use super::{dwords, names};
use crate::Item;
use crate::import::fields::{Fields, number};
use crate::import::lines::Out;
use crate::import::pending::Pending;

#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Setup,
    SetupAdmin,
    Complete,
}

/// The bits of a command identifier that are a tag. New kernels count
/// generations in those above, and some of those print completions without.
const TAG: u16 = 0x0fff;

/// Controller, queue and tag.
type Key = (u32, u16, u16);

/// NVMe commands under way.
#[derive(Debug, Default)]
pub(super) struct Commands {
    controllers: HashMap<String, u32>,
    /// Where the name of one is put together.
    name: String,
    /// The namespace of the trace for each controller's.
    namespaces: HashMap<(u32, u32), u32>,
    pending: Pending<Key, CommandRecord>,
}

/// Controllers that are told apart at most.
const CONTROLLERS_MAX: usize = 1 << 12;
/// Namespaces that are told apart at most.
const NAMESPACES_MAX: usize = 1 << 16;

impl Commands {
    /// Takes in an event, of which the kernel prints `body`.
    pub(super) fn event(
        &mut self,
        event: Event,
        time_ns: u64,
        body: &str,
        out: &mut Out,
    ) -> Result<(), String> {
        let fields = Fields {
            text: body,
            equals: '=',
        };
        let queue: u16 = match event {
            // It names no queue.
            Event::SetupAdmin => 0,
            Event::Setup | Event::Complete => fields.get("qid")?,
        };
        let cid: u16 = fields.any(&["cmdid", "cid"])?;
        let controller = self.controller(body, fields)?;
        let key = (controller, queue, cid & TAG);
        match event {
            Event::Setup | Event::SetupAdmin => {
                let mut command = setup(queue, cid, time_ns, body, out)?;
                self.place(&mut command, controller, fields, out)?;
                self.submit(key, command, out);
                Ok(())
            }
            Event::Complete => self.complete(key, cid, completion(time_ns, fields, out)?, out),
        }
    }

    /// All that never completed.
    pub(super) fn finish(&mut self, out: &mut Out) {
        while let Some((_, command)) = self.pending.oldest() {
            never_completed(command, out);
        }
    }

    fn controller(&mut self, body: &str, fields: Fields<'_>) -> Result<u32, String> {
        let named = body.split_once(": ").map(|(name, _)| name);
        let name = &mut self.name;
        name.clear();
        match named.filter(|it| it.starts_with("nvme") && !it.contains(' ')) {
            Some(named) => name.push_str(named),
            None => {
                if let Some(id) = fields.text("ctrl_id") {
                    name.push_str("nvme");
                    name.push_str(id);
                }
            }
        }
        if let Some(index) = self.controllers.get(name) {
            return Ok(*index);
        }
        let next = self.controllers.len();
        if next >= CONTROLLERS_MAX {
            return Err(format!("there are more than {CONTROLLERS_MAX} controllers"));
        }
        let next = u32::try_from(next).unwrap_or(u32::MAX);
        self.controllers.insert(name.clone(), next);
        Ok(next)
    }

    /// Gives `command` a namespace that no other controller's commands have.
    fn place(
        &mut self,
        command: &mut CommandRecord,
        controller: u32,
        fields: Fields<'_>,
        out: &mut Out,
    ) -> Result<(), String> {
        if controller > 0 {
            out.notes.count(
                "commands of a second controller, or one after it, keep their queue's number",
            );
        }
        let nsid = command.nsid.0;
        let fabrics = command.opcode == nvme::AdminOpcode::FABRICS.0;
        if nsid == 0 || nsid > u32::MAX - 2 || fabrics {
            return Ok(());
        }
        let key = (controller, nsid);
        if let Some(nsid) = self.namespaces.get(&key) {
            command.nsid = NamespaceId(*nsid);
            return Ok(());
        }
        if self.namespaces.len() >= NAMESPACES_MAX {
            return Err(format!("there are more than {NAMESPACES_MAX} namespaces"));
        }
        let name = match fields.text("disk").filter(|it| !it.is_empty()) {
            Some(disk) => disk.to_owned(),
            None => format!("controller {controller}, namespace {nsid}"),
        };
        let mapped = out.devices.place(nsid, name);
        self.namespaces.insert(key, mapped);
        command.nsid = NamespaceId(mapped);
        Ok(())
    }

    fn submit(&mut self, key: Key, command: CommandRecord, out: &mut Out) {
        // Its identifier is in use again: its completion was lost.
        if let Some((_, stale)) = self.pending.take(&key) {
            never_completed(stale, out);
        }
        if let Some((_, stale)) = self.pending.add(key, command) {
            never_completed(stale, out);
        }
    }

    fn complete(
        &mut self,
        key: Key,
        cid: u16,
        completion: Completion,
        out: &mut Out,
    ) -> Result<(), String> {
        let fits = self
            .pending
            .get_mut(&key)
            .is_some_and(|command| command.cid.0 == cid || cid <= TAG);
        let taken = if fits { self.pending.take(&key) } else { None };
        match taken {
            Some((_, mut command)) => {
                command.completion = Some(completion);
                let ranges = Vec::new();
                out.items.push_back(Item::Command { command, ranges });
            }
            None => out.notes.count(
                "completions of commands that were submitted before the trace were left out",
            ),
        }
        Ok(())
    }
}

fn never_completed(command: CommandRecord, out: &mut Out) {
    out.notes.count("commands have no completion in the trace");
    let ranges = Vec::new();
    out.items.push_back(Item::Command { command, ranges });
}

/// The command that `body` says was set up.
fn setup(
    queue: u16,
    cid: u16,
    submit_ns: u64,
    body: &str,
    out: &mut Out,
) -> Result<CommandRecord, String> {
    let fields = Fields {
        text: body,
        equals: '=',
    };
    let admin = queue == 0;
    // libtraceevent prints the fields alone.
    let (opcode, operands) = match body.split_once("cmd=(") {
        Some((_, inside)) => {
            let inside = inside.strip_suffix(')').ok_or("cmd=( has no end")?;
            let (name, operands) = inside.split_once(' ').unwrap_or((inside, ""));
            (names::opcode(admin, name)?, operands)
        }
        None => (fields.get("opcode")?, body),
    };
    let nsid = fields.text("nsid").map_or(Ok(0), |it| number(it, "nsid"))?;
    let flags = fields
        .text("flags")
        .map_or(Ok(0), |it| number(it, "flags"))?;
    let cdw10_15 = dwords::dwords(admin, opcode, operands);
    if cdw10_15.is_none() {
        out.notes
            .count("commands have no operands, for the kernel prints none that are known here");
    }
    if !admin && opcode == NvmOpcode::DATASET_MANAGEMENT.0 {
        out.notes
            .count("discards have no ranges, for the kernel does not print them");
    }
    Ok(CommandRecord {
        sequence: 0,
        submit_ns,
        completion: None,
        queue: QueueId(queue),
        cid: CommandId(cid),
        opcode,
        flags,
        nsid: NamespaceId(nsid),
        cdw2_3: [0; 2],
        cdw10_15: cdw10_15.unwrap_or_default(),
    })
}

fn completion(complete_ns: u64, fields: Fields<'_>, out: &mut Out) -> Result<Completion, String> {
    let result: u64 = fields.any(&["res", "result"])?;
    let status = fields.get("status")?;
    // Zone Append returns 64 bits.
    let low = u32::try_from(result & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    if u64::from(low) != result {
        out.notes.count("results lost all but their low 32 bits");
    }
    Ok(Completion {
        complete_ns,
        status: Status::from_field(status),
        result: low,
    })
}
