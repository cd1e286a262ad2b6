//! SPDK's trace points of its NVMe driver, as `spdk_trace` prints them.
//!
//! ```text
//!   TSC Rate: 2400000000
//!   0:     12.500 (    30000) q01 NVME_PCIE_SUBMIT   id: p7  cid: 12 opc: 2 dw10: 0x1000 dw11: 0x0 dw12: 0x7
//!   0:     92.500 (   222000) q01 NVME_PCIE_COMPLETE id: p7  time: 80.000 cid: 12 cpl: 0x1
//! ```
//!
//! Processor, microseconds, ticks where `-t` asks for them, queue pair, name,
//! and arguments, of which versions print more or fewer, in one order or
//! another. The microseconds are of 24 bits, which is coarse in long traces:
//! ticks are taken where they are printed. Namespaces are not printed; all is
//! taken for the first. Nor are ranges of Dataset Management.

use nvme::{CommandId, NamespaceId, NvmOpcode, QueueId, Status};
use traces::{CommandRecord, Completion};

use super::lines::{Line, Lines, Out};
use super::number::{integer, integer_or_hex, time};
use super::pending::Pending;
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Item};

/// Whether there is such an event among the first lines.
pub(crate) fn recognize(head: &str) -> bool {
    head.lines().any(|line| Event::of(line).is_some())
}

/// Opens `input`.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let parser = Spdk::default();
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Submit,
    Complete,
}

/// A line of the driver's.
#[derive(Clone, Copy, Debug)]
struct Event<'a> {
    kind: Kind,
    /// Microseconds.
    time: &'a str,
    /// None where they are not printed.
    ticks: Option<&'a str>,
    queue: Option<&'a str>,
    /// What stands after the name.
    arguments: &'a str,
}

impl<'a> Event<'a> {
    /// The event that `line` is; none where it is another.
    fn of(line: &'a str) -> Option<Self> {
        let (processor, rest) = line.split_once(':')?;
        integer(processor, "").ok()?;
        let at = rest.find("NVME_")?;
        let (before, rest) = (rest.get(..at)?, rest.get(at..)?);
        let (name, arguments) = rest.split_once(' ').unwrap_or((rest, ""));
        let kind = if name.ends_with("_SUBMIT") {
            Kind::Submit
        } else if name.ends_with("_COMPLETE") {
            Kind::Complete
        } else {
            return None;
        };
        let (before, ticks) = match before.split_once('(') {
            Some((time, rest)) => {
                let (ticks, queue) = rest.split_once(')')?;
                ((time, queue), Some(ticks.trim()))
            }
            None => (before.trim().split_once(' ').unwrap_or((before, "")), None),
        };
        Some(Self {
            kind,
            time: before.0.trim(),
            ticks,
            queue: Some(before.1.trim()).filter(|it| !it.is_empty()),
            arguments,
        })
    }

    /// The number that the argument `name` has; none where there is none.
    fn argument<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, String> {
        let mut words = self.arguments.split_ascii_whitespace();
        let of_name = |word: &str| word.strip_suffix(':').map(|it| it == name);
        let Some(_) = words.find(|word| of_name(word) == Some(true)) else {
            return Ok(None);
        };
        let text = words.next().unwrap_or_default();
        let value = T::try_from(integer_or_hex(text, name)?);
        let value = value.map_err(|_| format!("the {name} is {text}, which is too large"))?;
        Ok(Some(value))
    }

    /// As [`Event::argument`], by the first of `names` that is there.
    fn wanted<T: TryFrom<u64>>(&self, names: [&str; 2]) -> Result<T, String> {
        for name in names {
            if let Some(value) = self.argument(name)? {
                return Ok(value);
            }
        }
        Err(format!("there is no {}", names[0]))
    }

    /// Queue 1 where it is not printed.
    fn queue(&self) -> Result<u16, String> {
        let Some(text) = self.queue else {
            return Ok(1);
        };
        let digits = text.trim_start_matches(|it: char| it.is_ascii_alphabetic());
        u16::try_from(integer(digits, "queue")?)
            .map_err(|_| format!("the queue {text} is above 65535"))
    }
}

/// What is known of one file.
#[derive(Debug, Default)]
struct File {
    /// Ticks a second; 0 before the line that says so.
    rate: u64,
}

impl File {
    /// When `event` was, nanoseconds.
    fn ns(&self, event: &Event<'_>) -> Result<u64, String> {
        let Some(ticks) = event.ticks.filter(|_| self.rate > 0) else {
            return time(event.time, 1_000, "time");
        };
        let ns =
            u128::from(integer(ticks, "number of ticks")?) * 1_000_000_000 / u128::from(self.rate);
        u64::try_from(ns).map_err(|_| format!("the number of ticks is {ticks}, which is too large"))
    }
}

/// Queue and command identifier.
type Key = (u16, u16);

#[derive(Debug, Default)]
struct Spdk {
    pending: Pending<Key, CommandRecord>,
}

impl Spdk {
    fn submit(
        &mut self,
        key: Key,
        at_ns: u64,
        event: &Event<'_>,
        out: &mut Out,
    ) -> Result<(), String> {
        let mut command = CommandRecord {
            sequence: 0,
            submit_ns: at_ns,
            completion: None,
            queue: QueueId(key.0),
            cid: CommandId(key.1),
            opcode: event.wanted(["opc", "opcode"])?,
            flags: 0,
            nsid: NamespaceId(event.argument("nsid")?.unwrap_or(u32::from(key.0 > 0))),
            cdw2_3: [0; 2],
            cdw10_15: [0; 6],
        };
        let names = [
            ["dw10", "cdw10"],
            ["dw11", "cdw11"],
            ["dw12", "cdw12"],
            ["dw13", "cdw13"],
        ];
        for (number, (dword, names)) in command.cdw10_15.iter_mut().zip(names).enumerate() {
            // Some versions print no fourth.
            if number < 3
                || event
                    .argument::<u32>(names[0])?
                    .or(event.argument(names[1])?)
                    .is_some()
            {
                *dword = event.wanted(names)?;
            }
        }
        if command.nvm_opcode() == Some(NvmOpcode::DATASET_MANAGEMENT) {
            out.notes
                .count("discards have no ranges, for SPDK does not print them");
        }
        // Its identifier is in use again: its completion was lost.
        if let Some((_, stale)) = self.pending.take(&key) {
            never_completed(stale, out);
        }
        if let Some((_, stale)) = self.pending.add(key, command) {
            never_completed(stale, out);
        }
        Ok(())
    }

    fn complete(
        &mut self,
        key: Key,
        at_ns: u64,
        event: &Event<'_>,
        out: &mut Out,
    ) -> Result<(), String> {
        // With the phase below it, as it stands in the queue.
        let status: u16 = event.argument("cpl")?.unwrap_or(0);
        let Some((_, mut command)) = self.pending.take(&key) else {
            out.notes.count(
                "completions of commands that were submitted before the trace were left out",
            );
            return Ok(());
        };
        command.completion = Some(Completion {
            complete_ns: at_ns,
            status: Status::from_field(status >> 1),
            result: 0,
        });
        put(command, out);
        Ok(())
    }
}

fn put(command: CommandRecord, out: &mut Out) {
    let ranges = Vec::new();
    out.items.push_back(Item::Command { command, ranges });
}

fn never_completed(command: CommandRecord, out: &mut Out) {
    out.notes.count("commands have no completion in the trace");
    put(command, out);
}

impl Line for Spdk {
    type File = File;

    fn line(&mut self, file: &mut File, line: &str, out: &mut Out) -> Result<(), String> {
        if let Some(rate) = line.strip_prefix("TSC Rate:") {
            file.rate = integer(rate, "rate of ticks")?;
            return Ok(());
        }
        let Some(event) = Event::of(line) else {
            if !line.starts_with("Trace Size") {
                out.notes.count("lines of other events were left out");
            }
            return Ok(());
        };
        let at_ns = file.ns(&event)?;
        let key = (event.queue()?, event.wanted(["cid", "cmdid"])?);
        match event.kind {
            Kind::Submit => self.submit(key, at_ns, &event, out),
            Kind::Complete => self.complete(key, at_ns, &event, out),
        }
    }

    fn time(&self, file: &mut File, line: &str) -> Option<u64> {
        file.ns(&Event::of(line)?).ok()
    }

    fn finish(&mut self, out: &mut Out) {
        while let Some((_, command)) = self.pending.oldest() {
            never_completed(command, out);
        }
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1,
            unix: false,
        }
    }
}
