//! What comes back from a guest, line by line, while others wait for it.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read},
    process::ExitStatus,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// A longer line is broken here, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Output beyond this is read and dropped, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 << 20;
/// How much of QEMU's own words is kept, in lines.
const CHATTER_LINES_MAX: usize = 20;

/// What the job's lines begin with.
const OUTPUT: &str = "| ";
/// What the guest's init begins its own lines with.
const CONTROL: &str = "@ ";

/// All that was heard so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The job's output.
    pub(crate) output: Vec<String>,
    /// Whether some of the output was dropped.
    pub(crate) truncated: bool,
    /// What the guest's init reported.
    pub(crate) control: Vec<String>,
    /// QEMU's own words, the last of them.
    pub(crate) chatter: VecDeque<String>,
    /// How QEMU ended.
    pub(crate) status: Option<ExitStatus>,
    output_bytes: usize,
    pipes_open: u32,
}

impl Heard {
    /// QEMU has ended and everything that it said was read.
    pub(crate) fn over(&self) -> bool {
        self.status.is_some() && self.pipes_open == 0
    }

    fn take(&mut self, line: String) {
        if let Some(text) = line.strip_prefix(OUTPUT) {
            if self.output_bytes.saturating_add(text.len()) > OUTPUT_BYTES_MAX {
                self.truncated = true;
                return;
            }
            self.output_bytes += text.len();
            self.output.push(text.to_owned());
        } else if let Some(text) = line.strip_prefix(CONTROL) {
            self.control.push(text.to_owned());
        } else if !line.is_empty() {
            if self.chatter.len() == CHATTER_LINES_MAX {
                self.chatter.pop_front();
            }
            self.chatter.push_back(line);
        }
    }
}

/// Shared by those who listen and those who wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Channel {
    shared: Arc<(Mutex<Heard>, Condvar)>,
}

impl Channel {
    /// Reads `pipe` to its end in a thread of its own.
    pub(crate) fn listen(&self, pipe: impl Read + Send + 'static) {
        self.change(|heard| heard.pipes_open += 1);
        let channel = self.clone();
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            while let Some(line) = next_line(&mut pipe) {
                channel.change(|heard| heard.take(line));
            }
            channel.change(|heard| heard.pipes_open -= 1);
        });
    }

    /// Records how QEMU ended.
    pub(crate) fn ended(&self, status: ExitStatus) {
        self.change(|heard| heard.status = Some(status));
    }

    /// Waits until `done` or for `timeout`, whichever is first.
    pub(crate) fn wait(
        &self,
        timeout: Duration,
        mut done: impl FnMut(&Heard) -> bool,
    ) -> MutexGuard<'_, Heard> {
        let (_, changed) = &*self.shared;
        changed
            .wait_timeout_while(self.heard(), timeout, |heard| !done(heard))
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }

    /// What was heard up to now.
    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        // Every change is whole, so a panic elsewhere leaves nothing half-done.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Heard)) {
        change(&mut self.heard());
        self.shared.1.notify_all();
    }
}

/// The next line without its end; `None` at the end of the pipe.
fn next_line(pipe: &mut BufReader<impl Read>) -> Option<String> {
    let mut bytes = Vec::new();
    let read = pipe
        .by_ref()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut bytes);
    if !matches!(read, Ok(1..)) {
        return None;
    }
    let text = String::from_utf8_lossy(&bytes);
    Some(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_where_their_first_characters_say() {
        let channel = Channel::default();
        channel.listen(&b"| one\n@ exit 0\nqemu: warning\n| @ exit 7\n| \nrest"[..]);
        let heard = channel.wait(Duration::from_secs(10), |h| h.pipes_open == 0);
        assert_eq!(heard.output, ["one", "@ exit 7", ""]);
        assert_eq!(heard.control, ["exit 0"]);
        assert_eq!(heard.chatter, ["qemu: warning", "rest"]);
    }

    #[test]
    fn endless_lines_and_bytes_that_are_no_text_are_survived() {
        let channel = Channel::default();
        let mut bytes = b"| ".to_vec();
        bytes.resize(200 << 10, b'x');
        bytes.extend(b"\n| \xff\xfe\n");
        channel.listen(std::io::Cursor::new(bytes));
        let heard = channel.wait(Duration::from_secs(10), |h| h.pipes_open == 0);
        assert_eq!(heard.output[0].len(), (64 << 10) - 2);
        assert_eq!(heard.output[1], "\u{fffd}\u{fffd}");
    }
}
