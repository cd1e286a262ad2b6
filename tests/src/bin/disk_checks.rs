//! Writes a disk inside of a guest, and knows what must be on it.
//!
//! `disk_checks load DISK SEED`: threads write, zero, discard, flush, and read again
//! what they wrote, each in blocks of its own, one command at a time, until the disk
//! is called `STOP`. A write that was lost, came twice, or came late is seen at the
//! next read of a block, as the thread knows which write to it was the last.
//!
//! `disk_checks stable DISK SEED FIRST`: threads write the blocks of a round, flush,
//! and say so, without end. The rounds count from FIRST.
//!
//! **What is on the disk is lost.**
#![expect(clippy::print_stdout, reason = "a program that tells what it does")]

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use fastrand::Rng;
use rustix::fs::{FallocateFlags, OFlags};
use vssd_tests::blocks::{BLOCK_BYTES, BLOCKS_EACH, THREADS, fill, generation, round};
use vssd_tests::e2e::pause;

/// The most blocks of one command.
const COMMAND_BLOCKS_MAX: u64 = 16;
/// The serial number of a disk that is to be written no more.
const STOP: &str = "STOP";
/// How often the count of commands is told.
const BEAT: Duration = Duration::from_millis(250);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["load", disk, seed] => load(disk.as_ref(), seed.parse()?),
        ["stable", disk, seed, first] => stable(disk.as_ref(), seed.parse()?, first.parse()?),
        _ => bail!("disk_checks load DISK SEED, or disk_checks stable DISK SEED FIRST"),
    }
}

/// What the threads of a load have in common.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    commands: AtomicU64,
}

fn load(disk: &Path, seed: u64) -> Result<()> {
    let shared = Shared::default();
    let name = disk.file_name().context("the disk has no name")?;
    let serial = PathBuf::from("/sys/block").join(name).join("serial");
    thread::scope(|scope| {
        let shared = &shared;
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                scope.spawn(move || {
                    let done =
                        Writer::open(disk, seed, number).and_then(|mut writer| writer.work(shared));
                    shared.stop.store(true, Ordering::Release);
                    done
                })
            })
            .collect();
        while !shared.stop.load(Ordering::Acquire) {
            pause(BEAT);
            let commands = shared.commands.load(Ordering::Relaxed);
            println!("{} {commands} commands", name.display());
            // The disk itself is asked, which takes as long as its server is away.
            if fs::read_to_string(&serial)?.trim() == STOP {
                shared.stop.store(true, Ordering::Release);
            }
        }
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread died"))??;
        }
        println!("{} verified", name.display());
        Ok(())
    })
}

/// A buffer of whole blocks, placed as `O_DIRECT` wants it.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn new(blocks: u64) -> Result<Self> {
        let bytes = vec![0; usize::try_from(blocks + 1)? * BLOCK_BYTES];
        let start = bytes.as_ptr().align_offset(BLOCK_BYTES);
        Ok(Self { bytes, start })
    }

    fn blocks(&mut self, count: u64) -> Result<&mut [u8]> {
        let end = self.start + usize::try_from(count)? * BLOCK_BYTES;
        let blocks = self.bytes.get_mut(self.start..end);
        blocks.context("the buffer is smaller")
    }
}

fn open(disk: &Path) -> Result<File> {
    let flags = i32::try_from(OFlags::DIRECT.bits())?;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).custom_flags(flags);
    file.open(disk)
        .with_context(|| format!("cannot open {}", disk.display()))
}

const fn offset(block: u64) -> u64 {
    // Widens.
    block * BLOCK_BYTES as u64
}

/// One thread of a load.
#[derive(Debug)]
struct Writer {
    path: PathBuf,
    disk: File,
    buffer: Buffer,
    random: Rng,
    first: u64,
    /// The generation that each of its blocks is of; none where nobody has written.
    last: Vec<Option<u64>>,
    generation: u64,
}

impl Writer {
    fn open(path: &Path, seed: u64, number: u64) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            disk: open(path)?,
            buffer: Buffer::new(COMMAND_BLOCKS_MAX)?,
            random: Rng::with_seed(seed ^ (number << 32)),
            first: number * BLOCKS_EACH,
            last: vec![None; usize::try_from(BLOCKS_EACH)?],
            generation: 0,
        })
    }

    fn work(&mut self, shared: &Shared) -> Result<()> {
        while !shared.stop.load(Ordering::Acquire) {
            self.command()?;
            shared.commands.fetch_add(1, Ordering::Relaxed);
        }
        for at in (0..BLOCKS_EACH).step_by(usize::try_from(COMMAND_BLOCKS_MAX)?) {
            self.verify(at, COMMAND_BLOCKS_MAX)?;
        }
        Ok(())
    }

    fn command(&mut self) -> Result<()> {
        let count = self.random.u64(1..=COMMAND_BLOCKS_MAX);
        let at = self.random.u64(..=BLOCKS_EACH - count);
        match self.random.u32(..1000) {
            0..600 => self.write(at, count),
            600..900 => self.verify(at, count),
            900..960 => self.disk.sync_data().context("flush"),
            960..980 => self.zero(at, count, FallocateFlags::ZERO_RANGE),
            980..998 => self.zero(at, count, FallocateFlags::PUNCH_HOLE),
            _ => self.discard(at, count),
        }
    }

    fn note(&mut self, at: u64, count: u64, generation: u64) -> Result<()> {
        let (at, end) = (usize::try_from(at)?, usize::try_from(at + count)?);
        let last = self.last.get_mut(at..end).context("blocks of others")?;
        last.fill(Some(generation));
        Ok(())
    }

    fn write(&mut self, at: u64, count: u64) -> Result<()> {
        self.generation += 1;
        let blocks = self.buffer.blocks(count)?;
        for (block, number) in blocks.chunks_mut(BLOCK_BYTES).zip(self.first + at..) {
            fill(block, number, self.generation);
        }
        self.disk
            .write_all_at(blocks, offset(self.first + at))
            .context("write")?;
        // The same memory serves the next command: a server that takes this one's
        // data from it once more, later, is found out.
        blocks.fill(0xff);
        self.note(at, count, self.generation)
    }

    fn zero(&mut self, at: u64, count: u64, how: FallocateFlags) -> Result<()> {
        let how = how | FallocateFlags::KEEP_SIZE;
        let (offset, bytes) = (offset(self.first + at), offset(count));
        rustix::fs::fallocate(&self.disk, how, offset, bytes).context("write zeroes")?;
        self.note(at, count, 0)
    }

    /// As `blkdiscard` does it: whose system call is not to be had safely.
    fn discard(&mut self, at: u64, count: u64) -> Result<()> {
        let status = Command::new("blkdiscard")
            .args(["-f", "-o", &offset(self.first + at).to_string()])
            .args(["-l", &offset(count).to_string()])
            .arg(&self.path)
            // It warns each time.
            .stderr(Stdio::null())
            .status()?;
        ensure!(status.success(), "discard: {status}");
        self.note(at, count, 0)
    }

    fn verify(&mut self, at: u64, count: u64) -> Result<()> {
        let blocks = self.buffer.blocks(count)?;
        self.disk
            .read_exact_at(blocks, offset(self.first + at))
            .context("read")?;
        let last = self.last.iter().skip(usize::try_from(at)?);
        let numbered = blocks.chunks(BLOCK_BYTES).zip(self.first + at..);
        for ((block, number), last) in numbered.zip(last) {
            let Some(last) = *last else { continue };
            let found = generation(block, number).map_err(anyhow::Error::msg)?;
            ensure!(
                found == last,
                "block {number} holds write {found}, and write {last} was the last"
            );
        }
        Ok(())
    }
}

fn stable(disk: &Path, seed: u64, first: u64) -> Result<()> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| scope.spawn(move || rounds(disk, seed, number, first)))
            .collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread died"))??;
        }
        Ok(())
    })
}

fn rounds(path: &Path, seed: u64, thread: u64, first: u64) -> Result<()> {
    let disk = open(path)?;
    let mut buffer = Buffer::new(1)?;
    let name = path.file_name().context("the disk has no name")?;
    for number in first.. {
        for block in round(seed, thread, number) {
            let bytes = buffer.blocks(1)?;
            fill(bytes, block, number);
            disk.write_all_at(bytes, offset(block)).context("write")?;
        }
        disk.sync_data().context("flush")?;
        println!("{} stable {thread} {number}", name.display());
    }
    Ok(())
}
