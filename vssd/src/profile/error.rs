//! Why a profile cannot be used.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::BUILT_IN;

/// Where in which file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or the name of a built-in profile.
    pub name: String,
    /// The line, from 1; none where the file does not say what is at fault.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The file cannot be read.
    #[error(
        "cannot read the profile {}: {source}: name a file, or a built-in profile ({})",
        path.display(),
        names()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is too long.
    #[error(
        "{} is longer than {bytes_max} bytes, so it is no profile: `vssd profile` lists some",
        path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The longest that is read, bytes.
        bytes_max: u64,
    },
    /// It is no TOML, or not that of a profile.
    #[error("{place}: {message}: correct it, by the example of `vssd profile qemu`")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// It has a field that profiles do not have.
    #[error("{place}: a profile has no {field}: leave it out, or write {instead}")]
    Unknown {
        /// Where.
        place: Place,
        /// The field.
        field: String,
        /// What there is in its place.
        instead: String,
    },
    /// A field is of the wrong type or out of its range.
    #[error(
        "{place}: {field} is {value}, but must be {range}: change it, or leave it out for the \
         default (`vssd profile qemu` explains each field)"
    )]
    Field {
        /// Where.
        place: Place,
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What it may be.
        range: String,
    },
}

fn names() -> String {
    BUILT_IN.map(|built_in| built_in.name).join(", ")
}

/// A value that is refused, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) field: String,
    pub(super) value: String,
    pub(super) range: String,
}

impl Refused {
    pub(super) fn new(
        field: impl Into<String>,
        value: impl fmt::Display,
        range: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: value.to_string(),
            range: range.into(),
        }
    }

    /// The error about it, where it stands at `line` of `name`.
    pub(super) fn at(self, name: &str, line: Option<usize>) -> ProfileError {
        ProfileError::Field {
            place: Place {
                name: name.to_owned(),
                line,
            },
            field: self.field,
            value: self.value,
            range: self.range,
        }
    }
}
