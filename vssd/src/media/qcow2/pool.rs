//! The threads that read and write an image, as the library waits for the disk.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use imago::FormatAccess;
use imago::file::File;

use super::super::Extent;
use super::super::bell::Bell;
use super::grow::grow;

/// How many requests go on at a time.
const THREADS: usize = 4;
/// How much is read at a time only to see that it can be.
const SCAN_BYTES: usize = 256 * 1024;

/// What a thread is to do. Buffers are ours: no thread touches guest memory.
#[derive(Debug)]
pub(super) enum Task {
    Read {
        offset: u64,
        buffer: Vec<u8>,
    },
    Write {
        offset: u64,
        buffer: Vec<u8>,
        durable: bool,
    },
    Verify(Extent),
    Zero {
        extent: Extent,
        durable: bool,
    },
    Discard(Vec<Extent>),
    Flush,
}

/// A task, whose it is, and where the answer goes.
#[derive(Debug)]
struct Job {
    slot: usize,
    task: Task,
    to: Arc<Returns>,
}

/// Where answers go.
#[derive(Debug)]
struct Returns {
    answers: Sender<Answer>,
    bell: Bell,
}

/// How a task ended.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) slot: usize,
    /// The buffer, with what was read.
    pub(super) buffer: Vec<u8>,
    pub(super) result: io::Result<()>,
    /// Whether it was making things durable that failed.
    pub(super) syncing: bool,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closing: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    image: RwLock<FormatAccess<File>>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nobody panics while holding it; what the library does is caught.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The threads, and what they have to do.
#[derive(Debug)]
struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Threads for `image`.
    fn start(image: FormatAccess<File>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            image: RwLock::new(image),
        });
        let mut pool = Self {
            shared,
            threads: Vec::new(),
        };
        for _ in 0..THREADS {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new()
                .name("vssd-qcow2".to_owned())
                .spawn(move || work(&shared))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }
}

/// Where tasks are handed in, and answers taken. There may be several for the
/// same threads.
#[derive(Debug)]
pub(super) struct Desk {
    pool: Arc<Pool>,
    returns: Arc<Returns>,
    answers: Receiver<Answer>,
}

impl Desk {
    /// The first, with threads for `image`.
    pub(super) fn open(image: FormatAccess<File>) -> io::Result<Self> {
        Self::of(Arc::new(Pool::start(image)?))
    }

    /// Another, for the same threads.
    pub(super) fn another(&self) -> io::Result<Self> {
        Self::of(Arc::clone(&self.pool))
    }

    fn of(pool: Arc<Pool>) -> io::Result<Self> {
        let (sender, answers) = channel();
        let returns = Arc::new(Returns {
            answers: sender,
            bell: Bell::new()?,
        });
        Ok(Self {
            pool,
            returns,
            answers,
        })
    }

    /// Makes the image `bytes` bytes large, where another has not done so; waits for
    /// the tasks that threads have begun.
    pub(super) fn grow(&self, bytes: u64) -> io::Result<()> {
        // An image that was made to confuse it may make the library panic.
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut image = self.pool.shared.image.write().map_err(|_| broken())?;
            grow(&mut image, bytes)
        }));
        done.unwrap_or_else(|_| Err(no_sense()))
    }

    pub(super) fn submit(&self, slot: usize, task: Task) {
        let to = Arc::clone(&self.returns);
        let shared = &self.pool.shared;
        shared.queue().jobs.push_back(Job { slot, task, to });
        shared.wake.notify_one();
    }

    /// Takes back the first task from here that no thread has begun and that is
    /// `wanted`; its slot.
    pub(super) fn take_back(&self, mut wanted: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut queue = self.pool.shared.queue();
        let mut jobs = queue.jobs.iter();
        let index = jobs.position(|job| Arc::ptr_eq(&job.to, &self.returns) && wanted(job.slot))?;
        queue.jobs.remove(index).map(|job| job.slot)
    }

    /// The next answer, if there is one.
    pub(super) fn answer(&self) -> Option<Answer> {
        if let Ok(answer) = self.answers.try_recv() {
            return Some(answer);
        }
        let bell = &self.returns.bell;
        bell.hear();
        let answer = self.answers.try_recv().ok();
        if answer.is_some() {
            // There may be more, and whoever asks may sleep before he has them.
            bell.ring();
        }
        answer
    }

    /// The next answer, of which there is one to come.
    pub(super) fn wait(&self) -> Option<Answer> {
        self.answers.recv().ok()
    }
}

impl AsFd for Desk {
    /// Readable while there may be an answer.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.returns.bell.as_fd()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue().closing = true;
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            // What a thread of ours panics with it has said by itself.
            drop(thread.join());
        }
        // Nobody has the image now; to drop it writes back what it keeps.
        let image = self.shared.image.read();
        let image = image.unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = image.flush().and_then(|()| image.sync()) {
            log::error!("{}: cannot be closed cleanly: {error}", *image);
        }
    }
}

/// Does what there is to do until the pool closes.
fn work(shared: &Shared) {
    loop {
        let mut queue = shared.queue();
        let Job { slot, task, to } = loop {
            if let Some(job) = queue.jobs.pop_front() {
                break job;
            }
            if queue.closing {
                return;
            }
            queue = shared
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(queue);
        let mut buffer = Vec::new();
        let mut syncing = false;
        // An image that was made to confuse it may make the library panic.
        let done = catch_unwind(AssertUnwindSafe(|| {
            run(shared, task, &mut buffer, &mut syncing)
        }));
        let result = done.unwrap_or_else(|_| Err(no_sense()));
        let answer = Answer {
            slot,
            buffer,
            result,
            syncing,
        };
        // Whoever has gone does not want it.
        if to.answers.send(answer).is_ok() {
            to.bell.ring();
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("the image was given up after an earlier failure")
}

fn no_sense() -> io::Error {
    io::Error::other("the image makes no sense")
}

fn run(shared: &Shared, task: Task, kept: &mut Vec<u8>, syncing: &mut bool) -> io::Result<()> {
    // Nobody else may use the image while a discard gives clusters back, and the
    // library loses what is written to a new cluster while a part of it is zeroed.
    if let Task::Discard(extents) = &task {
        let mut image = shared.image.write().map_err(|_| broken())?;
        extents
            .iter()
            .try_for_each(|extent| image.discard_to_zero(extent.offset, extent.bytes))?;
        return image.flush();
    }
    if let Task::Zero { extent, .. } = &task {
        let image = shared.image.write().map_err(|_| broken())?;
        image.write_zeroes(extent.offset, extent.bytes)?;
    }
    let image = shared.image.read().map_err(|_| broken())?;
    let (changed, durable) = match task {
        Task::Read { offset, mut buffer } => {
            let done = image.read(&mut buffer[..], offset);
            *kept = buffer;
            done?;
            (false, false)
        }
        Task::Write {
            offset,
            buffer,
            durable,
        } => {
            let done = image.write(&buffer[..], offset);
            *kept = buffer;
            done?;
            (true, durable)
        }
        Task::Verify(extent) => {
            let mut chunk = vec![0; SCAN_BYTES];
            let mut done = 0;
            while done < extent.bytes {
                let left = usize::try_from(extent.bytes - done).unwrap_or(usize::MAX);
                let chunk = chunk.get_mut(..left.min(SCAN_BYTES)).unwrap_or_default();
                image.read(&mut *chunk, extent.offset + done)?;
                done += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            }
            (false, false)
        }
        Task::Zero { durable, .. } => (true, durable),
        Task::Discard(_) => (false, false),
        Task::Flush => (false, true),
    };
    if changed {
        // The tables that say where the data is: the library keeps what changes in them
        // in our memory. A guest that outlives this process, and goes on with the next
        // one, finds what was answered only where the system has them.
        image.flush()?;
    }
    if durable {
        *syncing = true;
        image.flush()?;
        image.sync()?;
        *syncing = false;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::super::files::{self, Gate};
    use super::*;

    fn is_told(desk: &Desk) -> bool {
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(desk, PollFlags::IN)], Some(&now)).unwrap() > 0
    }

    /// Whoever takes one answer only sleeps with a good conscience.
    #[test]
    fn an_answer_that_is_left_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        files::create(&path, 1 << 20, None).unwrap();
        let (image, _file) = files::open(&path, true, Gate::new(false)).unwrap();
        let desk = Desk::open(FormatAccess::new(image)).unwrap();
        for slot in [1, 2] {
            let answer = Answer {
                slot,
                buffer: Vec::new(),
                result: Ok(()),
                syncing: false,
            };
            desk.returns.answers.send(answer).unwrap();
            desk.returns.bell.ring();
        }
        for slot in [1, 2] {
            assert!(is_told(&desk));
            assert_eq!(desk.answer().unwrap().slot, slot);
        }
        assert!(desk.answer().is_none());
        assert!(!is_told(&desk));
    }
}
