//! How traces are replayed.

use std::path::PathBuf;

use anyhow::{Result, bail};
use replayer::{AllowWrite, DataSource, Filter, Order, Pace, ReplayOptions};

use super::ReplayArguments;
use super::item::DataName;
use crate::serve::payload::PayloadChoice;

/// How traces are replayed.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    pub(super) options: ReplayOptions,
    /// Whether the user said that a real drive may be written to.
    pub(super) allow_write: bool,
    pub(super) order: Order,
    pub(super) filter: Filter,
    /// How often; none for without an end.
    pub(super) passes: Option<u64>,
    pub(super) resume: Option<PathBuf>,
    pub(super) record: Option<PathBuf>,
    pub(super) overwrite: bool,
    /// How much of what is written `record` gets.
    pub(super) payload: PayloadChoice,
    /// What writes carry, where that was said.
    data: Option<DataName>,
    pub(super) monitor: Option<PathBuf>,
}

impl Choices {
    /// At this pace, with everything else as it comes.
    pub(crate) fn at(pace: Pace) -> Self {
        let mut options = ReplayOptions::default();
        options.pace = pace;
        Self {
            options,
            allow_write: false,
            order: Order::InTurn,
            filter: Filter::default(),
            passes: Some(1),
            resume: None,
            record: None,
            overwrite: false,
            payload: PayloadChoice::None,
            data: None,
            monitor: None,
        }
    }

    pub(super) fn of(arguments: &ReplayArguments) -> Self {
        let mut choices = Self::at(arguments.pace);
        let options = &mut choices.options;
        options.iops_max = arguments.iops;
        options.mapping = arguments.map;
        options.depth = arguments.depth;
        options.queues = arguments.queues;
        options.duration = arguments.duration;
        options.stop_on_error = arguments.stop_on_error;
        options.verify = arguments.verify;
        let share = arguments.compressibility.as_ref();
        options.compressibility = share.map_or(0, |share| share.0);
        options.dedup = arguments.dedup.as_ref().map(|share| share.0);
        if arguments.data == Some(DataName::Pattern) || makes_data(arguments) {
            options.data = DataSource::Pattern;
        }
        let pairs = arguments.namespace_map.iter();
        options.namespaces = pairs.map(|pair| (pair.from, pair.to)).collect();
        choices.allow_write = arguments.allow_write;
        if arguments.merge {
            choices.order = Order::Merged;
        }
        choices.filter = filter(arguments);
        choices.passes = match (arguments.loops, arguments.duration) {
            (None, Some(_)) => None,
            (loops, _) => Some(loops.unwrap_or(1)),
        };
        choices.resume.clone_from(&arguments.resume);
        choices.record.clone_from(&arguments.record);
        choices.overwrite = arguments.overwrite;
        choices.payload = arguments.payload;
        choices.data = arguments.data;
        choices.monitor.clone_from(&arguments.monitor);
        choices
    }

    /// Whether writes are to carry what the traces have of it.
    pub(super) fn wants_payload(&self, there_is: bool) -> Result<bool> {
        if self.data == Some(DataName::Recorded) && !there_is {
            bail!(
                "--data recorded: none of the traces has what was written; record one with \
                 `vssd serve --record FILE --payload data`, or leave it out"
            );
        }
        Ok(there_is && self.options.data == DataSource::Recorded)
    }

    /// The options for a device.
    pub(super) fn options_for(&self, is_real: bool) -> ReplayOptions {
        let mut options = self.options.clone();
        options.allow_write = if is_real {
            self.allow_write.then_some(AllowWrite::UserSaidSo)
        } else {
            Some(AllowWrite::VirtualDevice)
        };
        options
    }
}

/// Whether options are given that say what data are made.
fn makes_data(arguments: &ReplayArguments) -> bool {
    arguments.verify || arguments.dedup.is_some() || arguments.compressibility.is_some()
}

fn filter(arguments: &ReplayArguments) -> Filter {
    let mut filter = Filter::default();
    if !arguments.only.is_empty() {
        filter.opcodes = Some(arguments.only.iter().map(|kind| kind.0).collect());
    }
    if !arguments.queue.is_empty() {
        let queues = arguments.queue.iter();
        filter.queues = Some(queues.map(|queue| nvme::QueueId(*queue)).collect());
    }
    if !arguments.source_namespace.is_empty() {
        let ids = arguments.source_namespace.iter();
        filter.namespaces = Some(ids.map(|id| nvme::NamespaceId(*id)).collect());
    }
    filter.from = arguments.from;
    filter.to = arguments.to;
    filter.lbas = arguments.lba.as_ref().map(|lbas| lbas.0.clone());
    filter
}
