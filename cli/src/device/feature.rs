//! `vssd device feature`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand, ValueEnum};
use driver::{DriverError, FeatureQuery, FeatureSetting};
use nvme::{
    FeatureEffects, FeatureId, FeatureSelect, HostIdentifierCdw11, LogPageId, NSID_ALL, NamespaceId,
};
use serde_json::Value;
use zerocopy::little_endian::U32;

use super::report::dump;
use super::show::feature;
use super::{Device, Opened, number, with};

/// Look at features, or set one.
#[derive(Debug, Subcommand)]
pub(super) enum FeatureCommand {
    Get(GetArguments),
    Set(SetArguments),
}

/// Show a feature, or all that the device has.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples: a feature by its name, and what all of them are by default.
  vssd device feature get vfio-user:/tmp/vssd.sock temperature
  vssd device feature get vfio-user:/tmp/vssd.sock --select default")]
pub(super) struct GetArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The feature: its number, its name, or the start of it.
    #[arg(value_parser = parse)]
    feature: Option<FeatureId>,
    /// Which value.
    #[arg(long, value_enum, default_value = "current")]
    select: Select,
    /// The namespace, for features that are per namespace.
    #[arg(long, value_name = "N", default_value = "0", value_parser = number::parse::<u32>)]
    nsid: u32,
    /// What the feature takes in dword 11, such as a temperature sensor.
    #[arg(long, value_name = "DWORD", value_parser = number::parse::<u32>)]
    cdw11: Option<u32>,
    /// The size of the feature's data, where it is not known here.
    #[arg(long, value_name = "BYTES", value_parser = number::parse::<usize>)]
    bytes: Option<usize>,
    /// Print the feature's data in hexadecimal.
    #[arg(long, requires = "feature", conflicts_with = "json")]
    raw: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Set a feature.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: vssd device feature set vfio-user:/tmp/vssd.sock temperature 0x157 --save

A value that is not saved holds until the controller is reset, and every `vssd device`
command resets it.")]
pub(super) struct SetArguments {
    /// The device: vfio-user:SOCKET, or a PCI address.
    device: Device,
    /// The feature: its number, its name, or the start of it.
    #[arg(value_parser = parse)]
    feature: FeatureId,
    /// The value: dword 11.
    #[arg(value_parser = number::parse::<u32>)]
    value: u32,
    /// Dword 12.
    #[arg(long, value_name = "DWORD", default_value = "0", value_parser = number::parse::<u32>)]
    cdw12: u32,
    /// The feature's data, from a file.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The namespace, for features that are per namespace.
    #[arg(long, value_name = "N", default_value = "0", value_parser = number::parse::<u32>)]
    nsid: u32,
    /// Keep the value over resets and power cycles.
    #[arg(long)]
    save: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Select {
    /// The value in force.
    Current,
    /// The manufacturer's value.
    Default,
    /// The value that was saved.
    Saved,
    /// What can be done with the feature.
    Supported,
}

impl From<Select> for FeatureSelect {
    fn from(select: Select) -> Self {
        match select {
            Select::Current => Self::Current,
            Select::Default => Self::Default,
            Select::Saved => Self::Saved,
            Select::Supported => Self::SupportedCapabilities,
        }
    }
}

fn parse(text: &str) -> Result<FeatureId, String> {
    let named = FeatureId::NAMED.iter();
    let named = named.filter_map(|feature| Some((feature.0, feature.name()?)));
    number::find(text, "feature", named).map(FeatureId)
}

/// Runs `vssd device feature`.
pub(super) fn run(command: &FeatureCommand) -> Result<()> {
    match command {
        FeatureCommand::Get(arguments) => match arguments.feature {
            Some(feature) => get(arguments, feature),
            None => get_all(arguments),
        },
        FeatureCommand::Set(arguments) => set(arguments),
    }
}

/// A feature's dword and its data.
struct Got {
    feature: FeatureId,
    dword: u32,
    data: Vec<u8>,
}

impl GetArguments {
    fn ask(&self, device: &mut Opened, feature: FeatureId) -> Result<Got, DriverError> {
        let select = FeatureSelect::from(self.select);
        let bytes = match select {
            FeatureSelect::SupportedCapabilities => 0,
            _ => self.bytes.unwrap_or_else(|| feature::data_bytes(feature)),
        };
        let wide = HostIdentifierCdw11::new().with_exhid(feature == FeatureId::HOST_IDENTIFIER);
        let answered = device.get_feature(FeatureQuery {
            nsid: NamespaceId(self.nsid),
            select,
            cdw11: self.cdw11.unwrap_or(wide.into()),
            bytes,
            ..FeatureQuery::new(feature)
        })?;
        Ok(Got {
            feature,
            dword: answered.dword0,
            data: answered.data,
        })
    }

    fn text(&self, got: &Got) -> String {
        feature::report(got.feature, self.select.into(), got.dword, &got.data).to_text()
    }

    fn to_json(&self, got: &Got) -> Value {
        let report = feature::report(got.feature, self.select.into(), got.dword, &got.data);
        feature::to_json(&report, got.feature, got.dword)
    }
}

fn get(arguments: &GetArguments, feature: FeatureId) -> Result<()> {
    let got = with(&arguments.device, |device| {
        Ok(arguments.ask(device, feature)?)
    })?;
    if arguments.json {
        println!("{:#}", arguments.to_json(&got));
    } else if arguments.raw {
        print!("{}", dump(&got.data));
    } else {
        print!("{}", arguments.text(&got));
    }
    Ok(())
}

/// Shows all features with a name that the device answers for.
fn get_all(arguments: &GetArguments) -> Result<()> {
    let all = with(&arguments.device, |device| {
        let mut all = Vec::new();
        for feature in features(device)? {
            match arguments.ask(device, feature) {
                Ok(got) => all.push(got),
                // The device does not have it, or not like this.
                Err(DriverError::CommandFailed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(all)
    })?;
    if arguments.json {
        let all: Vec<_> = all.iter().map(|got| arguments.to_json(got)).collect();
        println!("{:#}", Value::from(all));
    } else {
        for got in &all {
            print!("{}", arguments.text(got));
        }
    }
    Ok(())
}

/// The features with a name that the device says it has; all of them where it
/// does not say. Asking for one that it lacks leaves an entry in its error log.
fn features(device: &mut Opened) -> Result<Vec<FeatureId>, DriverError> {
    let page = LogPageId::FEATURE_EFFECTS;
    let effects = match device.log_as::<[U32; 256]>(page, NSID_ALL) {
        Ok(effects) => Some(effects),
        Err(DriverError::CommandFailed { .. }) => None,
        Err(error) => return Err(error),
    };
    let has = |feature: &&FeatureId| {
        let entry = effects.and_then(|table| table.get(usize::from(feature.0)).copied());
        entry.is_none_or(|bits| FeatureEffects::from_bits(bits.get()).fsupp())
    };
    Ok(FeatureId::NAMED.iter().filter(has).copied().collect())
}

/// Whether the feature belongs to what it protects, not to the controller.
const fn outlasts_reset(feature: FeatureId) -> bool {
    matches!(
        feature,
        FeatureId::NAMESPACE_WRITE_PROTECTION
            | FeatureId::RESERVATION_PERSISTENCE
            | FeatureId::BOOT_PARTITION_WRITE_PROTECTION
    )
}

fn set(arguments: &SetArguments) -> Result<()> {
    let data = match &arguments.data {
        Some(path) => fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => Vec::new(),
    };
    let feature = arguments.feature;
    let dword = with(&arguments.device, |device| {
        Ok(device.set_feature(FeatureSetting {
            nsid: NamespaceId(arguments.nsid),
            cdw12: arguments.cdw12,
            data: &data,
            save: arguments.save,
            ..FeatureSetting::new(feature, arguments.value)
        })?)
    })?;
    println!(
        "set-feature:{:#04x} ({feature}), value:{:#010x}, result:{dword:#x}",
        feature.0, arguments.value
    );
    if !arguments.save && !outlasts_reset(feature) {
        log::info!("the value is gone with the next reset of the controller: --save keeps it");
    }
    Ok(())
}
