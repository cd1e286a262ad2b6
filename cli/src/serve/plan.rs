//! `--record` and what goes with it: where sessions are recorded, and how.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use traces::Resolution;

use super::payload::PayloadChoice;
use crate::recording;
use crate::trace::parse_resolution;

/// How sessions are recorded.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Recording")]
pub(super) struct RecordArguments {
    /// Record every command into this trace.
    #[arg(long, value_name = "FILE")]
    pub(super) record: Option<PathBuf>,
    /// Overwrite a trace that exists.
    #[arg(long, requires = "record")]
    overwrite: bool,
    /// Keep traces that exist: record into the next free one of day.vtr, day-2.vtr, ...
    #[arg(long, requires = "record", conflicts_with = "overwrite")]
    keep: bool,
    /// Keep times to 1ns, 100ns or 1us: the coarser, the smaller the trace.
    #[arg(long, value_name = "TIME", requires = "record", default_value = "1ns",
          value_parser = parse_resolution)]
    resolution: Resolution,
    /// Record what is written, too: hashes of its blocks, or the data.
    #[arg(long, value_name = "KIND", requires = "record", default_value = "none")]
    payload: PayloadChoice,
    /// Say something about the recording, such as os=windows11; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", requires = "record")]
    pub(super) label: Vec<Label>,
}

impl RecordArguments {
    /// Into `record`, if anywhere, over what is there.
    pub(super) fn over(record: Option<PathBuf>) -> Self {
        Self {
            record,
            overwrite: true,
            ..Self::default()
        }
    }

    /// What that comes to; none where nothing is recorded.
    pub(super) fn plan(&self) -> Option<RecordPlan> {
        let path = self.record.clone()?;
        Some(RecordPlan {
            path,
            existing: if self.keep {
                Existing::Keep
            } else {
                Existing::from_overwrite(self.overwrite)
            },
            resolution: self.resolution,
            payload: self.payload,
            labels: self.label.clone(),
        })
    }
}

/// A `--label`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// Left of the equals sign.
    pub(crate) name: String,
    /// Right of it.
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err("write NAME=VALUE, such as os=windows11".into()),
        }
    }
}

/// What happens to traces that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// The server does not start over the first one; later sessions take the next
    /// number that is free.
    Refuse,
    /// They are overwritten.
    Overwrite,
    /// They stay: each session takes the next number that is free.
    Keep,
}

impl Existing {
    pub(super) const fn from_overwrite(overwrite: bool) -> Self {
        if overwrite {
            Self::Overwrite
        } else {
            Self::Refuse
        }
    }
}

/// Where recordings go.
#[derive(Clone, Debug)]
pub(crate) struct RecordPlan {
    /// The first session's file; later ones get a number.
    pub(crate) path: PathBuf,
    pub(crate) existing: Existing,
    /// How exactly times are kept.
    pub(crate) resolution: Resolution,
    /// How much of what is written is recorded.
    pub(crate) payload: PayloadChoice,
    /// What the user says of the recording.
    pub(crate) labels: Vec<Label>,
}

impl RecordPlan {
    /// The file of the session after session `number`, and that one's number.
    pub(super) fn next_after(&self, number: usize) -> (PathBuf, usize) {
        let paths = (number + 1..).map(|number| (recording::numbered(&self.path, number), number));
        let is_free =
            |(path, _): &(PathBuf, usize)| self.existing == Existing::Overwrite || !path.exists();
        let mut free = paths.filter(is_free);
        // There are more numbers than files in a directory.
        free.next().unwrap_or_else(|| (self.path.clone(), number))
    }

    /// Says early what would otherwise be found when a guest attaches.
    pub(crate) fn check(&self) -> Result<()> {
        recording::check(&self.path, self.existing != Existing::Refuse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_that_are_there_stay() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut plan = RecordPlan {
            path: at("day.vtr"),
            existing: Existing::Refuse,
            resolution: Resolution::default(),
            payload: PayloadChoice::None,
            labels: Vec::new(),
        };
        for there in ["day.vtr", "day-2.vtr", "day-4.vtr"] {
            std::fs::write(at(there), "").unwrap();
        }
        plan.check().unwrap_err();
        for existing in [Existing::Refuse, Existing::Keep] {
            plan.existing = existing;
            assert_eq!(plan.next_after(0), (at("day-3.vtr"), 3));
            assert_eq!(plan.next_after(3), (at("day-5.vtr"), 5));
        }
        plan.check().unwrap();
        plan.existing = Existing::Overwrite;
        assert_eq!(plan.next_after(0), (at("day.vtr"), 1));
        assert_eq!(plan.next_after(1), (at("day-2.vtr"), 2));
        plan.check().unwrap();
    }
}
