//! `vssd ioworker`: loads a device, and measures it.

mod builtin;
mod job;
mod page;
mod record;
mod run;
mod table;
mod verify;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use toml::{Table, Value};

use self::job::Job;
use self::record::RecordPlan;
use crate::Answer;
use crate::device::Device;
use crate::serve::payload::PayloadChoice;

/// Load a device, and measure it.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: eight workers, 70 % reads, at 50,000 IOPS each, and a page with charts.
  vssd ioworker vfio-user:/tmp/vssd.sock --read 70 --iops 50000 --workers 8 --html load.html
Example: what is written is looked at when it is read again.
  vssd ioworker vfio-user:/tmp/vssd.sock --read 50 --region 0..1GiB --set verify=true
Built-in jobs: jesd219-512, jesd219-4096, fill, precondition, four-corner, qos-sweep.
With a job, options replace its own. All keys: docs/ioworker.md.")]
pub(crate) struct IoworkerArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// What to do, in a file.
    #[arg(long, value_name = "FILE", conflicts_with = "builtin")]
    job: Option<PathBuf>,
    /// What to do, by name.
    #[arg(long, value_name = "NAME", value_parser = builtin::names())]
    #[arg(hide_possible_values = true)]
    builtin: Option<String>,
    /// Size of commands: 4KiB, 8 (blocks), 1..8.
    #[arg(short = 's', long, value_name = "SIZE")]
    io_size: Option<String>,
    /// Reads among 100 commands; the others write [default: 100].
    #[arg(short, long, value_name = "PERCENT")]
    read: Option<u8>,
    /// Random addresses among 100 [default: 100].
    #[arg(long, value_name = "PERCENT")]
    random: Option<u8>,
    /// What may be touched: START..END, such as 0..1GiB [default: all].
    #[arg(long, value_name = "RANGE")]
    region: Option<String>,
    /// Commands in flight [default: 64].
    #[arg(short = 'q', long, value_name = "COMMANDS")]
    qdepth: Option<u16>,
    /// Commands a second [default: as many as it takes].
    #[arg(long, value_name = "RATE")]
    iops: Option<f64>,
    /// How long: 10s, 5min [default: 10s].
    #[arg(short, long, value_name = "TIME")]
    time: Option<String>,
    /// End after so many commands.
    #[arg(short = 'n', long, value_name = "COMMANDS")]
    count: Option<u64>,
    /// Workers at once, each with its queue and thread.
    #[arg(short, long, value_name = "COUNT")]
    workers: Option<u16>,
    /// Any other key of a job, such as 'skew={ zipf = 1.1 }'.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Write to a real drive, and lose what is on it.
    #[arg(long)]
    allow_write: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Write a page with charts.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Record the load, as the driver sees it, into this trace.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Record what is written, too: hashes of its blocks, or the data.
    #[arg(long, value_name = "KIND", requires = "record", default_value = "none")]
    payload: PayloadChoice,
    /// Overwrite a trace that exists.
    #[arg(long, requires = "record")]
    overwrite: bool,
    /// Answer JSON-RPC clients on this socket meanwhile
    #[arg(long, value_name = "SOCKET")]
    monitor: Option<PathBuf>,
}

impl IoworkerArguments {
    /// The keys that are given here.
    fn keys(&self) -> Result<Table> {
        let mut keys = Table::new();
        for text in &self.set {
            let Some((key, value)) = text.split_once('=') else {
                bail!("--set {text}: write KEY=VALUE");
            };
            // What is no TOML is text: `--set io_size=4KiB`.
            let parsed = format!("value = {value}").parse::<Table>();
            let parsed = parsed.ok().and_then(|mut table| table.remove("value"));
            let value = parsed.unwrap_or_else(|| Value::String(value.to_owned()));
            keys.insert(key.trim().to_owned(), value);
        }
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                keys.insert(key.to_owned(), value);
            }
        };
        let size = |text: &String| match text.parse() {
            Ok(blocks) => Value::Integer(blocks),
            Err(_) => Value::String(text.clone()),
        };
        put("io_size", self.io_size.as_ref().map(size));
        put(
            "read_percentage",
            self.read.map(|read| Value::Integer(read.into())),
        );
        put(
            "lba_random",
            self.random.map(|random| Value::Integer(random.into())),
        );
        put("region", self.region.clone().map(Value::String));
        put(
            "qdepth",
            self.qdepth.map(|qdepth| Value::Integer(qdepth.into())),
        );
        put("iops", self.iops.map(Value::Float));
        put("time", self.time.clone().map(Value::String));
        let count = self
            .count
            .map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        put("io_count", count.map(Value::Integer));
        put(
            "workers",
            self.workers.map(|workers| Value::Integer(workers.into())),
        );
        Ok(keys)
    }

    fn load(&self) -> Result<Job> {
        let keys = self.keys()?;
        match (&self.job, &self.builtin) {
            (Some(path), _) => Job::read(path, &keys),
            (None, Some(name)) => Job::parse(builtin::text(name)?, name, &keys),
            (None, None) => Job::parse("[[worker]]", "the command line", &keys),
        }
    }
}

/// Runs `vssd ioworker`.
pub(crate) fn run(arguments: &IoworkerArguments) -> Result<Answer> {
    let job = arguments.load()?;
    if job.changes_data() && arguments.device.is_real() && !arguments.allow_write {
        bail!(
            "{}: this job writes, and what is on the drive is lost: \
             add --allow-write if that is what you want",
            arguments.device
        );
    }
    let record = arguments.record.as_ref().map(|path| RecordPlan {
        payload: arguments.payload,
        path: path.clone(),
        overwrite: arguments.overwrite,
    });
    let monitor = arguments.monitor.as_deref();
    let result = run::run(&arguments.device, job, monitor, record.as_ref())?;
    if let Some(path) = &arguments.html {
        page::write(path, &result)?;
    }
    // The device is shut down: the report may go to a reader that goes away.
    crate::stop::when_nobody_reads()?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&result)?);
    } else {
        print!("{}", table::Table(&result));
        if let Some(path) = &arguments.html {
            println!("{}", path.display());
        }
    }
    for failure in &result.failures {
        log::error!("{failure}");
    }
    Ok(if result.is_success() {
        Answer::Yes
    } else {
        Answer::No
    })
}
