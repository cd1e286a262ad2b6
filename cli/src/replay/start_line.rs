//! Several replays that start together.

use std::sync::{Condvar, Mutex, PoisonError};

/// Where those that start together wait for each other.
#[derive(Debug)]
pub(super) struct StartLine {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    missing: usize,
    /// One of them will never come.
    is_off: bool,
}

impl StartLine {
    /// For so many.
    pub(super) fn new(count: usize) -> Self {
        Self {
            state: Mutex::new(State {
                missing: count,
                is_off: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for the others. Returns false where one of them does not come.
    pub(super) fn arrive(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.missing = state.missing.saturating_sub(1);
        self.changed.notify_all();
        while state.missing > 0 && !state.is_off {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_off
    }

    /// One does not come: the others need not wait. Without effect once all
    /// are there.
    pub(super) fn call_off(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_off |= state.missing > 0;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn all_start_or_none_does() {
        let line = StartLine::new(3);
        thread::scope(|scope| {
            let others = [(); 2].map(|()| scope.spawn(|| line.arrive()));
            assert!(line.arrive());
            assert!(others.into_iter().all(|other| other.join().unwrap()));
        });
        let line = StartLine::new(3);
        thread::scope(|scope| {
            let others = [(); 2].map(|()| scope.spawn(|| line.arrive()));
            line.call_off();
            assert!(others.into_iter().all(|other| !other.join().unwrap()));
        });
    }
}
