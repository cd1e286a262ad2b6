//! The CSV traces that researchers share, beside MSR's: a line a request, no
//! head.
//!
//! | format | columns | time | place |
//! |---|---|---|---|
//! | SYSTOR '17 | `Timestamp,Response,IOType,LUN,Offset,Size` | Unix seconds | bytes |
//! | Alibaba | `device_id,opcode,offset,length,timestamp` | us, since 1970 as published | bytes |
//! | Tencent CBS | `Timestamp,Offset,Size,IOType,VolumeID` | Unix seconds | 512 bytes |
//! | FIU | `ts_ns pid process lba size W/R major minor md5` | ns | 512 bytes |
//! | UMass SPC | `ASU,LBA,size,op,seconds` | seconds | LBA of 512 bytes, size in bytes |

use super::lines::{Line, Lines, Out};
use super::number::{billionths, integer, times};
use super::splitter::{at_least, exactly};
use super::{Import, ImportClock, ImportOptions};
use crate::{FormatError, Input, Io, Operation};

/// One of these formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Systor,
    Alibaba,
    Tencent,
    Fiu,
    Spc,
}

const SECTOR: u64 = 512;
/// Of times that are counted from 1970, those of this century.
const CENTURY: std::ops::Range<u64> = 946_684_800_000_000_000..4_102_444_800_000_000_000;

/// Whether `text` starts as a trace of this `kind` does: its first lines, up to
/// ten, all parse. A head with the names of the columns may stand before.
pub(crate) fn recognize(kind: Kind, text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let mut parser = Shared::new(kind);
    let mut out = Out::default();
    let lines: Vec<&str> = lines.by_ref().take(10).collect();
    let body = lines.iter().filter(|line| !is_head(line));
    let mut seen = 0;
    for line in body {
        if parser.line(&mut (), line, &mut out).is_err() {
            return false;
        }
        seen += 1;
    }
    seen > 0 && kind.is_plausible(&out)
}

fn is_head(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    lower.starts_with("timestamp,") || lower.starts_with("device_id,")
}

/// Opens `input`.
pub(crate) fn open(
    kind: Kind,
    input: &Input,
    options: &ImportOptions,
) -> Result<Box<dyn Import>, FormatError> {
    let parser = Shared::new(kind);
    Ok(Box::new(Lines::new(input.streams()?, options, parser)))
}

impl Kind {
    /// Whether what was parsed could be that: times that are counted from 1970
    /// are of this century.
    fn is_plausible(self, out: &Out) -> bool {
        match self {
            Self::Systor | Self::Tencent => out
                .items
                .iter()
                .all(|item| CENTURY.contains(&item.submit_ns())),
            Self::Alibaba | Self::Fiu | Self::Spc => true,
        }
    }
}

#[derive(Debug)]
struct Shared {
    kind: Kind,
    /// Whether times are counted from 1970, where that is to be seen of the
    /// first.
    unix: Option<bool>,
    /// Whether a time had more digits than microseconds.
    fine: bool,
}

impl Shared {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            unix: None,
            fine: false,
        }
    }
}

impl Line for Shared {
    type File = ();

    fn line(&mut self, (): &mut (), line: &str, out: &mut Out) -> Result<(), String> {
        if is_head(line) {
            return Ok(());
        }
        match self.kind {
            Kind::Systor => systor(line, out)?,
            Kind::Alibaba => alibaba(line, out)?,
            Kind::Tencent => tencent(line, out)?,
            Kind::Fiu => fiu(line, out)?,
            Kind::Spc => spc(line, out)?,
        }
        if let Some(last) = out.items.back() {
            let at_ns = last.submit_ns();
            self.unix.get_or_insert(CENTURY.contains(&at_ns));
            self.fine |= !at_ns.is_multiple_of(1_000);
        }
        Ok(())
    }

    fn time(&self, (): &mut (), line: &str) -> Option<u64> {
        let mut commas = line.split(',');
        let mut comma = |place: usize| commas.nth(place).unwrap_or_default();
        let seconds = |text: &str| billionths(text, "").ok();
        match self.kind {
            Kind::Systor | Kind::Tencent => seconds(comma(0)),
            Kind::Alibaba => integer(comma(4), "").ok(),
            Kind::Fiu => integer(line.split_ascii_whitespace().next()?, "").ok(),
            Kind::Spc => seconds(comma(4)),
        }
    }

    fn clock(&self) -> ImportClock {
        let (resolution_ns, unix) = match self.kind {
            // As published; some copies have more digits.
            Kind::Systor | Kind::Spc if self.fine => (1, self.kind == Kind::Systor),
            Kind::Systor => (1_000, true),
            Kind::Alibaba => (1_000, self.unix.unwrap_or(false)),
            Kind::Tencent => (1_000_000_000, true),
            Kind::Fiu => (1, false),
            Kind::Spc => (1_000, false),
        };
        ImportClock {
            resolution_ns,
            unix,
        }
    }
}

fn operation(text: &str, [read, write]: [&str; 2]) -> Result<Operation, String> {
    if text.eq_ignore_ascii_case(read) {
        Ok(Operation::Read)
    } else if text.eq_ignore_ascii_case(write) {
        Ok(Operation::Write)
    } else {
        Err(format!(
            "the operation is {text:?}, but must be {read} or {write}"
        ))
    }
}

fn systor(line: &str, out: &mut Out) -> Result<(), String> {
    let [time, response, kind, unit, offset, size] = exactly(line.split(','))?;
    let at_ns = billionths(time, "time stamp")?;
    // What is neither a read nor a write has no type, and no place.
    if kind.is_empty() {
        out.notes.count("requests without a type were left out");
        return Ok(());
    }
    let mut io = Io::new(
        at_ns,
        operation(kind, ["R", "W"])?,
        integer(offset, "offset")?,
        integer(size, "size")?,
    );
    if !response.is_empty() {
        io.latency_ns = Some(billionths(response, "response time")?);
    }
    io.device = out.devices.index(unit)?;
    out.io(io);
    Ok(())
}

fn alibaba(line: &str, out: &mut Out) -> Result<(), String> {
    let [device, kind, offset, length, time] = exactly(line.split(','))?;
    integer(device, "device")?;
    let mut io = Io::new(
        times(integer(time, "time stamp")?, 1_000, "time stamp")?,
        operation(kind, ["R", "W"])?,
        integer(offset, "offset")?,
        integer(length, "length")?,
    );
    io.device = out.devices.index(device)?;
    out.io(io);
    Ok(())
}

fn tencent(line: &str, out: &mut Out) -> Result<(), String> {
    let [time, offset, size, kind, volume] = exactly(line.split(','))?;
    integer(volume, "volume")?;
    let seconds = integer(time, "time stamp")?;
    let mut io = Io::new(
        times(seconds, 1_000_000_000, "time stamp")?,
        operation(kind, ["0", "1"])?,
        times(integer(offset, "offset")?, SECTOR, "offset")?,
        times(integer(size, "size")?, SECTOR, "size")?,
    );
    io.device = out.devices.index(volume)?;
    out.io(io);
    Ok(())
}

fn fiu(line: &str, out: &mut Out) -> Result<(), String> {
    let mut words = line.split_ascii_whitespace();
    let [time, pid] = at_least(words.by_ref().take(2))?;
    integer(pid, "process")?;
    // The name of a process may have blanks in it.
    words.next();
    let [lba, size, kind, major, minor] = loop {
        let fields: [&str; 5] = at_least(words.clone().take(5))?;
        if operation(fields[2], ["R", "W"]).is_ok() {
            break fields;
        }
        words.next();
    };
    let (major, minor) = (
        integer(major, "major number")?,
        integer(minor, "minor number")?,
    );
    let mut io = Io::new(
        integer(time, "time stamp")?,
        operation(kind, ["R", "W"])?,
        times(integer(lba, "LBA")?, SECTOR, "LBA")?,
        times(integer(size, "size")?, SECTOR, "size")?,
    );
    io.device = out.devices.index_of(format_args!("{major},{minor}"))?;
    out.io(io);
    Ok(())
}

fn spc(line: &str, out: &mut Out) -> Result<(), String> {
    // Optional fields may follow.
    let [unit, lba, size, kind, time] = at_least(line.split(','))?;
    integer(unit, "unit")?;
    let mut io = Io::new(
        billionths(time, "time stamp")?,
        operation(kind, ["R", "W"])?,
        times(integer(lba, "LBA")?, SECTOR, "LBA")?,
        integer(size, "size")?,
    );
    io.device = out.devices.index(unit)?;
    out.io(io);
    Ok(())
}
