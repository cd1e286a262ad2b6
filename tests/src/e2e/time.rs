//! Real time: processes are waited for.

use std::time::{Duration, Instant};

/// How often something that is waited for is looked at.
const BEAT: Duration = Duration::from_millis(20);

/// Tells how long something took.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a guest runs in real time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Lets real time pass.
#[expect(clippy::disallowed_methods, reason = "a guest runs in real time")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Looks again and again until there is what is looked for.
///
/// # Panics
///
/// Where there is none after `patience`; `what` says what was missed.
#[track_caller]
pub fn until<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(watch.elapsed() < patience, "no {what} within {patience:?}");
        pause(BEAT);
    }
}
