//! pynvme's vTracer: members `<directory>/<segment of five minutes>/<queue>` of
//! lines `<us in the segment> <operation> <LBA> <blocks>`, blocks of 512 bytes,
//! in a zip that may stand behind a picture, or unpacked in a directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::merged::{self, Merged};
use super::number::{integer, times};
use super::splitter::exactly;
use super::{Import, ImportClock, ImportOptions};
use crate::format::Head;
use crate::{ByteRange, FormatError, Input, Io, Item, Notes, Operation, Stream};

const SEGMENT_NS: u64 = 300_000_000_000;
const BLOCK_BYTES: u64 = 512;

/// Whether this is one: an archive, alone or behind a picture, or a directory
/// of numbered directories of numbered files.
pub(crate) fn recognize(head: &Head<'_>) -> bool {
    if head.bytes.is_empty() {
        return members_of_directory(head.path).is_ok_and(|members| !members.is_empty());
    }
    let picture_or_zip = [&b"\x89PNG\r\n\x1a\n"[..], b"PK\x03\x04"];
    picture_or_zip.iter().any(|it| head.bytes.starts_with(it))
        && File::open(head.path)
            .ok()
            .and_then(|file| ZipArchive::new(file).ok())
            .is_some_and(|archive| names(&archive).any(|name| place(&name).is_some()))
}

/// Opens `input`: several are merged by time.
pub(crate) fn open(input: &Input, options: &ImportOptions) -> Result<Box<dyn Import>, FormatError> {
    let recordings: Result<Vec<_>, _> = input
        .paths()
        .iter()
        .map(|path| Recording::open(path, options))
        .collect();
    Ok(Box::new(Vtracer {
        recordings: Merged::new(recordings?),
        notes: Notes::default(),
    }))
}

/// Segment and queue of a member; none where its path is not one's.
fn place(name: &str) -> Option<(u64, u16)> {
    let mut parts = name.rsplit('/');
    let queue: u16 = parts.next()?.parse().ok()?;
    let segment: u64 = parts.next()?.parse().ok()?;
    (queue > 0).then_some((segment, queue))
}

/// The names of the members that have one which is text.
fn names(archive: &ZipArchive<File>) -> impl Iterator<Item = String> + '_ {
    archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
}

fn members_of_directory(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut members = Vec::new();
    let mut directories = vec![(path.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = entry.path();
            // The archive has the segments two directories down.
            if kind.is_dir() && depth < 4 {
                directories.push((path, depth + 1));
            } else if kind.is_file() && path.to_str().is_some_and(|it| place(it).is_some()) {
                members.push(path);
            }
        }
    }
    Ok(members)
}

#[derive(Debug)]
enum Source {
    Archive(Box<ZipArchive<File>>),
    Directory(Vec<PathBuf>),
}

impl Source {
    /// The members of each segment, by queue.
    fn segments(&self, path: &str) -> Result<BTreeMap<u64, Vec<(u16, Member)>>, FormatError> {
        let mut segments: BTreeMap<u64, Vec<(u16, Member)>> = BTreeMap::new();
        let mut add = |name: &str, member: Member| {
            if let Some((segment, queue)) = place(name) {
                segments.entry(segment).or_default().push((queue, member));
            }
        };
        match self {
            Self::Archive(archive) => {
                for name in names(archive) {
                    add(&name, Member::Archived(name.clone()));
                }
            }
            Self::Directory(paths) => {
                for path in paths {
                    add(&path.to_string_lossy(), Member::File(path.clone()));
                }
            }
        }
        for members in segments.values_mut() {
            members.sort_by_key(|(queue, _)| *queue);
        }
        if segments.is_empty() {
            let problem = format!(
                "{path} holds no members such as tmp/pynvme_trace/0/1: is it a vTracer recording?"
            );
            return Err(FormatError::Refused { problem });
        }
        Ok(segments)
    }
}

#[derive(Clone, Debug)]
enum Member {
    Archived(String),
    File(PathBuf),
}

/// One recording. A segment is read at a time: its queues' lines are in
/// separate files.
#[derive(Debug)]
struct Recording {
    source: Source,
    name: String,
    segments: BTreeMap<u64, Vec<(u16, Member)>>,
    items: std::vec::IntoIter<Io>,
    salvage: bool,
}

impl Recording {
    fn open(path: &Path, options: &ImportOptions) -> Result<Self, FormatError> {
        let name = path.display().to_string();
        let metadata = fs::metadata(path).map_err(|error| FormatError::io("open", &name, error))?;
        let source = if metadata.is_dir() {
            let members = members_of_directory(path)
                .map_err(|error| FormatError::io("read", &name, error))?;
            Source::Directory(members)
        } else {
            let file = File::open(path).map_err(|error| FormatError::io("open", &name, error))?;
            let archive = ZipArchive::new(file).map_err(|error| FormatError::Refused {
                problem: format!("{name} holds no zip archive that can be read: {error}"),
            })?;
            Source::Archive(Box::new(archive))
        };
        let segments = source.segments(&name)?;
        Ok(Self {
            source,
            name,
            segments,
            items: Vec::new().into_iter(),
            salvage: options.salvage,
        })
    }

    fn read(
        &mut self,
        segment: u64,
        members: Vec<(u16, Member)>,
        notes: &mut Notes,
    ) -> Result<(), FormatError> {
        let mut ios = Vec::new();
        for (queue, member) in members {
            let mut stream = self.stream(&member)?;
            let mut line = Vec::new();
            while stream.line(&mut line)? {
                let parsed = std::str::from_utf8(&line)
                    .map_err(|_| "it is not text".to_owned())
                    .and_then(|line| parse(line, segment, queue));
                match parsed {
                    Ok(Some(io)) => push(&mut ios, io),
                    Ok(None) => {}
                    Err(_) if self.salvage => {
                        notes.count("lines could not be read, and were left out");
                    }
                    Err(problem) => return Err(stream.malformed(problem)),
                }
            }
        }
        // Stable: requests of one queue at one time keep their order.
        ios.sort_by_key(|io| io.submit_ns);
        self.items = ios.into_iter();
        Ok(())
    }

    fn stream(&mut self, member: &Member) -> Result<Stream, FormatError> {
        match member {
            Member::File(path) => Stream::open(path),
            Member::Archived(name) => {
                let Source::Archive(archive) = &mut self.source else {
                    return Stream::new(name.clone(), std::io::empty());
                };
                let full = format!("{}, member {name}", self.name);
                let mut text = Vec::new();
                let unzip = |error: zip::result::ZipError| FormatError::Refused {
                    problem: format!("{full} cannot be unpacked: {error}"),
                };
                let file = archive.by_name(name).map_err(unzip)?;
                // Five minutes of one queue; no more is taken from an archive
                // that expands without end.
                file.take(MEMBER_MAX)
                    .read_to_end(&mut text)
                    .map_err(|error| FormatError::io("read", &full, error))?;
                Stream::new(full, std::io::Cursor::new(text))
            }
        }
    }
}

/// The longest member that is unpacked, bytes.
const MEMBER_MAX: u64 = 1 << 30;

impl merged::Source for Recording {
    type Shared = Notes;

    fn item(&mut self, notes: &mut Notes) -> Result<Option<Item>, FormatError> {
        loop {
            if let Some(io) = self.items.next() {
                return Ok(Some(Item::Io(io)));
            }
            let Some((segment, members)) = self.segments.pop_first() else {
                return Ok(None);
            };
            self.read(segment, members, notes)?;
        }
    }
}

#[derive(Debug)]
struct Vtracer {
    recordings: Merged<Recording>,
    notes: Notes,
}

impl Import for Vtracer {
    fn next(&mut self) -> Result<Option<Item>, FormatError> {
        self.recordings.next(&mut self.notes)
    }

    fn devices(&self) -> &[String] {
        &[]
    }

    fn clock(&self) -> ImportClock {
        ImportClock {
            resolution_ns: 1_000,
            unix: false,
        }
    }

    fn notes(&self) -> &Notes {
        &self.notes
    }
}

fn parse(line: &str, segment: u64, queue: u16) -> Result<Option<Io>, String> {
    if line.trim().is_empty() {
        return Ok(None);
    }
    let [us, operation, lba, blocks] = exactly(line.split_ascii_whitespace())?;
    let operation = match operation {
        "read" => Operation::Read,
        "write" => Operation::Write,
        "trims" => Operation::Discard,
        "flush" => Operation::Flush,
        "write_zeroes" => Operation::WriteZeroes,
        other => return Err(format!("the operation {other:?} is not known")),
    };
    let in_segment_ns = times(integer(us, "time")?, 1_000, "time")?;
    let submit_ns = times(segment, SEGMENT_NS, "segment")?
        .checked_add(in_segment_ns)
        .ok_or("the time is too large")?;
    let mut io = Io::new(
        submit_ns,
        operation,
        times(integer(lba, "LBA")?, BLOCK_BYTES, "LBA")?,
        times(integer(blocks, "length")?, BLOCK_BYTES, "length")?,
    );
    io.queue = queue;
    Ok(Some(io))
}

/// Adds `io`; a range at the time and on the queue of the one before belongs
/// to the same command.
fn push(ios: &mut Vec<Io>, io: Io) {
    if io.operation == Operation::Discard
        && let Some(last) = ios.last_mut()
        && last.operation == Operation::Discard
        && last.more.len() + 1 < nvme::DSM_RANGES_MAX
        && (last.queue, last.submit_ns) == (io.queue, io.submit_ns)
    {
        last.more.push(ByteRange {
            offset_bytes: io.offset_bytes,
            length_bytes: io.length_bytes,
        });
    } else {
        ios.push(io);
    }
}
