//! Guests, one at a time.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use qemu::{Event, Guest, JobOutcome, Kit, KitError, KitOptions, Launch};

use super::disk;
use super::time::Stopwatch;

/// Much more than any of these jobs needs, on a machine that has other work.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// How much of a job's output a message quotes, in lines.
const TAIL_LINES: usize = 40;

/// Leave to run guests, which one test has at a time: the measure of these
/// machines is two processors.
#[derive(Debug)]
pub struct Vm {
    kit: &'static Kit,
    watch: Stopwatch,
    name: &'static str,
    _turn: MutexGuard<'static, ()>,
}

impl Vm {
    /// Waits for this test's turn. None where guests are not to be had: the test
    /// is to return then.
    ///
    /// # Panics
    ///
    /// Where the kit could be had but its building failed.
    #[must_use]
    pub fn take(name: &'static str) -> Option<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        if std::env::var_os("VSSD_NO_VM").is_some() {
            eprintln!("SKIPPED, for VSSD_NO_VM is set: {name}");
            return None;
        }
        // A test that failed with it has ended its guest all the same.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let kit = match kit() {
            Ok(kit) => kit,
            Err(reason) => {
                eprintln!("SKIPPED, for there can be no guest here: {name}\n{reason}");
                return None;
            }
        };
        eprintln!("\n== {name}");
        Some(Self {
            kit,
            watch: Stopwatch::start(),
            name,
            _turn: turn,
        })
    }

    /// The guest kit.
    #[must_use]
    pub fn kit(&self) -> &'static Kit {
        self.kit
    }

    /// Says what is being done, and when.
    pub fn say(&self, what: &str) {
        eprintln!("[{:7.2} s] {what}", self.watch.elapsed().as_secs_f64());
    }

    /// Checks the file system in `image`: it must be clean.
    ///
    /// # Panics
    ///
    /// Where it is not; the message is e2fsck's.
    #[track_caller]
    pub fn is_clean(&self, image: &Path) {
        disk::is_clean(self.kit, image);
        self.say("e2fsck -fn finds the file system clean");
    }

    /// Has e2fsck repair the file system in `image`.
    ///
    /// # Panics
    ///
    /// Where it finds more than it can put right.
    #[track_caller]
    pub fn repairs(&self, image: &Path) {
        let (status, text) = disk::e2fsck(self.kit, image, "-fy");
        assert!(
            matches!(status, Some(0 | 1)),
            "e2fsck -fy: {status:?}\n{text}"
        );
        self.say(&format!(
            "e2fsck -fy says: {}",
            text.trim().replace('\n', " / ")
        ));
        disk::is_clean(self.kit, image);
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.say(&format!("end of {}", self.name));
    }
}

/// The kit, built if it is not there; `Err` where it can be had nowhere.
fn kit() -> Result<&'static Kit, String> {
    static KIT: OnceLock<Result<Kit, String>> = OnceLock::new();
    let kit = KIT.get_or_init(
        || match Kit::open_or_build(&KitOptions::default(), &mut narrate) {
            Ok(kit) => Ok(kit),
            Err(e @ (KitError::NoMirror | KitError::Architecture { .. })) => Err(e.to_string()),
            Err(e) => panic!("{e}"),
        },
    );
    kit.as_ref().map_err(Clone::clone)
}

/// Tells what the kit is doing.
pub(super) fn narrate(event: Event<'_>) {
    match event {
        Event::Step { what } => eprintln!("{what}"),
        Event::Fetch {
            what,
            bytes_done: 0,
            bytes_total,
        } => eprintln!("fetching {what}: {} MB", bytes_total / 1_000_000),
        _ => {}
    }
}

/// Starts a guest.
///
/// # Panics
///
/// Where it does not start.
#[must_use]
#[track_caller]
pub fn start(vm: &Vm, launch: Launch<'_>) -> Guest {
    let guest = launch.spawn().unwrap_or_else(|e| panic!("{e}"));
    vm.say(&format!("running {}", guest.command_line()));
    guest
}

/// Runs a guest to the end of its job, which must be a success.
///
/// # Panics
///
/// Where it is not; the message holds what the job printed.
#[must_use]
#[track_caller]
pub fn run(vm: &Vm, launch: Launch<'_>) -> JobOutcome {
    let mut guest = start(vm, launch);
    let outcome = guest.wait(PATIENCE).unwrap_or_else(|e| panic!("{e}"));
    vm.say("the guest has switched itself off");
    succeeded(&outcome);
    outcome
}

/// Checks that a job was a success.
///
/// # Panics
///
/// Where it was not; the message holds what it printed at last.
#[track_caller]
pub fn succeeded(outcome: &JobOutcome) {
    let lines = &outcome.lines;
    let tail = lines.get(lines.len().saturating_sub(TAIL_LINES)..);
    let tail = tail.unwrap_or_default().join("\n");
    assert_eq!(
        outcome.exit_code, 0,
        "the job failed; its last lines:\n{tail}"
    );
}

/// The lines of the job's output between `<name>` and `</name>`.
///
/// # Panics
///
/// Where there is no such section.
#[must_use]
#[track_caller]
pub fn section<'a>(lines: &'a [String], name: &str) -> &'a [String] {
    let place = |mark: String| lines.iter().position(|line| *line == mark);
    let (start, end) = (place(format!("<{name}>")), place(format!("</{name}>")));
    let between = start
        .zip(end)
        .and_then(|(start, end)| lines.get(start + 1..end));
    between.unwrap_or_else(|| panic!("no section {name} in {lines:#?}"))
}
