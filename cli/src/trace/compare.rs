//! A picture of two traces: a recording and its replay.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use nvme::QueueId;
use traces::plot::{Bounds, Comparison, PlotOptions};
use traces::{Reader, Record};

/// Draws `recorded` and `replayed` side by side into the PNG file `output`.
pub(crate) fn draw(
    recorded: &Reader,
    replayed: &Reader,
    options: &PlotOptions,
    output: &Path,
) -> Result<()> {
    let [left, right] = [recorded, replayed].map(bounds_of);
    let mut comparison = Comparison::new(options, &left?, &right?)?;
    let [mut due, mut done] = [Submissions::new(), Submissions::new()];
    for_each(recorded, |record| {
        comparison.add_recorded(record);
        note_submission(&mut due, record);
    })?;
    for_each(replayed, |record| {
        comparison.add_replayed(record);
        note_submission(&mut done, record);
    })?;
    for error_ns in pacing_errors_ns(&due, &done) {
        comparison.add_pacing_error(error_ns);
    }
    comparison.save(output)?;
    Ok(())
}

fn bounds_of(reader: &Reader) -> Result<Bounds> {
    let mut bounds = Bounds::new();
    for_each(reader, |record| bounds.observe(record))?;
    Ok(bounds)
}

/// The commands that a replay sends: what firmware and drivers do before the
/// first of them would shift one picture against the other.
fn for_each(reader: &Reader, mut see: impl FnMut(&Record)) -> Result<()> {
    for record in reader.records() {
        let record = record?;
        if matches!(&record, Record::Command { command, .. } if !command.is_admin()) {
            see(&record);
        }
    }
    Ok(())
}

/// When each queue's commands were submitted, nanoseconds of the trace's clock.
type Submissions = BTreeMap<QueueId, Vec<u64>>;

fn note_submission(queues: &mut Submissions, record: &Record) {
    if let Record::Command { command, .. } = record {
        let queue = queues.entry(command.queue).or_default();
        queue.push(command.submit_ns);
    }
}

/// How much later than when recorded each command was submitted in a replay at
/// the recorded pace, counted from the first of each side; negative is early.
/// Empty where commands cannot be told one to one: the replay used other queues,
/// split commands, or left some out.
fn pacing_errors_ns(recorded: &Submissions, replayed: &Submissions) -> Vec<i64> {
    let lengths = |queues: &Submissions| queues.values().map(Vec::len).collect::<Vec<_>>();
    let first = |queues: &Submissions| queues.values().flatten().min().copied();
    let (Some(recorded_ns), Some(replayed_ns)) = (first(recorded), first(replayed)) else {
        return Vec::new();
    };
    if lengths(recorded) != lengths(replayed) {
        return Vec::new();
    }
    let due = recorded.values().flatten().map(|ns| ns - recorded_ns);
    let done = replayed.values().flatten().map(|ns| ns - replayed_ns);
    due.zip(done)
        .map(|(due, done)| {
            let late = i128::from(done) - i128::from(due);
            i64::try_from(late).unwrap_or(i64::MAX)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queues(times: &[(u16, &[u64])]) -> Submissions {
        let queues = times.iter();
        queues.map(|&(id, ns)| (QueueId(id), ns.to_vec())).collect()
    }

    #[test]
    fn lateness_is_counted_from_the_first_command_of_each_side() {
        let recorded = queues(&[(3, &[1_000, 1_500]), (7, &[1_200])]);
        let replayed = queues(&[(1, &[90, 600]), (2, &[280])]);
        assert_eq!(pacing_errors_ns(&recorded, &replayed), [0, 10, -10]);
    }

    #[test]
    fn commands_that_do_not_pair_have_no_lateness() {
        let recorded = queues(&[(1, &[0, 5])]);
        let split = queues(&[(1, &[0, 5, 6])]);
        assert!(pacing_errors_ns(&recorded, &split).is_empty());
        assert!(pacing_errors_ns(&recorded, &queues(&[])).is_empty());
    }
}
