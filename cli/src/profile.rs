//! `vssd profile`: what drive a virtual SSD can be.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use vssd::profile::{BUILT_IN, Profile, ProfileError};

use crate::Answer;

/// List, print and check profiles: what drive a virtual SSD is.
#[derive(Debug, Args)]
#[command(after_help = "\
Example: make a drive of your own, and serve it.
  vssd profile qemu > my.toml
  vssd profile --check my.toml
  vssd serve disk.img --create 64G --profile my.toml

`vssd device profile DEVICE` takes a profile from a drive.")]
pub(crate) struct ProfileArguments {
    /// Print this built-in profile, a TOML file with comments; without it, list
    /// them.
    name: Option<String>,
    /// Say whether a file is a profile, and what drive it makes.
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    check: Option<PathBuf>,
}

/// Runs `vssd profile`.
pub(crate) fn run(arguments: &ProfileArguments) -> Result<Answer> {
    if let Some(path) = &arguments.check {
        return match Profile::load(path) {
            Ok(profile) => {
                println!("{} is a profile: {}", path.display(), in_a_line(&profile));
                Ok(Answer::Yes)
            }
            Err(error @ ProfileError::Read { .. }) => Err(error.into()),
            Err(error) => {
                println!("{error}");
                Ok(Answer::No)
            }
        };
    }
    match &arguments.name {
        Some(name) => match Profile::built_in(name) {
            Some(built_in) => print!("{}", built_in.toml),
            None => bail!(
                "there is no built-in profile {name}, but {}",
                BUILT_IN.map(|built_in| built_in.name).join(", ")
            ),
        },
        None => {
            for built_in in BUILT_IN {
                println!("{:<12} {}", built_in.name, built_in.summary);
            }
        }
    }
    Ok(Answer::Yes)
}

fn in_a_line(profile: &Profile) -> String {
    format!(
        "{:?}, up to {} queue pairs of {} entries and {} namespaces, {} LBA formats, {} power states",
        profile.identity.model,
        profile.limits.queue_pairs_max,
        profile.limits.queue_entries_max,
        profile.limits.namespaces_max,
        profile.format.len(),
        profile.power.state.len()
    )
}
