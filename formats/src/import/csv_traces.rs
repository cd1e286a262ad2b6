//! The CSV traces that researchers share, beside MSR's: a line a request, no
//! head.
//!
//! | format | columns | time | place |
//! |---|---|---|---|
//! | SYSTOR '17 | `Timestamp,Response,IOType,LUN,Offset,Size` | Unix seconds | bytes |
//! | Alibaba | `device_id,opcode,offset,length,timestamp` | us | bytes |
//! | Tencent CBS | `Timestamp,Offset,Size,IOType,VolumeID` | Unix seconds | 512 bytes |
//! | FIU | `ts_ns pid process lba size W/R major minor md5` | ns | 512 bytes |
//! | UMass SPC | `ASU,LBA,size,op,seconds` | seconds | LBA of 512 bytes, size in bytes |

use super::lines::{Line, Lines, Out};
use super::number::{billionths, integer, times};
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
        if parser.line(line, &mut out).is_err() {
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
        const CENTURY: std::ops::Range<u64> = 946_684_800_000_000_000..4_102_444_800_000_000_000;
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
}

impl Shared {
    fn new(kind: Kind) -> Self {
        Self { kind }
    }
}

impl Line for Shared {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), String> {
        if is_head(line) {
            return Ok(());
        }
        match self.kind {
            Kind::Systor => systor(line, out),
            Kind::Alibaba => alibaba(line, out),
            Kind::Tencent => tencent(line, out),
            Kind::Fiu => fiu(line, out),
            Kind::Spc => spc(line, out),
        }
    }

    fn clock(&self) -> ImportClock {
        let (resolution_ns, unix) = match self.kind {
            Kind::Systor => (1_000, true),
            Kind::Alibaba => (1_000, false),
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

fn columns<const N: usize>(line: &str) -> Result<[&str; N], String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let count = fields.len();
    fields
        .try_into()
        .map_err(|_| format!("{count} fields, where {N} belong"))
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
    let [time, response, kind, unit, offset, size] = columns(line)?;
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
    let [device, kind, offset, length, time] = columns(line)?;
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
    let [time, offset, size, kind, volume] = columns(line)?;
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
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [time, pid, _process, lba, size, kind, major, minor, ..] = fields.as_slice() else {
        return Err(format!("{} fields, where 9 belong", fields.len()));
    };
    integer(pid, "process")?;
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
    io.device = out.devices.index(&format!("{major},{minor}"))?;
    out.io(io);
    Ok(())
}

fn spc(line: &str, out: &mut Out) -> Result<(), String> {
    // Optional fields may follow.
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [unit, lba, size, kind, time, ..] = fields.as_slice() else {
        return Err(format!("{} fields, where 5 belong", fields.len()));
    };
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
