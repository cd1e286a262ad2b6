//! What a job came to.

/// How a job ended, and what its drives' kernel driver had to do for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutcome {
    /// The script's exit status; 128 and more for a signal, as a shell has it.
    pub exit_code: i32,
    /// What the script printed on stdout and stderr, in order, without line ends.
    pub lines: Vec<String>,
    /// Whether more was printed than is kept (64 MiB).
    pub truncated: bool,
    /// One for each NVMe namespace, taken when the root file system was unmounted and
    /// nothing was left to do but to shut down.
    pub counters: Vec<DriveCounters>,
    /// The guest's kernel release, such as `6.12.107+deb13-cloud-amd64`.
    pub kernel: String,
}

impl JobOutcome {
    /// The counters of the drive that the guest calls `name`, such as `nvme0n1`.
    #[must_use]
    pub fn drive(&self, name: &str) -> Option<&DriveCounters> {
        self.counters.iter().find(|drive| drive.name == name)
    }

    /// Reads the reports of the guest's init; `Err` is what it says was wrong.
    ///
    /// `None` where the reports do not reach the end.
    pub(crate) fn from_reports(reports: &[String]) -> Option<Result<Self, String>> {
        let mut outcome = Self {
            exit_code: 0,
            lines: Vec::new(),
            truncated: false,
            counters: Vec::new(),
            kernel: String::new(),
        };
        for report in reports {
            let (word, rest) = report.split_once(' ').unwrap_or((report, ""));
            match word {
                "boot" => rest.clone_into(&mut outcome.kernel),
                "stat" => outcome.counters.extend(DriveCounters::read(rest)),
                "fail" => return Some(Err(rest.to_owned())),
                "exit" => {
                    outcome.exit_code = rest.parse().ok()?;
                    return Some(Ok(outcome));
                }
                _ => {}
            }
        }
        None
    }
}

/// A drive's counters in the guest's kernel: `/sys/block/<name>/stat`, and one more.
///
/// A request is what the kernel's driver makes one NVMe command of; what was merged
/// into another is counted apart. So on a drive that nothing else has used:
///
/// - Read commands = `reads`;
/// - Write and Write Zeroes commands = `writes - empty_flushes`;
/// - Dataset Management commands = `discards`, with up to 256 ranges each;
/// - Flush commands = `flushes`.
///
/// Firmware reads too (SeaBIOS: a few blocks at each boot), and so do partition scans
/// of the kernel; only the latter are counted here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DriveCounters {
    /// The kernel's name of the namespace, such as `nvme0n1`.
    pub name: String,
    /// Read requests.
    pub reads: u64,
    /// Reads that were merged into others.
    pub read_merges: u64,
    /// What was read, in units of 512 bytes.
    pub read_sectors: u64,
    /// Write requests, among them flushes that carry no data.
    pub writes: u64,
    /// Writes that were merged into others.
    pub write_merges: u64,
    /// What was written, in units of 512 bytes.
    pub write_sectors: u64,
    /// Requests that were not complete: zero, or something is wrong.
    pub in_flight: u64,
    /// Discard requests.
    pub discards: u64,
    /// Discards that were merged into others.
    pub discard_merges: u64,
    /// What was discarded, in units of 512 bytes.
    pub discard_sectors: u64,
    /// Flush commands that were sent.
    pub flushes: u64,
    /// Flushes that carry no data, which the kernel counts among `writes` too.
    pub empty_flushes: u64,
}

impl DriveCounters {
    /// Reads `name empty_flushes` and the fields of the kernel's `stat` file.
    pub fn read(report: &str) -> Option<Self> {
        let mut words = report.split_whitespace();
        let name = words.next()?.to_owned();
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        // Every second or fourth of them is a time, of no interest here.
        let [
            empty_flushes,
            reads,
            read_merges,
            read_sectors,
            _,
            writes,
            write_merges,
            write_sectors,
            _,
            in_flight,
            _,
            _,
            discards,
            discard_merges,
            discard_sectors,
            _,
            flushes,
            ..,
        ] = numbers[..]
        else {
            return None;
        };
        Some(Self {
            name,
            reads,
            read_merges,
            read_sectors,
            writes,
            write_merges,
            write_sectors,
            in_flight,
            discards,
            discard_merges,
            discard_sectors,
            flushes,
            empty_flushes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reports(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_whole_run_is_read() {
        let outcome = JobOutcome::from_reports(&reports(
            "boot 6.12.1\njob\n\
             stat nvme0n1 6 556 145 81610 153 33 7 8368 34 0 108 191 8 1 1705984 2 9 3\n\
             exit 3",
        ));
        let outcome = outcome.unwrap().unwrap();
        assert_eq!(outcome.exit_code, 3);
        assert_eq!(outcome.kernel, "6.12.1");
        let drive = outcome.drive("nvme0n1").unwrap();
        let expected = DriveCounters {
            name: "nvme0n1".to_owned(),
            reads: 556,
            read_merges: 145,
            read_sectors: 81610,
            writes: 33,
            write_merges: 7,
            write_sectors: 8368,
            in_flight: 0,
            discards: 8,
            discard_merges: 1,
            discard_sectors: 1_705_984,
            flushes: 9,
            empty_flushes: 6,
        };
        assert_eq!(*drive, expected);
    }

    #[test]
    fn failures_and_early_ends_are_told_apart() {
        let failed = JobOutcome::from_reports(&reports("boot 6.12\nfail no root device"));
        assert_eq!(failed, Some(Err("no root device".to_owned())));
        assert_eq!(JobOutcome::from_reports(&reports("boot 6.12\njob")), None);
        assert_eq!(JobOutcome::from_reports(&reports("exit many")), None);
    }
}
