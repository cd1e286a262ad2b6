//! Options of the sockets that guests attach to, and of the threads behind them.

use std::fs;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use vssd::front::Options;
use vssd::lanes::LanePolicy;
use vssd::worker::IdlePolicy;

/// Where groups have their numbers.
const GROUPS: &str = "/etc/group";

/// When a thread that serves a guest sleeps.
//
// The variants have no text of their own, as `--help` would be twice as long with
// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Poll {
    Busy,
    #[default]
    Adaptive,
    Interrupt,
}

/// How guests are served.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Sockets and threads")]
pub(super) struct SocketArguments {
    /// When to sleep: never (busy: the lowest latency, for a whole core), after a while
    /// without a command (adaptive), or until the next one comes (interrupt: the fewest
    /// cycles; an NVMe guest cannot map its doorbells then, and each is a message).
    #[arg(long, value_name = "MODE", default_value = "adaptive")]
    poll: Poll,
    /// Serve with so many threads, where the guest keeps one busy by several queues.
    /// With --poll busy all of them serve all the time.
    #[arg(long, value_name = "COUNT", default_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=64))]
    workers: u16,
    /// Serve on this core only; with more workers, the core of each.
    #[arg(long, value_name = "NUMBER,...", value_delimiter = ',')]
    core: Vec<usize>,
    /// Permissions of the sockets, in octal; whoever may write may attach.
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = parse_mode)]
    socket_mode: u32,
    /// Give the sockets to this group, such as kvm, by name or number.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
}

/// The same, understood.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets {
    pub(super) options: Options,
    /// Threads that serve beside the first, and when.
    pub(super) more_workers: usize,
    pub(super) lanes: LanePolicy,
    /// The core of each thread.
    cores: Arc<[usize]>,
}

impl SocketArguments {
    /// Looks up what has a name.
    pub(super) fn understand(&self) -> Result<Sockets> {
        let idle = match self.poll {
            Poll::Busy => IdlePolicy::BUSY,
            Poll::Adaptive => IdlePolicy::default(),
            Poll::Interrupt => IdlePolicy::INTERRUPT,
        };
        if self.core.len() > usize::from(self.workers) {
            bail!(
                "--core names {} cores, and one thread runs on each: give --workers {}",
                self.core.len(),
                self.core.len()
            );
        }
        if !self.core.is_empty() {
            let allowed = sched_getaffinity(None).context("cannot ask which cores there are")?;
            let barred = |core: &&usize| **core >= CpuSet::MAX_CPU || !allowed.is_set(**core);
            if let Some(core) = self.core.iter().find(barred) {
                bail!(
                    "--core {core}: this process may not run there; `nproc` tells how many cores \
                     there are, `taskset -p $$` which are allowed"
                );
            }
        }
        Ok(Sockets {
            options: Options {
                mode: self.socket_mode,
                group: self.socket_group.as_deref().map(group).transpose()?,
                idle,
                trap_doorbells: self.poll == Poll::Interrupt,
            },
            more_workers: usize::from(self.workers) - 1,
            lanes: if self.poll == Poll::Busy {
                LanePolicy::ALWAYS
            } else {
                LanePolicy::default()
            },
            cores: self.core.as_slice().into(),
        })
    }
}

impl Sockets {
    /// Has the calling thread, one of those that serve, run where it is to.
    pub(super) fn pin(&self, worker: usize) {
        let Some(&core) = self.cores.get(worker) else {
            return;
        };
        let mut set = CpuSet::new();
        set.set(core);
        if let Err(error) = sched_setaffinity(None, &set) {
            log::warn!("cannot run on core {core} only: {error}");
        }
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "up to three octal digits, such as 0660".to_owned())
}

/// A group, by name or number. The C library's look-up is not for a static program:
/// it loads the modules of the machine, which may crash it.
fn group(text: &str) -> Result<u32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string(GROUPS)
        .with_context(|| format!("--socket-group {text}: cannot read {GROUPS}; give its number"))?;
    number_of(text, &groups).ok_or_else(|| {
        anyhow!(
            "--socket-group {text}: there is no such group in {GROUPS}; `getent group` lists \
             all, with the number that may be given instead"
        )
    })
}

/// The number of the group `name` among `groups`, lines of group(5).
fn number_of(name: &str, groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_it = fields.next() == Some(name);
        is_it.then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal() {
        assert_eq!(parse_mode("0660"), Ok(0o660));
        assert_eq!(parse_mode("600"), Ok(0o600));
        for wrong in ["0880", "1777", "rw", "-1", ""] {
            assert!(parse_mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn groups_have_names_and_numbers() {
        assert_eq!(group("root").unwrap(), 0);
        assert_eq!(group("12345").unwrap(), 12345);
        let groups = "root:x:0:\nbroken\n+::::\nkvm2:x:7:\nkvm:x:104:libvirt-qemu,vssd\n";
        assert_eq!(number_of("kvm", groups), Some(104));
        for none in ["kv", "broken", "libvirt-qemu", ""] {
            assert_eq!(number_of(none, groups), None, "{none}");
        }
        let error = group("nobody-has-this").unwrap_err().to_string();
        assert!(error.contains("getent group"), "{error}");
    }
}
