//! Traces that are recorded: what they are called, and what they say of
//! themselves.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use driver::ControllerInfo;
use traces::{Clock as _, DeviceIdentity, Header, MonotonicClock, NamespaceInfo, Start};

use crate::terminal;

/// The file of recording `number`, from 1, where there are several: `day.vtr`,
/// `day-2.vtr`, ...
pub(crate) fn numbered(path: &Path, number: usize) -> PathBuf {
    if number <= 1 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{number}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{number}"),
    };
    path.with_file_name(name)
}

/// Says early what would otherwise be found when the recording starts.
pub(crate) fn check(path: &Path, overwrite: bool) -> Result<()> {
    if path.exists() && !overwrite {
        bail!(
            "{} exists: name another file, or give --overwrite",
            path.display()
        );
    }
    let parent = path.parent().filter(|path| !path.as_os_str().is_empty());
    if let Some(parent) = parent
        && !parent.is_dir()
    {
        bail!("{} is not a directory: create it first", parent.display());
    }
    Ok(())
}

/// What a recording says of itself that starts now, of a device that is driven
/// from here.
pub(crate) fn header(info: &ControllerInfo, clock: MonotonicClock) -> Header {
    let namespaces = info.namespaces.iter().map(|namespace| NamespaceInfo {
        id: namespace.nsid.0,
        blocks: namespace.blocks,
        block_bytes: namespace.block_bytes,
    });
    Header {
        device: DeviceIdentity {
            serial: info.serial.clone(),
            model: info.model.clone(),
            firmware: info.firmware.clone(),
            pci: None,
        },
        namespaces: namespaces.collect(),
        io_queues: u32::from(info.queue_pairs_max),
        mdts_bytes: info.mdts_bytes.and_then(|bytes| u64::try_from(bytes).ok()),
        start: Start {
            unix_ns: terminal::unix_ns(),
            clock_ns: clock.now_ns(),
        },
        tool: terminal::TOOL.to_owned(),
        ..Header::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_recordings_get_a_number() {
        let day = Path::new("out/day.vtr");
        assert_eq!(numbered(day, 1), day);
        assert_eq!(numbered(day, 2), Path::new("out/day-2.vtr"));
        assert_eq!(numbered(Path::new("day"), 3), Path::new("day-3"));
    }

    #[test]
    fn a_file_that_exists_is_not_overwritten_unasked() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = check(file.path(), false).unwrap_err().to_string();
        assert!(error.contains("--overwrite"), "{error}");
        check(file.path(), true).unwrap();
        let nowhere = file.path().join("day.vtr");
        let error = check(&nowhere, false).unwrap_err().to_string();
        assert!(error.contains("not a directory"), "{error}");
    }
}
