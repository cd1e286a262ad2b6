//! The cache: entries that are whole or absent, built by one process at a time.
//!
//! An entry is built in a scratch directory beside it and renamed into place. Its
//! name carries a key over the recipe, so that a changed recipe is a new entry.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{Event, KitError, Progress};

/// Scratch directories carry this in front; what is found of them is a leftover.
const SCRATCH: &str = "tmp-";

/// A directory of entries.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// Where an entry is being built, and where it will be.
#[derive(Debug)]
pub(crate) struct Stage<'a> {
    /// Becomes the entry.
    pub(crate) dir: &'a Path,
    /// The entry's final path, for scripts that must name it.
    pub(crate) home: &'a Path,
    /// For files that the entry does not need.
    pub(crate) scratch: &'a Path,
}

impl Cache {
    /// A cache at `root`, or at the place that the environment names.
    pub(crate) fn open(root: Option<&Path>) -> Result<Self, KitError> {
        let root = match root {
            Some(root) => root.to_owned(),
            None => default_root().ok_or(KitError::NoCache)?,
        };
        let root = std::path::absolute(&root).map_err(KitError::io("find", &root))?;
        Ok(Self { root })
    }

    /// The entry `part` of the recipe `key`; where there is none, `build` makes it.
    pub(crate) fn entry(
        &self,
        part: &str,
        key: &str,
        progress: &mut dyn Progress,
        build: impl FnOnce(&Stage<'_>, &mut dyn Progress) -> Result<(), KitError>,
    ) -> Result<PathBuf, KitError> {
        let kit = self.kit();
        let home = kit.join(format!("{part}-{key}"));
        if home.is_dir() {
            return Ok(home);
        }
        fs::create_dir_all(&kit).map_err(KitError::io("create", &kit))?;
        let _lock = self.lock(progress)?;
        if home.is_dir() {
            return Ok(home);
        }
        self.sweep()?;
        // Dropping it removes whatever of it was not renamed.
        let work = tempfile::Builder::new()
            .prefix(SCRATCH)
            .tempdir_in(&kit)
            .map_err(KitError::io("create a scratch directory in", &kit))?;
        let dir = work.path().join("entry");
        let scratch = work.path().join("scratch");
        for path in [&dir, &scratch] {
            fs::create_dir(path).map_err(KitError::io("create", path))?;
        }
        let stage = Stage {
            dir: &dir,
            home: &home,
            scratch: &scratch,
        };
        build(&stage, progress)?;
        match fs::rename(&dir, &home) {
            // Only after a removal in between can somebody else have been faster.
            Err(_) if home.is_dir() => Ok(home),
            Err(source) => Err(KitError::io("move the finished entry to", &home)(source)),
            Ok(()) => Ok(home),
        }
    }

    /// Removes every entry, and the cache's directory if nothing else is in it.
    pub(crate) fn remove(&self, progress: &mut dyn Progress) -> Result<(), KitError> {
        let kit = self.kit();
        if kit.is_dir() {
            let _lock = self.lock(progress)?;
            fs::remove_dir_all(&kit).map_err(KitError::io("remove", &kit))?;
            // Whoever waits for this very file builds beside us, which the final
            // rename sorts out.
            let lock = self.lock_path();
            fs::remove_file(&lock).map_err(KitError::io("remove", &lock))?;
        }
        // Not empty: others keep things here too.
        let _kept = fs::remove_dir(&self.root);
        Ok(())
    }

    fn kit(&self) -> PathBuf {
        self.root.join("kit")
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join("kit.lock")
    }

    /// Locked until the file is dropped, also by the death of the process.
    fn lock(&self, progress: &mut dyn Progress) -> Result<File, KitError> {
        let path = self.lock_path();
        let file = File::create(&path).map_err(KitError::io("create the lock", &path))?;
        let taken = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                progress.event(Event::Step {
                    what: "waiting for another process, which builds the guest kit",
                });
                flock(&file, FlockOperation::LockExclusive)
            }
            other => other,
        };
        taken.map_err(|errno| KitError::io("lock", &path)(errno.into()))?;
        Ok(file)
    }

    /// Removes what interrupted builds left. Only the lock's holder may.
    fn sweep(&self) -> Result<(), KitError> {
        let kit = self.kit();
        for entry in fs::read_dir(&kit).map_err(KitError::io("list", &kit))? {
            let entry = entry.map_err(KitError::io("list", &kit))?;
            if entry.file_name().to_string_lossy().starts_with(SCRATCH) {
                let path = entry.path();
                fs::remove_dir_all(&path).map_err(KitError::io("remove the leftover", &path))?;
            }
        }
        Ok(())
    }
}

fn default_root() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|v| !v.is_empty());
    set("VSSD_CACHE")
        .map(PathBuf::from)
        .or_else(|| set("XDG_CACHE_HOME").map(|dir| Path::new(&dir).join("vssd")))
        .or_else(|| set("HOME").map(|dir| Path::new(&dir).join(".cache/vssd")))
}

/// A short name for a recipe: the same text, the same key.
pub(crate) fn key(recipe: &[&str]) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for part in recipe {
        hasher.update(part.as_bytes());
        hasher.update(&[0]);
    }
    format!("{:08x}", hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Silent;

    #[test]
    fn a_failed_build_leaves_no_entry_and_a_later_one_succeeds() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(root.path())).unwrap();
        let failed = cache.entry("part", "1", &mut Silent, |stage, _| {
            fs::write(stage.dir.join("half"), "made").unwrap();
            Err(KitError::NoCache)
        });
        assert!(matches!(failed, Err(KitError::NoCache)));
        let left: Vec<_> = fs::read_dir(cache.kit()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");

        let entry = cache.entry("part", "1", &mut Silent, |stage, _| {
            fs::write(stage.dir.join("whole"), "made").unwrap();
            Ok(())
        });
        assert!(entry.unwrap().join("whole").is_file());
    }

    #[test]
    fn a_killed_build_is_swept_away_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(root.path())).unwrap();
        let leftover = cache.kit().join("tmp-killed");
        fs::create_dir_all(leftover.join("entry")).unwrap();
        cache
            .entry("part", "1", &mut Silent, |_, _| Ok(()))
            .unwrap();
        assert!(!leftover.exists());
    }

    #[test]
    fn an_entry_is_built_once_however_many_ask() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(root.path())).unwrap();
        let builds = std::sync::atomic::AtomicU32::new(0);
        let together = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    together.wait();
                    cache.entry("part", "1", &mut Silent, |_, _| {
                        builds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        #[expect(
                            clippy::disallowed_methods,
                            reason = "others are to come meanwhile"
                        )]
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        Ok(())
                    })
                });
            }
        });
        assert_eq!(builds.into_inner(), 1);
    }

    #[test]
    fn removal_spares_what_others_keep_in_the_same_place() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(Some(root.path())).unwrap();
        cache
            .entry("part", "1", &mut Silent, |_, _| Ok(()))
            .unwrap();
        fs::write(root.path().join("other"), "").unwrap();
        cache.remove(&mut Silent).unwrap();
        let left: Vec<_> = fs::read_dir(root.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].file_name(), "other");
    }

    #[test]
    fn keys_tell_recipes_apart() {
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab"]));
    }
}
