//! What a replay will do, before it does it.

use std::fmt;

use driver::ControllerInfo;
use nvme::NamespaceId;
use serde::Serialize;

use crate::facts::NamespaceFacts;
use crate::lanes::Layout;
use crate::mapping::AddressMap;
use crate::pace::divide;
use crate::report::text::{count, size, time};
use crate::target::address_maps;
use crate::{Pace, ReplayError, ReplayOptions, TraceFacts};

/// What a replay will do to a device, as far as that is known before: what it
/// writes where, on which queues, for how long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Outlook {
    /// The model of the device.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Its firmware revision.
    pub firmware: String,
    /// What is written, by recorded namespace.
    pub writes: Vec<WriteOutlook>,
    /// I/O commands in the trace.
    pub commands: u64,
    /// Commands that change data.
    pub changes: u64,
    /// The depths of the queues that are used.
    pub depths: Vec<u16>,
    /// How many queues were recorded.
    pub recorded_queues: usize,
    /// The pace, as [`crate::Pace`] displays it.
    pub pace: String,
    /// The most commands a second.
    pub iops_max: Option<u32>,
    /// How long it takes, nanoseconds, where that follows from the trace.
    pub length_ns: Option<u64>,
}

/// What is written to a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WriteOutlook {
    /// The recorded namespace.
    pub recorded: u32,
    /// The device's.
    pub nsid: u32,
    /// How many commands write, zero or deallocate.
    pub commands: u64,
    /// Bytes that they write, zero or deallocate; each as often as it is.
    pub bytes: u64,
    /// The first block of the device that may change; none where none does.
    pub first: Option<u64>,
    /// The last one.
    pub last: Option<u64>,
    /// Blocks that the namespace has.
    pub blocks: u64,
    /// Bytes of each.
    pub block_bytes: u64,
}

impl Outlook {
    /// What a replay with `options` of the trace with these facts will do to
    /// the device, of which it needs no more than what the driver knows.
    ///
    /// # Errors
    ///
    /// Those of [`crate::Replay::run`] before any command is sent, but for the
    /// permission to write.
    pub fn new(
        facts: &TraceFacts,
        options: &ReplayOptions,
        info: &ControllerInfo,
    ) -> Result<Self, ReplayError> {
        crate::replay::check(facts, options)?;
        let maps = address_maps(facts, info, options)?;
        let layout = Layout::new(facts, options, info.queue_pairs_max, info.depth_max);
        let writes = maps.iter().filter_map(|(&recorded, map)| {
            let facts = facts.namespaces.get(&recorded)?;
            (facts.writes.commands > 0).then(|| write_outlook(recorded, facts, map))
        });
        Ok(Self {
            model: info.model.clone(),
            serial: info.serial.clone(),
            firmware: info.firmware.clone(),
            writes: writes.collect(),
            commands: facts.io_commands(),
            changes: facts.writes(),
            depths: layout.depths().collect(),
            recorded_queues: facts.queues.len(),
            pace: options.pace.to_string(),
            iops_max: options.iops_max.map(std::num::NonZeroU32::get),
            length_ns: length_ns(facts, options),
        })
    }
}

fn write_outlook(recorded: NamespaceId, facts: &NamespaceFacts, map: &AddressMap) -> WriteOutlook {
    let writes = &facts.writes;
    let target = map.target();
    let range = writes.start.zip(writes.end);
    let range = range.map(|(start, end)| map.reach(start, end));
    WriteOutlook {
        recorded: recorded.0,
        nsid: target.nsid.0,
        commands: writes.commands,
        bytes: writes.blocks.saturating_mul(u64::from(facts.block_bytes)),
        first: range.map(|(first, _)| first),
        last: range.map(|(_, end)| end.saturating_sub(1)),
        blocks: target.blocks,
        block_bytes: u64::from(target.block_bytes),
    }
}

/// How long a replay takes on a device that is fast enough.
fn length_ns(facts: &TraceFacts, options: &ReplayOptions) -> Option<u64> {
    let paced_ns = match options.pace {
        Pace::Recorded | Pace::Think => facts.span_ns(),
        Pace::Scaled(factor) => divide(facts.span_ns(), factor),
        Pace::Max | Pace::Closed => 0,
    };
    let capped_ns = options.iops_max.map_or(0, |iops| {
        let ns = u128::from(facts.io_commands()) * 1_000_000_000 / u128::from(iops.get());
        u64::try_from(ns).unwrap_or(u64::MAX)
    });
    let length_ns = paced_ns.max(capped_ns);
    let length_ns = options.duration.map_or(length_ns, |duration| {
        u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
    });
    (length_ns > 0).then_some(length_ns)
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, serial, .. } = self;
        writeln!(
            f,
            "To {model}, serial {serial}, firmware {}:",
            self.firmware
        )?;
        if self.writes.is_empty() {
            writeln!(f, "  nothing is written")?;
        }
        for write in &self.writes {
            writeln!(f, "  {write}")?;
        }
        let depths: Vec<String> = self.depths.iter().map(u16::to_string).collect();
        write!(
            f,
            "  {} commands of {} recorded queue{} on {}, of depth {}; pace {}",
            count(self.commands),
            self.recorded_queues,
            if self.recorded_queues == 1 { "" } else { "s" },
            self.depths.len(),
            depths.join(", "),
            self.pace
        )?;
        if let Some(iops) = self.iops_max {
            write!(f, ", at most {} a second", count(iops.into()))?;
        }
        if let Some(ns) = self.length_ns {
            write!(f, "; {}", time(ns))?;
        }
        Ok(())
    }
}

impl fmt::Display for WriteOutlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recorded, nsid, .. } = self;
        write!(
            f,
            "{} commands change {}",
            count(self.commands),
            size(self.bytes)
        )?;
        if let (Some(first), Some(last)) = (self.first, self.last) {
            let bytes = (last - first + 1).saturating_mul(self.block_bytes);
            write!(
                f,
                " in LBA {first}..{last} ({} of {})",
                size(bytes),
                size(self.blocks.saturating_mul(self.block_bytes))
            )?;
        }
        write!(f, " of namespace {nsid}")?;
        if recorded != nsid {
            write!(f, ", recorded as namespace {recorded}")?;
        }
        Ok(())
    }
}
