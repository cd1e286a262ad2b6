//! `vssd device smart` and `vssd device log`.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use driver::LogRequest;
use nvme::{
    ErrorLogEntry, LbaStatusLog, LogPageId, NSID_ALL, NamespaceId, PersistentEventLogHeader,
    SelfTestLog, TelemetryHeader,
};
use zerocopy::FromBytes as _;

use super::report::{Report, dump};
use super::{Device, Opened, number, show, with};

/// What a log page that was asked for without a length is read up to.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// What is read of a page whose length this program does not know.
const UNKNOWN_BYTES: usize = 512;

/// Show a device's health: the SMART / Health Information log.
#[derive(Debug, Args)]
#[command(after_help = "Example: vssd device smart vfio-user:/tmp/vssd.sock")]
pub(super) struct SmartArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Read a log page.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples: a page by its name, by its number, and as it is, into a file.
  vssd device log vfio-user:/tmp/vssd.sock error
  vssd device log vfio-user:/tmp/vssd.sock 0x05 --json
  vssd device log vfio-user:/tmp/vssd.sock telemetry-host --lsp 1 -o telemetry.bin")]
pub(super) struct LogArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The log page: its number, its name, or the start of it.
    #[arg(value_parser = page)]
    page: LogPageId,
    /// How much to read; by default all of it, where its length is known.
    #[arg(long, value_name = "BYTES", value_parser = number::parse::<usize>)]
    bytes: Option<usize>,
    /// Where to start.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = number::parse::<u64>)]
    offset: u64,
    /// The namespace; by default the controller.
    #[arg(long, value_name = "N", default_value = "0xffffffff", value_parser = number::parse::<u32>)]
    nsid: u32,
    /// Log specific parameter.
    #[arg(long, value_name = "LSP", value_parser = number::parse::<u8>)]
    lsp: Option<u8>,
    /// Log specific identifier, such as an endurance group.
    #[arg(long, value_name = "LSI", default_value = "0", value_parser = number::parse::<u16>)]
    lsi: u16,
    /// Leave the page's asynchronous event as it is.
    #[arg(long)]
    retain: bool,
    /// Print the page in hexadecimal.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Write the page, as it is, to a file.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["json", "raw"])]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn page(text: &str) -> Result<LogPageId, String> {
    let named = LogPageId::NAMED.iter();
    let named = named.filter_map(|page| Some((page.0, page.name()?)));
    number::find(text, "log page", named).map(LogPageId)
}

/// Runs `vssd device smart`.
pub(super) fn smart(arguments: &SmartArguments) -> Result<()> {
    let log = with(&arguments.device, |device| Ok(device.smart_log(NSID_ALL)?))?;
    show::log::smart(&log, &arguments.device.to_string()).print(arguments.json);
    Ok(())
}

/// Runs `vssd device log`.
pub(super) fn run(arguments: &LogArguments) -> Result<()> {
    let log = with(&arguments.device, |device| arguments.read(device))?;
    let page = arguments.page;
    if let Some(path) = &arguments.output {
        fs::write(path, &log).with_context(|| format!("cannot write {}", path.display()))?;
        return Ok(());
    }
    let is_whole = arguments.offset == 0 && !arguments.raw;
    let name = arguments.device.to_string();
    let report = is_whole.then(|| show::log::report(page, &log, &name));
    match report.flatten() {
        Some(report) => report.print(arguments.json),
        None if arguments.json => {
            bail!("{page} cannot be told in JSON here: use --raw, or -o FILE")
        }
        None => {
            let mut report = Report::new("", 0);
            report.lines("log", vec![(dump(&log), page.0.into())]);
            std::io::stdout().write_all(report.to_text().as_bytes())?;
        }
    }
    Ok(())
}

impl LogArguments {
    fn read(&self, device: &mut Opened) -> Result<Vec<u8>> {
        let mut request = LogRequest {
            nsid: NamespaceId(self.nsid),
            offset: self.offset,
            lsi: self.lsi,
            lsp: self.lsp.unwrap_or(0),
            retain: self.retain,
            ..LogRequest::new(self.page, UNKNOWN_BYTES)
        };
        let context = self.page == LogPageId::PERSISTENT_EVENT && self.lsp.is_none();
        if context {
            // A context of somebody else's may be in the way.
            request.lsp = PersistentEventLogHeader::LSP_RELEASE;
            request.bytes = size_of::<PersistentEventLogHeader>();
            let _ = device.read_log(request);
            request.lsp = PersistentEventLogHeader::LSP_ESTABLISH;
        }
        request.bytes = match self.bytes {
            Some(bytes) => bytes.next_multiple_of(4),
            None => whole(device, &mut request)?,
        };
        if context && self.bytes.is_none() {
            request.lsp = PersistentEventLogHeader::LSP_READ;
        }
        let mut log = device.read_log(request)?;
        if context {
            request.lsp = PersistentEventLogHeader::LSP_RELEASE;
            request.bytes = size_of::<PersistentEventLogHeader>();
            request.offset = 0;
            let _ = device.read_log(request);
        }
        log.truncate(self.bytes.unwrap_or(log.len()));
        Ok(log)
    }
}

/// How long the whole page is, from `request`'s offset on. For pages that tell
/// it themselves their head is read.
fn whole(device: &mut Opened, request: &mut LogRequest) -> Result<usize> {
    let bytes = match request.page {
        LogPageId::ERROR_INFORMATION => {
            let entries = usize::from(device.identify_controller()?.elpe) + 1;
            entries * size_of::<ErrorLogEntry>()
        }
        LogPageId::SUPPORTED | LogPageId::FEATURE_EFFECTS => 1024,
        LogPageId::CHANGED_NAMESPACES
        | LogPageId::CHANGED_ALLOCATED_NAMESPACES
        | LogPageId::COMMAND_EFFECTS
        | LogPageId::NVME_MI_EFFECTS
        | LogPageId::CHANGED_ZONES => 4096,
        LogPageId::SELF_TEST => size_of::<SelfTestLog>(),
        LogPageId::RESERVATION_NOTIFICATION => 64,
        LogPageId::TELEMETRY_HOST | LogPageId::TELEMETRY_CONTROLLER => {
            let head = head(device, *request)?;
            let Ok((head, _)) = TelemetryHeader::read_from_prefix(&head) else {
                return Ok(UNKNOWN_BYTES);
            };
            // What was made is not to be made anew by the next read.
            request.lsp = 0;
            let areas = [head.area1_last, head.area2_last, head.area3_last];
            let last = areas.map(|area| u64::from(area.get())).into_iter().max();
            let last = last.unwrap_or(0).max(head.area4_last.get().into());
            bounded((last + 1) * TelemetryHeader::BLOCK_BYTES as u64)?
        }
        LogPageId::LBA_STATUS => {
            let head = head(device, *request)?;
            let Ok((head, _)) = LbaStatusLog::read_from_prefix(&head) else {
                return Ok(UNKNOWN_BYTES);
            };
            bounded(head.bytes.get().into())?
        }
        LogPageId::PERSISTENT_EVENT => {
            let head = head(device, *request)?;
            let Ok((head, _)) = PersistentEventLogHeader::read_from_prefix(&head) else {
                return Ok(UNKNOWN_BYTES);
            };
            bounded(head.bytes.get())?
        }
        _ => UNKNOWN_BYTES,
    };
    let offset = usize::try_from(request.offset).unwrap_or(usize::MAX);
    Ok(bytes.saturating_sub(offset).max(4).next_multiple_of(4))
}

/// The first 512 bytes of a page.
fn head(device: &mut Opened, request: LogRequest) -> Result<Vec<u8>> {
    Ok(device.read_log(LogRequest {
        offset: 0,
        bytes: UNKNOWN_BYTES,
        retain: true,
        ..request
    })?)
}

/// A length that the device told, where it can be believed.
fn bounded(bytes: u64) -> Result<usize> {
    if bytes > LOG_BYTES_MAX {
        bail!("the device says that the log has {bytes} bytes: read a part of it with --bytes");
    }
    Ok(usize::try_from(bytes)?.max(UNKNOWN_BYTES))
}
