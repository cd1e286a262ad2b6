//! The state of a drive in a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::{State, StateStore};

/// A file of JSON, replaced as a whole at each save.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
}

/// Why a state cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateFileError {
    /// The file cannot be read.
    #[error("cannot read the state of the drive in {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not the state of a drive.
    #[error(
        "{} is not the state of a drive: {source}; move it away to start with a new one, which \
         has one namespace of the whole image",
        path.display()
    )]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
}

impl FileStore {
    /// The store at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// What was saved at `path`; none where there is no such file.
    ///
    /// # Errors
    ///
    /// [`StateFileError`], which names the file.
    pub fn load(path: &Path) -> Result<Option<State>, StateFileError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StateFileError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|source| StateFileError::Parse {
                path: path.to_owned(),
                source,
            })
    }
}

impl StateStore for FileStore {
    fn save(&mut self, state: &State) -> io::Result<()> {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = File::create(&new)?;
        serde_json::to_writer_pretty(&mut file, state)?;
        file.write_all(b"\n")?;
        // On disk before it takes the place of the old one.
        file.sync_data()?;
        std::fs::rename(&new, &self.path)
    }
}
