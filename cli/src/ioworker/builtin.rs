//! The jobs that are built in.

use anyhow::{Context as _, Result};
use clap::builder::PossibleValuesParser;

const JOBS: [(&str, &str); 6] = [
    ("jesd219-512", include_str!("builtin/jesd219-512.toml")),
    ("jesd219-4096", include_str!("builtin/jesd219-4096.toml")),
    ("fill", include_str!("builtin/fill.toml")),
    ("precondition", include_str!("builtin/precondition.toml")),
    ("four-corner", include_str!("builtin/four-corner.toml")),
    ("qos-sweep", include_str!("builtin/qos-sweep.toml")),
];

/// Their names, for the command line.
pub(super) fn names() -> PossibleValuesParser {
    JOBS.map(|(name, _)| name).into()
}

/// The job's file.
pub(super) fn text(name: &str) -> Result<&'static str> {
    let job = JOBS.iter().find(|(known, _)| *known == name);
    job.map(|(_, text)| *text).context("there is no such job")
}

#[cfg(test)]
mod tests {
    use driver::ioworker::IoSize;
    use toml::Table;

    use super::super::job::Job;
    use super::*;

    #[test]
    fn all_are_jobs_whose_tables_sum_up() {
        for (name, text) in JOBS {
            let job = Job::parse(text, name, &Table::new()).unwrap();
            let workers: Vec<_> = job.phases.iter().flat_map(|phase| &phase.workers).collect();
            assert!(!workers.is_empty(), "{name}");
            assert_eq!(job.changes_data(), name != "qos-sweep", "{name}");
            for worker in workers {
                let options = &worker.options;
                if let IoSize::Weights(weights) = &options.io_size {
                    assert_eq!(weights.values().sum::<u32>(), 100, "{name}");
                }
                let parts = &options.distribution;
                assert_eq!(parts.is_empty(), !name.starts_with("jesd219"), "{name}");
                if !parts.is_empty() {
                    assert_eq!((parts.len(), parts.iter().sum::<u32>()), (100, 10_000));
                    assert_eq!(parts.iter().take(5).sum::<u32>(), 5000, "{name}");
                    assert_eq!(parts.iter().skip(5).take(15).sum::<u32>(), 3000, "{name}");
                    assert_eq!(options.read_percentage, Some(40), "{name}");
                }
            }
        }
    }
}
