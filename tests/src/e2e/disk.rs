//! Images, traces and sockets of one test, and e2fsprogs to look into images.

use std::collections::BTreeMap;
use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use qemu::Kit;
use tempfile::TempDir;

/// A directory for one test, removed with it.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// An empty one.
    ///
    /// # Panics
    ///
    /// Where the system has no room for it.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("vssd-e2e-").tempdir();
        Self {
            dir: dir.expect("a temporary directory can be made"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A copy of the guest's root file system.
    ///
    /// # Panics
    ///
    /// Where it cannot be copied.
    #[must_use]
    pub fn root_image(&self, kit: &Kit, name: &str) -> PathBuf {
        let path = self.path(name);
        kit.copy_root_image(&path)
            .expect("the root image can be copied");
        path
    }

    /// A copy of an image, holes and all.
    ///
    /// # Panics
    ///
    /// Where it cannot be copied.
    #[must_use]
    pub fn copy(&self, image: &Path, name: &str) -> PathBuf {
        let path = self.path(name);
        let mut copy = Command::new("cp");
        copy.args(["--sparse=always", "--"]).args([image, &path]);
        let status = copy.status().expect("cp can be started");
        assert!(status.success(), "cp ended with {status}");
        path
    }

    /// The traces in it, by name.
    ///
    /// # Panics
    ///
    /// Where it cannot be listed.
    #[must_use]
    pub fn traces(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir()).expect("the directory can be listed");
        let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        found.retain(|path| path.extension().is_some_and(|extension| extension == "vtr"));
        found.sort();
        found
    }

    /// Takes the files out of the file system in `image` and returns their SHA-256
    /// sums, in hexadecimal, by their paths in the image.
    ///
    /// Both come from others: e2fsprogs reads the file system, coreutils sums.
    ///
    /// # Panics
    ///
    /// Where any of that fails.
    #[must_use]
    pub fn sha256_from_image<'a>(
        &self,
        kit: &Kit,
        image: &Path,
        files: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, String> {
        let out = tempfile::tempdir_in(self.dir()).expect("a temporary directory can be made");
        let mut commands = String::new();
        let mut copies = Vec::new();
        for (number, file) in files.into_iter().enumerate() {
            let copy = out.path().join(number.to_string());
            commands.push_str(&format!("dump \"{file}\" {}\n", copy.display()));
            copies.push((file.to_owned(), copy));
        }
        let script = out.path().join("commands");
        fs::write(&script, commands).expect("the temporary directory can be written to");
        let output = Command::new(kit.host().tool("debugfs"))
            .arg("-f")
            .args([&script, image])
            .output()
            .expect("debugfs can be started");
        assert!(output.status.success(), "{output:?}");
        let mut sums = BTreeMap::new();
        for (file, copy) in copies {
            assert!(copy.is_file(), "{file} is not in the image: {output:?}");
            sums.insert(file, sha256_of(&copy));
        }
        sums
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs `qemu-img` with `words` and `files`, which must be a success; whether there is
/// one on this machine.
///
/// # Panics
///
/// Where it fails; the message holds what it said.
#[track_caller]
pub fn qemu_img<const W: usize, const F: usize>(words: [&str; W], files: [&PathBuf; F]) -> bool {
    let Ok(output) = Command::new("qemu-img").args(words).args(files).output() else {
        return false;
    };
    assert!(output.status.success(), "qemu-img {words:?}: {output:?}");
    true
}

/// The SHA-256 sum of a file, in hexadecimal, by coreutils.
///
/// # Panics
///
/// Where it cannot be read.
#[must_use]
pub fn sha256_of(path: &Path) -> String {
    let output = Command::new("sha256sum")
        .stdin(File::open(path).expect("it can be read"))
        .output()
        .expect("sha256sum can be started");
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned()
}

/// Reads the lines of `sha256sum`: sums by path.
///
/// # Panics
///
/// Where a line is no such line.
#[must_use]
pub fn sha256_of_files(lines: &[String]) -> BTreeMap<String, String> {
    let parse = |line: &String| {
        let (sum, path) = line.split_once("  ").unwrap_or_else(|| panic!("{line:?}"));
        assert_eq!(sum.len(), 64, "{line:?}");
        (path.to_owned(), sum.to_owned())
    };
    lines.iter().map(parse).collect()
}

/// Checks the file system in `image` with `e2fsck -fn`: it must be clean.
///
/// # Panics
///
/// Where it is not.
#[track_caller]
pub(crate) fn is_clean(kit: &Kit, image: &Path) {
    let output = e2fsck(kit, image, "-fn");
    assert!(output.0 == Some(0), "e2fsck -fn: {output:?}");
}

/// Runs e2fsck; exit status, and what it said.
pub(crate) fn e2fsck(kit: &Kit, image: &Path, options: &str) -> (Option<i32>, String) {
    let output = Command::new(kit.host().tool("e2fsck"))
        .arg(options)
        .arg(image)
        .output()
        .expect("e2fsck can be started");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// The sum of what the image holds in its first `mib` MiB, as sha256sum prints it.
///
/// # Panics
///
/// Where the programs cannot be started.
#[must_use]
pub fn sum_of_head(image: &Path, mib: u64) -> String {
    let mut head = Command::new("head")
        .args(["-c", &format!("{mib}M")])
        .arg(image)
        .stdout(Stdio::piped())
        .spawn()
        .expect("head can be started");
    let sum = Command::new("sha256sum")
        .stdin(head.stdout.take().expect("it was piped"))
        .output()
        .expect("sha256sum can be started");
    head.wait().expect("a child can be waited for");
    String::from_utf8_lossy(&sum.stdout).trim().to_owned()
}
