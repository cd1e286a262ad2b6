//! The table of formats.

use std::fs;
use std::io::Write;
use std::path::Path;

use traces::Header;

use crate::export as out;
use crate::import as from;
use crate::{Carries, Export, FormatError, Import, ImportOptions, Input, Stream};

/// A format of another tool.
#[derive(Clone, Copy)]
pub struct Format {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// The endings of its files' names, without the dot, the usual one first.
    pub extensions: &'static [&'static str],
    /// Whether a file that starts so is one.
    pub(crate) recognize: fn(&Head<'_>) -> bool,
    /// Opens one for reading.
    pub(crate) open: Option<OpenFn>,
    /// Starts to write one.
    pub(crate) create: Option<CreateFn>,
    /// What it can hold, where it is written.
    pub carries: Carries,
}

/// Opens a trace for reading.
pub(crate) type OpenFn = fn(&Input, &ImportOptions) -> Result<Box<dyn Import>, FormatError>;
/// Starts to write a trace of a device.
pub(crate) type CreateFn =
    fn(Box<dyn Write + Send>, &Header) -> Result<Box<dyn Export>, FormatError>;

impl std::fmt::Debug for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Format")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How a file starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    /// The first path, which may be a directory.
    pub(crate) path: &'a Path,
    /// The first bytes, decompressed; none of a directory.
    pub(crate) bytes: &'a [u8],
    /// As much of them as is text, up to the last whole line.
    pub(crate) text: &'a str,
}

/// All formats but `.vtr`, in the order in which they are tried.
pub static FORMATS: &[Format] = &[
    Format {
        name: "vtracer",
        title: "pynvme vTracer: a PNG with a zip in it, a zip, or a directory",
        extensions: &["png", "zip"],
        recognize: from::vtracer::recognize,
        open: Some(from::vtracer::open),
        create: Some(out::vtracer::create),
        carries: out::vtracer::CARRIES,
    },
    Format {
        name: "fio",
        title: "fio iolog: versions 2 and 3 read, 3 written",
        extensions: &["iolog"],
        recognize: |head| from::fio::recognize(head.text),
        open: Some(from::fio::open),
        create: Some(out::fio::create),
        carries: out::fio::CARRIES,
    },
    Format {
        name: "fio2",
        title: "fio iolog, version 2 written",
        extensions: &["iolog2"],
        recognize: |_| false,
        open: Some(from::fio::open),
        create: Some(out::fio::create_2),
        carries: out::fio::CARRIES_2,
    },
    Format {
        name: "blktrace",
        title: "blktrace, binary: versions 7 and 8 read, 7 written",
        extensions: &["blktrace", "0"],
        recognize: from::blktrace::recognize,
        open: Some(from::blktrace::open),
        create: Some(out::blktrace::create),
        carries: out::blktrace::CARRIES,
    },
    Format {
        name: "blkparse",
        title: "blkparse, text",
        extensions: &["blkparse"],
        recognize: |head| from::blkparse::recognize(head.text),
        open: Some(from::blkparse::open),
        create: Some(out::blkparse::create),
        carries: out::blkparse::CARRIES,
    },
    Format {
        name: "btrecord",
        title: "btrecord, for btreplay",
        extensions: &["replay"],
        recognize: |head| from::btrecord::recognize(head.bytes),
        open: Some(from::btrecord::open),
        create: Some(out::btrecord::create),
        carries: out::btrecord::CARRIES,
    },
    Format {
        name: "vscsi",
        title: "CloudPhysics vscsi: versions 1 and 2 read, 2 written",
        extensions: &["vscsi", "vscsitrace"],
        recognize: |head| from::vscsi::recognize(head.bytes),
        open: Some(from::vscsi::open),
        create: Some(out::vscsi::create),
        carries: out::vscsi::CARRIES,
    },
    Format {
        name: "oracle",
        title: "libCacheSim oracleGeneral (name it: it has no mark)",
        extensions: &["oracleGeneral"],
        recognize: |_| false,
        open: Some(from::oracle::open),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "parquet",
        title: "Parquet, a row a command, for DuckDB, Polars and Spark",
        extensions: &["parquet"],
        recognize: |head| from::parquet::recognize(head.bytes),
        open: Some(from::parquet::open),
        create: Some(out::parquet::create),
        carries: out::parquet::CARRIES,
    },
    Format {
        name: "trace-points",
        title: "Linux trace points nvme and block: ftrace, trace-cmd, perf script",
        extensions: &["txt", "trace"],
        recognize: |head| from::trace_points::recognize(head.text),
        open: Some(from::trace_points::open),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "qemu",
        title: "QEMU's log of -trace 'pci_nvme_*'",
        extensions: &["log"],
        recognize: |head| from::qemu::recognize(head.text),
        open: Some(from::qemu::open),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "msr",
        title: "MSR Cambridge CSV",
        extensions: &["csv"],
        recognize: |head| from::msr::recognize(head.text),
        open: Some(from::msr::open),
        create: Some(out::msr::create),
        carries: out::msr::CARRIES,
    },
    Format {
        name: "systor",
        title: "SNIA SYSTOR '17 CSV",
        extensions: &["csv"],
        recognize: |head| from::csv_traces::recognize(from::csv_traces::Kind::Systor, head.text),
        open: Some(|input, options| {
            from::csv_traces::open(from::csv_traces::Kind::Systor, input, options)
        }),
        create: Some(out::simple::systor),
        carries: out::simple::SYSTOR,
    },
    Format {
        name: "alibaba",
        title: "Alibaba cloud CSV",
        extensions: &["csv"],
        recognize: |head| from::csv_traces::recognize(from::csv_traces::Kind::Alibaba, head.text),
        open: Some(|input, options| {
            from::csv_traces::open(from::csv_traces::Kind::Alibaba, input, options)
        }),
        create: Some(out::simple::alibaba),
        carries: out::simple::ALIBABA,
    },
    Format {
        name: "tencent",
        title: "Tencent cloud CSV",
        extensions: &["csv"],
        recognize: |head| from::csv_traces::recognize(from::csv_traces::Kind::Tencent, head.text),
        open: Some(|input, options| {
            from::csv_traces::open(from::csv_traces::Kind::Tencent, input, options)
        }),
        create: Some(out::simple::tencent),
        carries: out::simple::TENCENT,
    },
    Format {
        name: "fiu",
        title: "FIU, text",
        extensions: &["txt"],
        recognize: |head| from::csv_traces::recognize(from::csv_traces::Kind::Fiu, head.text),
        open: Some(|input, options| {
            from::csv_traces::open(from::csv_traces::Kind::Fiu, input, options)
        }),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "spc",
        title: "UMass SPC CSV",
        extensions: &["spc"],
        recognize: |head| from::csv_traces::recognize(from::csv_traces::Kind::Spc, head.text),
        open: Some(|input, options| {
            from::csv_traces::open(from::csv_traces::Kind::Spc, input, options)
        }),
        create: Some(out::simple::spc),
        carries: out::simple::SPC,
    },
    Format {
        name: "blkreplay",
        title: "blkreplay .load",
        extensions: &["load"],
        recognize: |head| from::blkreplay::recognize(head.text),
        open: Some(from::blkreplay::open),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "etw",
        title: "Windows disk I/O, as xperf dumps it",
        extensions: &["txt"],
        recognize: |head| from::etw::recognize(head.text),
        open: Some(from::etw::open),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "wpa",
        title: "Windows Performance Analyzer's table of disk usage, CSV",
        extensions: &["csv"],
        recognize: |head| from::named::recognize(from::named::Kind::Wpa, head.text),
        open: Some(|input, options| from::named::open(from::named::Kind::Wpa, input, options)),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "hfplayer",
        title: "hfplayer and NetApp WLC, CSV",
        extensions: &["csv"],
        recognize: |head| from::named::recognize(from::named::Kind::Wlc, head.text),
        open: Some(|input, options| from::named::open(from::named::Kind::Wlc, input, options)),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "iotrace",
        title: "Open CAS iotrace, CSV",
        extensions: &["csv"],
        recognize: |head| from::named::recognize(from::named::Kind::Iotrace, head.text),
        open: Some(|input, options| from::named::open(from::named::Kind::Iotrace, input, options)),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "spdk",
        title: "SPDK's NVMe driver, as spdk_trace prints it",
        extensions: &["txt"],
        recognize: |head| from::spdk::recognize(head.text),
        open: Some(from::spdk::open),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "jesd219",
        title: "JESD219A client master trace, without times",
        extensions: &["txt"],
        recognize: |head| from::jesd219::recognize(head.text),
        open: Some(from::jesd219::open),
        create: None,
        carries: Carries::NOTHING,
    },
    Format {
        name: "disksim",
        title: "DiskSim, text",
        extensions: &["trace"],
        recognize: |head| from::simulators::recognize_disksim(head.text),
        open: Some(from::simulators::open_disksim),
        create: Some(out::simple::disksim),
        carries: out::simple::SIMULATOR,
    },
    Format {
        name: "mqsim",
        title: "MQSim and SSDsim, text (name it: it has no mark)",
        extensions: &["mqsim"],
        recognize: |_| false,
        open: Some(from::simulators::open_mqsim),
        create: Some(out::simple::mqsim),
        carries: out::simple::SIMULATOR,
    },
    Format {
        name: "csv",
        title: "CSV with all of each command, or any text in columns, with --columns",
        extensions: &["csv"],
        recognize: |head| from::commands::recognize(head.text),
        open: Some(from::columns::open),
        create: Some(out::csv::create),
        carries: out::csv::CARRIES,
    },
];

impl Format {
    /// Opens `input`, a trace of this format.
    ///
    /// # Errors
    /// [`FormatError::OneWay`] where the format is only written,
    /// [`FormatError::Io`], [`FormatError::Malformed`].
    pub fn open(
        &self,
        input: &Input,
        options: &ImportOptions,
    ) -> Result<Box<dyn Import>, FormatError> {
        let open = self.open.ok_or_else(|| FormatError::OneWay {
            name: self.name,
            what: "read",
            known: names(|format| format.open.is_some()),
        })?;
        open(input, options)
    }

    /// Starts to write a trace of this format, of a device as `header` has it.
    ///
    /// # Errors
    /// [`FormatError::OneWay`] where the format is only read,
    /// [`FormatError::Io`].
    pub fn create(
        &self,
        sink: Box<dyn Write + Send>,
        header: &Header,
    ) -> Result<Box<dyn Export>, FormatError> {
        let create = self.create.ok_or_else(|| FormatError::OneWay {
            name: self.name,
            what: "written",
            known: names(|format| format.create.is_some()),
        })?;
        create(sink, header)
    }

    /// Whether it is read.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.open.is_some()
    }

    /// Whether it is written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.create.is_some()
    }
}

/// The format named `name`.
///
/// # Errors
/// [`FormatError::UnknownName`].
pub fn find(name: &str) -> Result<&'static Format, FormatError> {
    let mut formats = FORMATS.iter();
    formats
        .find(|format| format.name == name)
        .ok_or_else(|| FormatError::UnknownName {
            name: name.to_owned(),
            known: names(|_| true),
        })
}

/// The format that `input` is of, by its content.
///
/// # Errors
/// [`FormatError::Unrecognized`], [`FormatError::Io`].
pub fn detect(input: &Input) -> Result<&'static Format, FormatError> {
    let Some(path) = input.paths().first() else {
        let problem = "there is no file to read: name one".to_owned();
        return Err(FormatError::Refused { problem });
    };
    if path == Path::new("-") {
        let problem = "the format of standard input is not guessed: name it with --from".to_owned();
        return Err(FormatError::Refused { problem });
    }
    let name = input.name();
    let of_base = from::blktrace::files_of(path);
    let path = of_base.first().unwrap_or(path);
    let metadata = fs::metadata(path).map_err(|error| FormatError::io("open", &name, error))?;
    let bytes = if metadata.is_dir() {
        Vec::new()
    } else {
        crate::input::decoded(Stream::open(path)?.head()?)
    };
    let head = Head {
        path,
        bytes: &bytes,
        text: text(&bytes),
    };
    let mut formats = FORMATS.iter();
    formats
        .find(|format| (format.recognize)(&head))
        .ok_or_else(|| FormatError::Unrecognized {
            path: name,
            problem: start(&head),
            known: names(|format| format.open.is_some()),
        })
}

/// The text at the start of `bytes`, up to the last whole line where there is
/// one.
fn text(bytes: &[u8]) -> &str {
    let valid = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => bytes
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok())
            .unwrap_or_default(),
    };
    valid
        .rfind('\n')
        .and_then(|end| valid.get(..=end))
        .unwrap_or(valid)
}

/// What is at the start of a file, for a person.
fn start(head: &Head<'_>) -> String {
    if head.bytes.is_empty() {
        return "it is empty".to_owned();
    }
    match head.text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("it starts {:?}", line.chars().take(60).collect::<String>()),
        None => {
            let bytes: Vec<String> = head
                .bytes
                .iter()
                .take(8)
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!("it starts {}", bytes.join(" "))
        }
    }
}

/// The names of the formats that `of` is true of, for a person.
fn names(of: impl Fn(&Format) -> bool) -> String {
    let names: Vec<&str> = FORMATS
        .iter()
        .filter(|format| of(format))
        .map(|format| format.name)
        .collect();
    names.join(", ")
}
