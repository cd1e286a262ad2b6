//! A picture of two traces: a recording and its replay.

use std::path::Path;

use anyhow::Result;
use traces::Reader;
use traces::plot::{Comparison, PlotOptions};

use super::plot::bounds_of;

/// Draws `recorded` and `replayed` side by side into the PNG file `output`.
pub(crate) fn draw(
    recorded: &Reader,
    replayed: &Reader,
    options: &PlotOptions,
    output: &Path,
) -> Result<()> {
    let mut comparison = Comparison::new(options, &bounds_of(recorded)?, &bounds_of(replayed)?)?;
    for record in recorded.records() {
        comparison.add_recorded(&record?);
    }
    for record in replayed.records() {
        comparison.add_replayed(&record?);
    }
    comparison.save(output)?;
    Ok(())
}
