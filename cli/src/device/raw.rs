//! `vssd device raw`.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use driver::{Answered, Data, DriverError};
use nvme::{AdminOpcode, NamespaceId, NvmOpcode, Sqe};
use serde_json::json;

use super::confirm::Word;
use super::report::{digits, dump};
use super::{Device, number, with};
use crate::Answer;

/// Issue any command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples: Identify Controller, and a read of eight blocks.
  vssd device raw vfio-user:/tmp/vssd.sock --opcode 0x06 --cdw10 1 --read 4096
  vssd device raw vfio-user:/tmp/vssd.sock --io --opcode 2 --nsid 1 --cdw12 7 --read 4096

The exit status is 1 where the device completes the command with an error.")]
pub(super) struct RawArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// An I/O command, not an admin command.
    #[arg(long)]
    io: bool,
    /// Its opcode.
    #[arg(long, value_parser = number::parse::<u8>)]
    opcode: u8,
    /// The namespace.
    #[arg(long, value_name = "N", default_value = "0", value_parser = number::parse::<u32>)]
    nsid: u32,
    #[command(flatten)]
    dwords: Dwords,
    /// Read so many bytes from the device.
    #[arg(long, value_name = "BYTES", value_parser = number::parse::<usize>)]
    read: Option<usize>,
    /// Write what this file holds to the device.
    #[arg(long, value_name = "FILE", conflicts_with = "read")]
    write: Option<PathBuf>,
    /// Write what was read to a file.
    #[arg(short, long, value_name = "FILE", requires = "read")]
    output: Option<PathBuf>,
    /// How long the device may take.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = number::seconds)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    word: Word,
}

/// The command specific dwords.
#[derive(Debug, Args)]
struct Dwords {
    /// Command dword 2.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw2: u32,
    /// Command dword 3.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw3: u32,
    /// Command dword 10.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw10: u32,
    /// Command dword 11.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw11: u32,
    /// Command dword 12.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw12: u32,
    /// Command dword 13.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw13: u32,
    /// Command dword 14.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw14: u32,
    /// Command dword 15.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw15: u32,
}

/// Runs `vssd device raw`.
pub(super) fn run(arguments: &RawArguments) -> Result<Answer> {
    let written = match &arguments.write {
        Some(path) => {
            Some(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => None,
    };
    let name = arguments.name();
    if written.is_some() || !arguments.only_reads() {
        let loss = format!("issues {name}, which may change or lose what the device holds");
        arguments.word.ask(&arguments.device, &loss)?;
    }
    let data = match (&written, arguments.read) {
        (Some(bytes), _) => Data::ToDevice(bytes),
        (None, Some(bytes)) => Data::FromDevice(bytes),
        (None, None) => Data::None,
    };
    let result = with(&arguments.device, |device| {
        let (sqe, timeout) = (arguments.sqe(), arguments.timeout);
        let result = if arguments.io {
            device.io_data(sqe, data, timeout)
        } else {
            device.admin_data(sqe, data, timeout)
        };
        match result {
            Ok(answered) => Ok(Ok(answered)),
            Err(DriverError::CommandFailed { status, .. }) => Ok(Err(status)),
            Err(error) => Err(error.into()),
        }
    })?;
    match result {
        Ok(answered) => {
            arguments.show(&name, &answered)?;
            Ok(Answer::Yes)
        }
        Err(status) if arguments.json => {
            let status = json!({"code": status.field(), "text": status.to_string()});
            println!("{:#}", json!({"command": name, "status": status}));
            Ok(Answer::No)
        }
        Err(status) => {
            println!("{name}: {status}");
            Ok(Answer::No)
        }
    }
}

impl RawArguments {
    fn name(&self) -> String {
        if self.io {
            format!("I/O command {}", NvmOpcode(self.opcode))
        } else {
            format!("admin command {}", AdminOpcode(self.opcode))
        }
    }

    /// Whether the command is known to change nothing.
    fn only_reads(&self) -> bool {
        if self.io {
            matches!(
                NvmOpcode(self.opcode),
                NvmOpcode::FLUSH
                    | NvmOpcode::READ
                    | NvmOpcode::COMPARE
                    | NvmOpcode::VERIFY
                    | NvmOpcode::RESERVATION_REPORT
                    | NvmOpcode::IO_MANAGEMENT_RECEIVE
                    | NvmOpcode::ZONE_MANAGEMENT_RECEIVE
            )
        } else {
            matches!(
                AdminOpcode(self.opcode),
                AdminOpcode::GET_LOG_PAGE
                    | AdminOpcode::IDENTIFY
                    | AdminOpcode::ABORT
                    | AdminOpcode::GET_FEATURES
                    | AdminOpcode::KEEP_ALIVE
                    | AdminOpcode::DIRECTIVE_RECEIVE
                    | AdminOpcode::NVME_MI_RECEIVE
                    | AdminOpcode::SECURITY_RECEIVE
                    | AdminOpcode::GET_LBA_STATUS
            )
        }
    }

    fn sqe(&self) -> Sqe {
        let mut sqe = Sqe::new(self.opcode, NamespaceId(self.nsid));
        let dwords = &self.dwords;
        for (field, value) in [
            (&mut sqe.cdw2, dwords.cdw2),
            (&mut sqe.cdw3, dwords.cdw3),
            (&mut sqe.cdw10, dwords.cdw10),
            (&mut sqe.cdw11, dwords.cdw11),
            (&mut sqe.cdw12, dwords.cdw12),
            (&mut sqe.cdw13, dwords.cdw13),
            (&mut sqe.cdw14, dwords.cdw14),
            (&mut sqe.cdw15, dwords.cdw15),
        ] {
            field.set(value);
        }
        sqe
    }

    fn show(&self, name: &str, answered: &Answered) -> Result<()> {
        let Answered { dword0, data } = answered;
        if let Some(path) = &self.output {
            fs::write(path, data).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if self.json {
            let shown = self.output.is_none().then(|| digits(data));
            println!(
                "{:#}",
                json!({"command": name, "result": dword0, "data": shown})
            );
            return Ok(());
        }
        println!("{name}: success, result:{dword0:#010x}");
        if self.output.is_none() && !data.is_empty() {
            print!("{}", dump(data));
        }
        Ok(())
    }
}
