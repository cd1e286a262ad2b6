//! What the building of a kit tells whoever waits for it.

/// One thing worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step begins.
    Step {
        /// What is being done, and what for: a phrase for one line.
        what: &'a str,
    },
    /// A download begins, goes on, or ends (`bytes_done == bytes_total`).
    Fetch {
        /// What is being fetched, and what for.
        what: &'a str,
        /// How much is there, in bytes, to about a percent.
        bytes_done: u64,
        /// How much it will be, in bytes.
        bytes_total: u64,
    },
}

/// Where [`Event`]s go.
pub trait Progress {
    /// Takes note of one event. Called often during a download.
    fn event(&mut self, event: Event<'_>);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&mut self, _event: Event<'_>) {}
}

impl<F: FnMut(Event<'_>)> Progress for F {
    fn event(&mut self, event: Event<'_>) {
        self(event);
    }
}
