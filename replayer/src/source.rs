//! The trace, as plans with deadlines.

use std::fmt::Display;

use traces::Record;

use crate::books::Books;
use crate::lanes::LaneOf;
use crate::pace::Schedule;
use crate::plan::{Plan, Planner};
use crate::{Pace, ReplayError, SkipReason};

/// Reads records ahead of their time by one command, so that the next deadline
/// is always known.
pub(crate) struct Source<I> {
    records: Option<I>,
    planner: Planner,
    lane_of: LaneOf,
    next: Option<Next>,
    schedule: Option<Schedule>,
    error: Option<ReplayError>,
}

/// The next command.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) plan: Plan,
    pub(crate) lane: usize,
    pub(crate) due_ns: u64,
    submit_ns: u64,
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
        lane_of: LaneOf,
        books: &mut Books,
    ) -> Result<Self, ReplayError> {
        let mut source = Self {
            records: Some(records),
            planner,
            lane_of,
            next: None,
            schedule: None,
            error: None,
        };
        source.advance(books);
        match source.error.take() {
            Some(error) if source.next.is_none() => Err(error),
            error => Ok(Self { error, ..source }),
        }
    }

    /// Starts the schedule: the first command is due at `start_ns`.
    pub(crate) fn start(&mut self, pace: Pace, start_ns: u64) {
        if let Some(next) = &mut self.next {
            self.schedule = Some(Schedule::new(pace, start_ns, next.submit_ns));
            next.due_ns = start_ns;
        }
    }

    /// When the next command is due; none at the end of the trace.
    pub(crate) fn due_ns(&self) -> Option<u64> {
        self.next.as_ref().map(|next| next.due_ns)
    }

    /// The next command, if it is due at `now_ns`.
    pub(crate) fn take_due(&mut self, now_ns: u64, books: &mut Books) -> Option<Next> {
        if self.due_ns().is_none_or(|due_ns| due_ns > now_ns) {
            return None;
        }
        let next = self.next.take();
        self.advance(books);
        next
    }

    /// Why there is no more; none where the trace is at its end. What was read
    /// before is good.
    pub(crate) fn take_error(&mut self) -> Option<ReplayError> {
        self.error.take()
    }

    /// No more is taken from the trace. Returns whether a command was left.
    pub(crate) fn end(&mut self) -> bool {
        self.records = None;
        self.next.take().is_some()
    }

    fn advance(&mut self, books: &mut Books) {
        let Some(records) = &mut self.records else {
            return;
        };
        for record in records.by_ref() {
            let (command, ranges) = match record {
                Ok(Record::Command { command, ranges }) => (command, ranges),
                Ok(Record::Event(_) | Record::Gap(_)) => continue,
                Err(error) => {
                    let why = error.to_string();
                    self.error = Some(ReplayError::Trace { why });
                    break;
                }
            };
            let lane = self.lane_of.get(&command.queue);
            let plan = self.planner.plan(&command, &ranges);
            match (plan, lane) {
                (Ok(plan), Some(&lane)) => {
                    books.take(&command);
                    let schedule = self.schedule.as_mut();
                    self.next = Some(Next {
                        plan,
                        lane,
                        due_ns: schedule.map_or(0, |it| it.deadline_ns(command.submit_ns)),
                        submit_ns: command.submit_ns,
                    });
                    return;
                }
                (Err(reason), _) => books.skip(&command, reason),
                // The facts are of another trace.
                (Ok(_), None) => books.skip(&command, SkipReason::NoQueue),
            }
        }
        self.records = None;
    }
}
