//! The trace, as plans with deadlines.

use std::fmt::Display;

use traces::Record;

use crate::jobs::Core;
use crate::lanes::{Place, PlaceOf, Waiting};
use crate::pace::Schedule;
use crate::plan::Planner;
use crate::{Pace, ReplayError, SkipReason};

/// Reads records ahead of their time by one command, so that the next deadline
/// is always known.
pub(crate) struct Source<I> {
    records: Option<I>,
    planner: Planner,
    place_of: PlaceOf,
    /// How many commands were read, skipped or not.
    read: u64,
    next: Option<Next>,
    schedule: Option<Schedule>,
    error: Option<ReplayError>,
}

/// The next command.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) place: Place,
    pub(crate) waiting: Waiting,
    submit_ns: u64,
}

impl<I> Source<I> {
    /// How many commands of the trace were read.
    pub(crate) const fn read(&self) -> u64 {
        self.read
    }
}

impl<I, E> Source<I>
where
    I: Iterator<Item = Result<Record, E>>,
    E: Display,
{
    /// A source that has read up to its first command.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Trace`], where the trace cannot be read that far.
    pub(crate) fn new(
        records: I,
        planner: Planner,
        place_of: PlaceOf,
        core: &mut Core,
    ) -> Result<Self, ReplayError> {
        let mut source = Self {
            records: Some(records),
            planner,
            place_of,
            read: 0,
            next: None,
            schedule: None,
            error: None,
        };
        source.advance(core);
        match source.error.take() {
            Some(error) if source.next.is_none() => Err(error),
            error => Ok(Self { error, ..source }),
        }
    }

    /// Starts the schedule: the first command is due at `start_ns`.
    pub(crate) fn start(&mut self, pace: Pace, start_ns: u64) {
        if let Some(next) = &mut self.next {
            self.schedule = Some(Schedule::new(pace, start_ns, next.submit_ns));
            next.waiting.due_ns = start_ns;
        }
    }

    /// When the next command is due; none at the end of the trace.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.next.as_ref().map(|next| next.waiting.due_ns)
    }

    /// The next command, if it is due at `now_ns`.
    pub(crate) fn take_due(&mut self, now_ns: u64, core: &mut Core) -> Option<Next> {
        if self.due_ns().is_none_or(|due_ns| due_ns > now_ns) {
            return None;
        }
        let next = self.next.take();
        self.advance(core);
        next
    }

    /// Why there is no more; none where the trace is at its end. What was read
    /// before is good.
    pub(crate) fn take_error(&mut self) -> Option<ReplayError> {
        self.error.take()
    }

    /// No more is taken from the trace. Returns the order of the command that
    /// was left, if one was.
    pub(crate) fn end(&mut self) -> Option<u64> {
        self.records = None;
        self.next.take().map(|next| next.waiting.order)
    }

    fn advance(&mut self, core: &mut Core) {
        let Some(records) = &mut self.records else {
            return;
        };
        for record in records.by_ref() {
            let (command, ranges, payload) = match record {
                Ok(Record::Command {
                    command,
                    ranges,
                    payload,
                }) => (command, ranges, payload),
                Ok(Record::Event(_) | Record::Gap(_)) => continue,
                Err(error) => {
                    let why = error.to_string();
                    self.error = Some(ReplayError::Trace { why });
                    break;
                }
            };
            let order = self.read;
            self.read += 1;
            let place = self.place_of.get(&command.queue);
            let plan = self.planner.plan(&command, &ranges);
            let (mut plan, place) = match (plan, place) {
                (Ok(plan), Some(&place)) => (plan, place),
                (Err(reason), _) => {
                    core.books.skip(&command, reason);
                    continue;
                }
                // The facts are of another trace.
                (Ok(_), None) => {
                    core.books.skip(&command, SkipReason::NoQueue);
                    continue;
                }
            };
            core.books.take(&command, plan.is_widened);
            core.pay(&mut plan, payload);
            let submit_ns = command.submit_ns;
            let complete_ns = command.completion.map(|completion| completion.complete_ns);
            let think = core.think.as_mut();
            let waits = think.map(|think| think.read(place.stream, submit_ns, complete_ns));
            let schedule = self.schedule.as_mut();
            let waiting = Waiting {
                plan,
                due_ns: schedule.map_or(0, |it| it.deadline_ns(submit_ns)),
                after: waits.and_then(|(_, after)| after),
                node: waits.map(|(node, _)| node),
                order,
                job: None,
            };
            self.next = Some(Next {
                place,
                waiting,
                submit_ns,
            });
            return;
        }
        self.records = None;
    }
}
