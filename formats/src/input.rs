//! The bytes of a foreign trace: files, decompressed on the way, by line or by
//! length.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use encoding_rs_io::DecodeReaderBytesBuilder;

use crate::FormatError;

/// The longest line that is taken, bytes.
const LINE_MAX: usize = 1 << 16;
/// How much of a file is looked at to recognise its format, bytes.
pub(crate) const HEAD_BYTES: usize = 1 << 16;

/// What the user named to be read: one file or directory, or several that
/// belong together (one for each processor, or segment). `-` is standard
/// input.
#[derive(Clone, Debug)]
pub struct Input {
    paths: Vec<PathBuf>,
}

impl Input {
    /// These files or directories.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths }
    }

    /// The files or directories, as they were named.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// What errors call it: the first path.
    #[must_use]
    pub fn name(&self) -> String {
        self.paths
            .first()
            .map_or_else(String::new, |path| path.display().to_string())
    }

    /// Opens each path in turn.
    ///
    /// # Errors
    /// [`FormatError::Io`] where one cannot be opened.
    pub fn streams(&self) -> Result<Vec<Stream>, FormatError> {
        self.paths.iter().map(|path| Stream::open(path)).collect()
    }
}

/// Whether `bytes` starts with a mark of how text is encoded.
fn is_marked(bytes: &[u8]) -> bool {
    let marks = [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"];
    marks.iter().any(|mark| bytes.starts_with(mark))
}

/// `bytes`, which start with a mark of their encoding, in UTF-8.
fn decoder<R: Read>(bytes: R) -> impl Read {
    DecodeReaderBytesBuilder::new()
        .bom_override(true)
        .strip_bom(true)
        .build(bytes)
}

/// The text that `head` starts with, where a mark says how it is encoded; else
/// itself.
pub(crate) fn decoded(head: Vec<u8>) -> Vec<u8> {
    let mut text = Vec::new();
    if is_marked(&head) && decoder(head.as_slice()).read_to_end(&mut text).is_ok() {
        text
    } else {
        head
    }
}

/// A file, or standard input, read once from start to end. What is compressed
/// by gzip or Zstandard is decompressed.
pub struct Stream {
    name: String,
    bytes: Box<dyn BufRead + Send>,
    /// Bytes given out so far, of the decompressed file.
    offset: u64,
    /// Lines given out so far; 0 where it is read by length.
    lines: u64,
    /// Whether the last line given out ended with the file, not with a newline.
    cut: bool,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("name", &self.name)
            .field("offset", &self.offset)
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

/// How far [`Stream::fill`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// All of it.
    Whole,
    /// The file was at its end.
    End,
    /// The file ended within it, after so many bytes.
    Cut(usize),
}

impl Stream {
    /// Opens the file `path`, or standard input for `-`.
    ///
    /// # Errors
    /// [`FormatError::Io`] where it cannot be opened or its start not read.
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let name = path.display().to_string();
        if path == Path::new("-") {
            return Self::new("standard input".to_owned(), io::stdin());
        }
        let file = File::open(path).map_err(|error| FormatError::io("open", &name, error))?;
        Self::new(name, file)
    }

    /// A stream of `bytes`, which errors call `name`.
    ///
    /// # Errors
    /// [`FormatError::Io`] where the start cannot be read.
    pub fn new(name: String, bytes: impl Read + Send + 'static) -> Result<Self, FormatError> {
        let error = |error| FormatError::io("read", &name, error);
        let mut bytes = BufReader::with_capacity(HEAD_BYTES, bytes);
        let magic = bytes.fill_buf().map_err(error)?;
        let bytes: Box<dyn BufRead + Send> = if magic.starts_with(&[0x1f, 0x8b]) {
            let plain = flate2::bufread::MultiGzDecoder::new(bytes);
            Box::new(BufReader::with_capacity(HEAD_BYTES, plain))
        } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let plain = zstd::stream::read::Decoder::with_buffer(bytes).map_err(error)?;
            Box::new(BufReader::with_capacity(HEAD_BYTES, plain))
        } else {
            Box::new(bytes)
        };
        Ok(Self {
            name,
            bytes,
            offset: 0,
            lines: 0,
            cut: false,
        })
    }

    /// What errors call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes given out so far, of the decompressed file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes up to [`HEAD_BYTES`] from the start and puts them back.
    ///
    /// # Errors
    /// [`FormatError::Io`] where they cannot be read.
    pub(crate) fn head(&mut self) -> Result<Vec<u8>, FormatError> {
        // Widens.
        let limit = HEAD_BYTES as u64;
        let mut head = Vec::new();
        self.bytes
            .by_ref()
            .take(limit)
            .read_to_end(&mut head)
            .map_err(|error| FormatError::io("read", &self.name, error))?;
        let rest = std::mem::replace(&mut self.bytes, Box::new(io::empty()));
        self.bytes = Box::new(BufReader::new(io::Cursor::new(head.clone()).chain(rest)));
        Ok(head)
    }

    /// Reads the next line into `line`, without its end (`\n` or `\r\n`);
    /// false at the end of the file.
    ///
    /// # Errors
    /// [`FormatError::Io`], and [`FormatError::Malformed`] where a line is
    /// longer than 64 KiB.
    pub fn line(&mut self, line: &mut Vec<u8>) -> Result<bool, FormatError> {
        line.clear();
        if self.lines == 0 {
            self.decode()?;
        }
        // Widens.
        let mut limited = self.bytes.by_ref().take(LINE_MAX as u64);
        let read = limited
            .read_until(b'\n', line)
            .map_err(|error| FormatError::io("read", &self.name, error))?;
        if read == 0 {
            return Ok(false);
        }
        self.lines += 1;
        // Widens.
        self.offset += read as u64;
        self.cut = !line.ends_with(b"\n");
        if self.cut && read == LINE_MAX {
            return Err(self.malformed("the line is longer than 64 KiB: is this a text file?"));
        }
        if !self.cut {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        Ok(true)
    }

    /// Sees to it that lines are in UTF-8, where a mark at the start of the file
    /// says that they are in UTF-16, as Windows' shell writes them, and takes
    /// off that mark.
    fn decode(&mut self) -> Result<(), FormatError> {
        let start = self
            .bytes
            .fill_buf()
            .map_err(|error| FormatError::io("read", &self.name, error))?;
        if is_marked(start) {
            let rest = std::mem::replace(&mut self.bytes, Box::new(io::empty()));
            self.bytes = Box::new(BufReader::with_capacity(HEAD_BYTES, decoder(rest)));
        }
        Ok(())
    }

    /// Whether the last line ended with the file, not with a newline: it may
    /// have been cut off.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Fills `buffer`.
    ///
    /// # Errors
    /// [`FormatError::Io`].
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<Filled, FormatError> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.bytes.read(rest) {
                Ok(0) if filled == 0 => return Ok(Filled::End),
                Ok(0) => return Ok(Filled::Cut(filled)),
                Ok(read) => {
                    filled += read;
                    // Widens.
                    self.offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FormatError::io("read", &self.name, error)),
            }
        }
        Ok(Filled::Whole)
    }

    /// The error of `problem` in the last line, or at the last byte, given out.
    #[must_use]
    pub fn malformed(&self, problem: impl Into<String>) -> FormatError {
        let place = if self.lines > 0 {
            format!("line {}", self.lines)
        } else {
            format!("byte {}", self.offset)
        };
        FormatError::Malformed {
            path: self.name.clone(),
            place,
            problem: problem.into(),
        }
    }
}
