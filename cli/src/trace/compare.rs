//! A picture of two traces: a recording and its replay.

use std::path::Path;

use anyhow::Result;
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
    for_each(recorded, |record| comparison.add_recorded(record))?;
    for_each(replayed, |record| comparison.add_replayed(record))?;
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
