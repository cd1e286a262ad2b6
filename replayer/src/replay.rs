//! A replay, from its parts to its report.

use std::fmt::Display;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use driver::transport::Transport;
use driver::{Controller, NamespaceInfo};
use traces::{Clock, Record, Tap};

use crate::books::Books;
use crate::buffers::Buffers;
use crate::check::Checks;
use crate::content::Content;
use crate::jobs::{Core, Jobs};
use crate::lanes::{Lane, Layout};
use crate::pace::Cap;
use crate::pace::divide;
use crate::plan::Planner;
use crate::report::{End, Report};
use crate::run::{Run, State};
use crate::source::Source;
use crate::target::address_maps;
use crate::think::Think;
use crate::{Pace, Reached, ReplayError, ReplayOptions, TimerJitter, TraceFacts};

/// Where a replay stands, told about ten times a second and at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Recorded commands that are dealt with: replayed or skipped.
    pub done: u64,
    /// Recorded commands in the trace.
    pub total: u64,
    /// Commands that failed and had not failed alike when they were recorded.
    pub failed: u64,
    /// Since the start, nanoseconds.
    pub elapsed_ns: u64,
    /// For how long the oldest command that is due has waited for a place in
    /// its queue, nanoseconds; 0 where none waits, and at pace `max`.
    pub lag_ns: u64,
    /// Commands in flight.
    pub in_flight: usize,
}

/// A replay that is about to be run.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use driver::transport::vfio_user::VfioUser;
/// use driver::{Controller, ControllerOptions};
/// use replayer::{AllowWrite, Pace, Replay, ReplayOptions, TraceFacts};
/// use traces::{MonotonicClock, Reader};
///
/// let trace = Reader::open("day.vtr")?;
/// let facts = TraceFacts::scan(trace.header(), trace.records())?;
/// let clock = MonotonicClock::start();
/// let transport = VfioUser::connect("/tmp/vssd.sock".as_ref())?;
/// let mut controller = Controller::initialise(transport, ControllerOptions::default(), clock)?;
///
/// let mut options = ReplayOptions::default();
/// options.pace = "2x".parse()?;
/// options.allow_write = Some(AllowWrite::VirtualDevice);
/// let report = Replay::new(&facts, options).run_ahead(&mut controller, &clock, trace.records())?;
/// println!("{report}");
/// controller.shutdown()?;
/// # Ok(())
/// # }
/// ```
pub struct Replay<'r, P: Tap = ()> {
    facts: &'r TraceFacts,
    options: ReplayOptions,
    tap: P,
    stop: Option<&'r AtomicBool>,
    progress: Option<&'r mut dyn FnMut(&Progress)>,
    ready: Option<&'r mut dyn FnMut()>,
    timer: Option<TimerJitter>,
}

impl<P: Tap> std::fmt::Debug for Replay<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay")
            .field("facts", &self.facts)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl<'r> Replay<'r> {
    /// A replay of the trace that `facts` were taken from.
    #[must_use]
    pub fn new(facts: &'r TraceFacts, options: ReplayOptions) -> Self {
        Self {
            facts,
            options,
            tap: (),
            stop: None,
            progress: None,
            ready: None,
            timer: None,
        }
    }
}

impl<'r, P: Tap> Replay<'r, P> {
    /// Shows every command of the replay to `tap`, with the times of the
    /// host: what `--record` of a replay is. Pass `&mut tap` to keep it.
    #[must_use]
    pub fn with_tap<Q: Tap>(self, tap: Q) -> Replay<'r, Q> {
        Replay {
            facts: self.facts,
            options: self.options,
            tap,
            stop: self.stop,
            progress: self.progress,
            ready: self.ready,
            timer: self.timer,
        }
    }

    /// Ends the replay early, with a report of what was done, once `stop` is
    /// true.
    #[must_use]
    pub const fn stop_on(mut self, stop: &'r AtomicBool) -> Self {
        self.stop = Some(stop);
        self
    }

    /// Calls `progress` at most about ten times a second, and at the end. It
    /// is called between commands: it should be quick.
    #[must_use]
    pub fn on_progress(mut self, progress: &'r mut dyn FnMut(&Progress)) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Calls `ready` when all is set up, right before the first command is
    /// due: replays that are to start together can wait for each other there.
    #[must_use]
    pub fn on_ready(mut self, ready: &'r mut dyn FnMut()) -> Self {
        self.ready = Some(ready);
        self
    }

    /// What the machine's timer is worth, for the report.
    #[must_use]
    pub const fn with_timer(mut self, timer: TimerJitter) -> Self {
        self.timer = Some(timer);
        self
    }

    /// Replays `records`, which are in submission order, to `controller`, in
    /// the time of `clock`. Blocks until it is over; the queue pairs that it
    /// makes are gone then.
    ///
    /// What goes wrong once commands are on their way is in the report, which
    /// tells of what was done until then ([`End::Failed`]). If commands are
    /// still in flight then, the controller is reset, so that the device lets
    /// go of their memory.
    ///
    /// # Errors
    ///
    /// Before any I/O command is sent: [`ReplayError::Empty`],
    /// [`ReplayError::WritesNotAllowed`], [`ReplayError::BeyondEnd`],
    /// [`ReplayError::NoNamespace`], [`ReplayError::NamespaceMissing`],
    /// [`ReplayError::Metadata`], [`ReplayError::Trace`], and
    /// [`ReplayError::Driver`] where queues or memory cannot be had.
    pub fn run<T, C, K, E>(
        self,
        controller: &mut Controller<T, C>,
        clock: &K,
        records: impl IntoIterator<Item = Result<Record, E>>,
    ) -> Result<Report, ReplayError>
    where
        T: Transport,
        C: Clock,
        K: Clock,
        E: Display,
    {
        let Self {
            facts,
            options,
            tap,
            stop,
            progress,
            ready,
            timer,
        } = self;
        check(facts, &options)?;
        if options.allow_write.is_none() && facts.writes() > 0 {
            return Err(ReplayError::WritesNotAllowed {
                writes: facts.writes(),
            });
        }
        let info = controller.info().clone();
        let maps = address_maps(facts, &info, &options)?;
        let transfer = transfer_bytes(facts, &info.namespaces);
        let transfer = info.mdts_bytes.map_or(transfer, |mdts| transfer.min(mdts));
        let layout = Layout::new(facts, &options, info.queue_pairs_max, info.depth_max);
        let buffers = Buffers::allocate(controller, transfer, layout.in_flight_max(), &options)?;
        let sizes = (transfer, layout.in_flight_max());
        let content = Content::new(controller, facts, &options, sizes)?;
        let mut core = Core {
            checks: None,
            content,
            cap: Cap::new(options.iops_max),
            think: (options.pace == Pace::Think).then(|| Think::new(facts.queues.len())),
            books: Books::new(facts),
            buffers,
            jobs: Jobs::new(layout.in_flight_max() + facts.queues.len()),
            stop_on_error: options.stop_on_error,
            failure: None,
        };
        let planner = Planner::new(maps.clone(), &info, transfer);
        let place_of = layout.place_of.clone();
        let source = Source::new(records.into_iter(), planner, place_of, &mut core)?;
        let mut lanes = layout.create(controller, transfer, tap)?;
        if options.verify {
            let checks = Checks::new(controller, facts, &maps, &lanes, (transfer, &options));
            if checks.is_err() {
                // The first error is the one to report.
                put_in_order(controller, &mut lanes);
            }
            core.checks = Some(checks?);
        }
        let never = AtomicBool::new(false);
        let mut silent = |_: &Progress| {};
        let mut run = Run {
            controller,
            clock,
            options: &options,
            total: facts.commands,
            stop: stop.unwrap_or(&never),
            progress: progress.unwrap_or(&mut silent),
            source,
            lanes,
            core,
            state: State::default(),
        };
        if let Some(ready) = ready {
            ready();
        }
        let end = run.run();
        let mut report = close(run, end);
        report.timer = timer;
        report.note(
            facts,
            maps.iter().map(|(&recorded, map)| (recorded, map.nsid())),
        );
        Ok(report)
    }

    /// As [`Replay::run`], with the trace read ahead by a thread of its own:
    /// to decode a block of it takes long enough to make commands late.
    ///
    /// # Errors
    ///
    /// Those of [`Replay::run`].
    pub fn run_ahead<T, C, K, I, E>(
        self,
        controller: &mut Controller<T, C>,
        clock: &K,
        records: I,
    ) -> Result<Report, ReplayError>
    where
        T: Transport,
        C: Clock,
        K: Clock,
        I: IntoIterator<Item = Result<Record, E>> + Send,
        E: Display + Send,
    {
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(CHUNKS_AHEAD);
            scope.spawn(move || read_ahead(records, &sender));
            // The thread ends once the receiver is gone.
            self.run(controller, clock, receiver.into_iter().flatten())
        })
    }
}

/// Whether a trace with these facts can be replayed at all.
pub(crate) fn check(facts: &TraceFacts, options: &ReplayOptions) -> Result<(), ReplayError> {
    if facts.io_commands() == 0 {
        return Err(ReplayError::Empty);
    }
    match options.pace {
        Pace::Think if facts.timed == 0 => Err(ReplayError::NoCompletions),
        Pace::Closed if options.depth.is_none() => Err(ReplayError::NoDepth),
        _ => Ok(()),
    }
}

/// Records that are handed from thread to thread at a time.
const CHUNK: usize = 1024;
/// And bytes of what they wrote.
const CHUNK_BYTES: usize = 4 << 20;
/// Chunks that are read ahead: together a block of a trace.
const CHUNKS_AHEAD: usize = 16;

/// Sends all of `records`, as long as anybody wants them.
fn read_ahead<E>(
    records: impl IntoIterator<Item = Result<Record, E>>,
    sender: &SyncSender<Vec<Result<Record, E>>>,
) {
    let mut records = records.into_iter();
    loop {
        let mut chunk = Vec::new();
        let mut weight = 0;
        for record in records.by_ref() {
            weight += weigh(&record);
            chunk.push(record);
            if chunk.len() >= CHUNK || weight >= CHUNK_BYTES {
                break;
            }
        }
        if chunk.is_empty() || sender.send(chunk).is_err() {
            return;
        }
    }
}

/// What a record takes in memory beside itself, bytes.
fn weigh<E>(record: &Result<Record, E>) -> usize {
    match record {
        Ok(Record::Command { payload, .. }) => payload.as_ref().map_or(0, |it| it.weight()),
        _ => 0,
    }
}

/// The longest transfer that will be needed, bytes, in whole blocks of every
/// namespace.
fn transfer_bytes(facts: &TraceFacts, namespaces: &[NamespaceInfo]) -> usize {
    const LEAST: u64 = 4096;
    let block = namespaces.iter().map(|namespace| namespace.block_bytes);
    let block = u64::from(block.max().unwrap_or(0)).max(LEAST);
    let mut bytes = facts.transfer_bytes_max.max(1).next_multiple_of(block);
    let recorded = facts.namespaces.values();
    let recorded = recorded.map(|namespace| u64::from(namespace.block_bytes));
    if recorded.min().is_some_and(|recorded| recorded < block) {
        // What does not start on a block of the target reaches into one more.
        bytes = bytes.saturating_add(block);
    }
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Puts the device in order and makes the report.
fn close<T, C, K, P, I>(run: Run<'_, T, C, K, P, I>, result: Result<(), ReplayError>) -> Report
where
    T: Transport,
    C: Clock,
    P: Tap,
{
    let Run {
        controller,
        options,
        mut lanes,
        mut core,
        state,
        source,
        ..
    } = run;
    let mut left = state.left;
    left.extend(core.jobs.unfinished());
    // Widens.
    core.books.commands.unfinished += core.jobs.count() as u64;
    let unfinished = core.books.commands.unfinished;
    let reached = Reached::all_but(source.read(), left);
    let queues: Vec<_> = lanes.iter().map(Lane::report).collect();
    let verified = core.checks.as_ref().map(Checks::report);
    let (mut notes, is_in_order) = put_in_order(controller, &mut lanes);
    if !is_in_order {
        // The device may still write to them: nobody else is to have them.
        std::mem::forget((core.buffers, core.checks, core.content));
    }
    let paced = options.pace.has_deadlines();
    let books = core.books;
    notes.extend(books.payload_note());
    let replayed_ns = books.last_complete_ns.saturating_sub(state.start_ns);
    let end = match result {
        Err(error) => End::Failed(error.to_string()),
        Ok(()) if unfinished > 0 => End::Stopped,
        Ok(()) => End::Complete,
    };
    let is_over = end == End::Complete && !state.timed_out;
    if state.timed_out {
        notes.push("It ended when its time was over, as it was told.".to_owned());
    }
    let report = Report {
        end,
        pace: options.pace.to_string(),
        iops_max: options.iops_max.map(NonZeroU32::get),
        mapping: options.mapping,
        commands: books.commands,
        sent: books.sent,
        opcodes: books.opcodes(),
        errors: books.errors(),
        skipped: books.skipped(),
        pacing: books.pacing().filter(|_| paced),
        stalls: paced.then_some(books.stalls),
        depth: books.depth_report(replayed_ns),
        drift_ns: drift_ns(options, books.recorded_span_ns(), replayed_ns)
            .filter(|_| unfinished == 0 && !state.timed_out),
        timer: None,
        verified,
        resume_at: (!is_over).then_some(reached),
        queues,
        recorded_ns: books.recorded_span_ns(),
        replayed_ns,
        read_bytes: books.read_bytes,
        written_bytes: books.written_bytes,
        series: books.series,
        notes,
    };
    drop(source);
    report
}

/// Deletes the queues, or resets a device that still has commands. Returns what
/// there is to say of that, and whether the device has let go of all memory.
fn put_in_order<T: Transport, C: Clock, P: Tap>(
    controller: &mut Controller<T, C>,
    lanes: &mut [Lane<P>],
) -> (Vec<String>, bool) {
    let mut notes = Vec::new();
    let in_flight = lanes.iter().any(|lane| lane.pair.in_flight() > 0);
    let cleared = if in_flight {
        notes.push("Commands were in flight at the end: the controller was reset.".to_owned());
        controller.reset()
    } else {
        lanes
            .iter_mut()
            .filter(|lane| !lane.pair.is_closed())
            .try_for_each(|lane| controller.delete_queue_pair(lane.pair.id()))
    };
    if let Err(error) = &cleared {
        notes.push(format!("The device could not be put in order: {error}."));
    }
    (notes, cleared.is_ok() || !in_flight)
}

/// How much longer than the trace at this pace the replay took.
fn drift_ns(options: &ReplayOptions, recorded_ns: u64, replayed_ns: u64) -> Option<i64> {
    let due_ns = match options.pace {
        Pace::Recorded | Pace::Think => recorded_ns,
        Pace::Scaled(factor) => divide(recorded_ns, factor),
        Pace::Max | Pace::Closed => return None,
    };
    let drift = i128::from(replayed_ns) - i128::from(due_ns);
    i64::try_from(drift).ok()
}
