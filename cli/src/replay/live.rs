//! How it goes, while it goes.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use replayer::{Position, Progress};

use super::go::Work;
use crate::device::Device;
use crate::trace::duration;

/// A line on a terminal; nothing where standard error is none.
#[derive(Clone, Debug)]
pub(super) struct Live {
    bar: ProgressBar,
}

impl Live {
    /// The line of a replay of `work`, one of several where it is told whose.
    pub(super) fn new(
        work: &Work<'_>,
        from: &Position,
        whose: Option<(&MultiProgress, &Device)>,
    ) -> Self {
        let done = from.commands(work.pass_commands());
        let has_end = work.choices.passes.is_some();
        let bar = if has_end {
            ProgressBar::new(work.facts.commands.saturating_sub(done))
        } else {
            ProgressBar::no_length()
        };
        let template = if has_end {
            "{prefix}[{bar:24}] {human_pos}/{human_len}  {per_sec}  {msg}  {eta} left"
        } else {
            "{prefix}{spinner} {human_pos} commands  {per_sec}  {msg}  {elapsed}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        let bar = match whose {
            None => bar,
            Some((bars, device)) => {
                bar.set_prefix(format!("{device} "));
                bars.add(bar)
            }
        };
        Self { bar }
    }

    pub(super) fn show(&self, progress: &Progress) {
        self.bar.set_position(progress.done);
        self.bar.set_message(message(progress));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn message(progress: &Progress) -> String {
    let mut text = format!("{} in flight", progress.in_flight);
    if progress.lag_ns > 0 {
        text += &format!(", {} behind", duration(progress.lag_ns));
    }
    if progress.failed > 0 {
        let plural = if progress.failed == 1 { "" } else { "s" };
        text += &format!(", {} error{plural}", progress.failed);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_of_what_is_wrong_and_only_then() {
        let mut progress = Progress::default();
        progress.in_flight = 3;
        assert_eq!(message(&progress), "3 in flight");
        (progress.lag_ns, progress.failed) = (1_420_000, 1);
        assert_eq!(message(&progress), "3 in flight, 1.42ms behind, 1 error");
    }
}
