//! Job files: tables of workers.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use driver::ioworker::IoworkerOptions;
use serde::Deserialize;
use toml::{Table, Value};

/// Workers of one table at most: more than any device has queues for.
const WORKERS_MAX: u16 = 4096;

/// A job: phases one after the other.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: String,
    pub(super) phases: Vec<Phase>,
}

/// Workers that work at the same time.
#[derive(Debug)]
pub(super) struct Phase {
    pub(super) name: String,
    pub(super) workers: Vec<Worker>,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: String,
    pub(super) options: IoworkerOptions,
}

/// A job file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// What all workers have, but for what they say themselves.
    #[serde(default)]
    defaults: Table,
    #[serde(default)]
    worker: Vec<Table>,
}

/// The keys of a worker that are about the job.
#[derive(Debug, Deserialize)]
struct Place {
    name: Option<String>,
    #[serde(default)]
    phase: String,
    #[serde(default = "one")]
    workers: u16,
}

const fn one() -> u16 {
    1
}

impl Job {
    /// The job in a file; `keys` replace those of all its workers.
    pub(super) fn read(path: &Path, keys: &Table) -> Result<Self> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        Self::parse(&text, &name, keys)
    }

    /// The job in `text`, which people know as `name`.
    pub(super) fn parse(text: &str, name: &str, keys: &Table) -> Result<Self> {
        let written: Written = toml::from_str(text).with_context(|| name.to_owned())?;
        if written.worker.is_empty() {
            bail!("{name}: it has no [[worker]] table, so there is nothing to do");
        }
        let mut job = Self {
            name: name.to_owned(),
            phases: Vec::new(),
        };
        for (number, worker) in (1..).zip(written.worker) {
            let mut table = written.defaults.clone();
            table.extend(worker);
            table.extend(keys.clone());
            job.add(number, table)
                .with_context(|| format!("{name}, worker {number}"))?;
        }
        Ok(job)
    }

    fn add(&mut self, number: u32, mut table: Table) -> Result<()> {
        let ends = ["time", "io_count", "passes", "io_sequence"];
        if !ends.iter().any(|end| table.contains_key(*end)) {
            table.insert("time".into(), Value::Integer(10));
        }
        let mut about = Table::new();
        for key in ["name", "phase", "workers"] {
            about.extend(table.remove_entry(key));
        }
        let place: Place = about.try_into()?;
        if place.workers == 0 || place.workers > WORKERS_MAX {
            bail!("workers: {}: choose 1 to {WORKERS_MAX}", place.workers);
        }
        let options: IoworkerOptions = table.try_into()?;
        let index = self
            .phases
            .iter()
            .position(|phase| phase.name == place.phase);
        if index.is_none() {
            self.phases.push(Phase {
                name: place.phase,
                workers: Vec::new(),
            });
        }
        let last = self.phases.len() - 1;
        let Some(phase) = self.phases.get_mut(index.unwrap_or(last)) else {
            return Ok(());
        };
        let name = place.name.unwrap_or_else(|| format!("worker {number}"));
        for copy in 0..place.workers {
            let mut options = options.clone();
            options.seed = options.seed.wrapping_add(copy.into());
            phase.workers.push(Worker {
                name: match place.workers {
                    1 => name.clone(),
                    _ => format!("{name}.{}", copy + 1),
                },
                options,
            });
        }
        Ok(())
    }

    /// Whether it changes what is on the device.
    pub(super) fn changes_data(&self) -> bool {
        let workers = self.phases.iter().flat_map(|phase| &phase.workers);
        workers
            .into_iter()
            .any(|worker| worker.options.changes_data())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, keys: &str) -> Result<Job> {
        Job::parse(text, "a job", &keys.parse().unwrap())
    }

    #[test]
    fn phases_follow_and_workers_multiply() {
        let text = "defaults = { qdepth = 7 }\n\
            [[worker]]\nphase = \"a\"\nworkers = 3\nname = \"w\"\n\
            [[worker]]\nphase = \"b\"\nqdepth = 9\nio_count = 5\n\
            [[worker]]\nphase = \"a\"\nread_percentage = 0";
        let job = parse(text, "seed = 40").unwrap();
        let phases: Vec<_> = job
            .phases
            .iter()
            .map(|p| (p.name.as_str(), p.workers.len()))
            .collect();
        assert_eq!(phases, [("a", 4), ("b", 1)]);
        let first = &job.phases[0].workers;
        assert_eq!(
            first.iter().map(|w| w.options.seed).collect::<Vec<_>>(),
            [40, 41, 42, 40]
        );
        assert_eq!(
            (first[1].name.as_str(), first[1].options.qdepth),
            ("w.2", 7)
        );
        let second = &job.phases[1].workers[0].options;
        assert_eq!(
            (second.qdepth, second.io_count, second.time),
            (9, Some(5), None)
        );
        assert!(job.changes_data());
        assert!(!parse("[[worker]]", "").unwrap().changes_data());
    }

    #[test]
    fn what_is_no_job_is_said_in_words() {
        for (text, word) in [
            ("", "[[worker]]"),
            ("[[worker]]\nio_sice = 4", "io_sice"),
            ("[[worker]]\nworkers = 0", "workers"),
            ("[[wroker]]", "wroker"),
        ] {
            let error = crate::terminal::describe(&parse(text, "").unwrap_err());
            assert!(error.contains(word) && error.contains("a job"), "{error}");
        }
    }
}
