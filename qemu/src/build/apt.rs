//! Debian packages, resolved and fetched by apt with its own private state.
//!
//! Nothing of the machine's apt is changed and no privileges are needed: apt is
//! pointed at an empty package database, at sources of ours and at directories of
//! ours. Proxies, credentials and keys stay those of the machine. Packages are
//! unpacked, never configured: no script of theirs runs.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::tool;
use crate::{Event, KitError, Progress};

/// The Debian release that everything comes from.
pub(crate) const SUITE: &str = "trixie";
/// Where that release's newer QEMU is.
pub(crate) const BACKPORTS: &str = "trixie-backports";

/// Debian's own name for its key ring.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Releases under which a Debian mirror may stand in apt's sources. Any of them
/// tells that the mirror is one of Debian, so that it has the other releases too.
const RELEASES: [&str; 12] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "trixie-backports",
    "bookworm-backports",
];

/// What to fetch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// A word for it, to name a directory with.
    pub(crate) name: &'a str,
    /// The release to prefer, one of those that apt was opened with.
    pub(crate) suite: &'a str,
    /// The packages; what they depend on comes along.
    pub(crate) packages: &'a [&'a str],
    /// Packages to do without, though others depend on them.
    pub(crate) without: &'a [&'a str],
    /// What it is and what it is for, for whoever waits.
    pub(crate) what: &'a str,
}

/// An apt of our own, for one architecture.
#[derive(Debug)]
pub(crate) struct Apt {
    dir: PathBuf,
    config: PathBuf,
}

impl Apt {
    /// Sets apt up in `dir` and fetches the package lists from `mirror`.
    ///
    /// `arch` is Debian's name of the architecture, such as `amd64`.
    pub(crate) fn open(
        dir: &Path,
        arch: &str,
        mirror: &str,
        progress: &mut dyn Progress,
    ) -> Result<Self, KitError> {
        Self::open_suites(dir, arch, (mirror, &[SUITE, BACKPORTS]), progress)
    }

    /// As [`Apt::open`], with the releases `suites` of a mirror instead of the usual.
    pub(crate) fn open_suites(
        dir: &Path,
        arch: &str,
        (mirror, suites): (&str, &[&str]),
        progress: &mut dyn Progress,
    ) -> Result<Self, KitError> {
        for sub in ["lists/partial", "sources"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(KitError::io("create", path))?;
        }
        let config = dir.join("apt.conf");
        write(
            &dir.join("sources/debian.sources"),
            &sources(mirror, suites),
        )?;
        write(&dir.join("status"), "")?;
        write(&config, &configuration(dir, arch))?;
        let apt = Self {
            dir: dir.to_owned(),
            config,
        };
        let mut what = format!("fetching Debian's package lists for {arch} from {mirror}");
        if !Path::new(KEYRING).exists() {
            what.push_str(" (keys are missing? They are in the package debian-archive-keyring)");
        }
        progress.event(Event::Step { what: &what });
        tool::run(apt.get().args(["-q", "update"]), &what)?;
        Ok(apt)
    }

    /// Fetches packages with all that they depend on; returns the files.
    pub(crate) fn fetch(
        &self,
        request: &Request<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Vec<PathBuf>, KitError> {
        let archives = self.dir.join(request.name);
        let partial = archives.join("partial");
        fs::create_dir_all(&partial).map_err(KitError::io("create", &partial))?;
        write(&self.dir.join("status"), &stubs(request.without))?;

        let install = || {
            let mut command = self.get();
            command
                .arg("-o")
                .arg(format!("Dir::Cache::Archives={}", archives.display()))
                .args(["-qq", "-y", "-t", request.suite]);
            command
        };
        let purpose = format!("finding the packages for {}", request.what);
        let mut plan = install();
        plan.args(["install", "--print-uris"])
            .args(request.packages);
        let bytes_total = planned_bytes(&tool::run(&mut plan, &purpose)?);

        let mut told = None;
        let mut event = |bytes_done| {
            if told.replace(bytes_done) != Some(bytes_done) {
                progress.event(Event::Fetch {
                    what: request.what,
                    bytes_done,
                    bytes_total,
                });
            }
        };
        event(0);
        let purpose = format!("fetching {}", request.what);
        let mut download = install();
        download
            .args(["-o", "APT::Status-Fd=1", "install", "--download-only"])
            .args(request.packages);
        tool::run_lines(&mut download, &purpose, |line| {
            if let Some(percent) = download_percent(line) {
                event(bytes_total.saturating_mul(percent) / 100);
            }
        })?;
        event(bytes_total);
        packages_in(&archives)
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        // Read after the machine's own configuration, so that ours holds.
        command.arg("-c").arg(&self.config).env("LC_ALL", "C");
        command
    }
}

/// Unpacks package files into `root`, one over the other, as dpkg would.
pub(crate) fn unpack(packages: &[PathBuf], root: &Path) -> Result<(), KitError> {
    for package in packages {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(package).arg(root);
        tool::run(&mut command, &format!("unpacking {}", package.display()))?;
    }
    Ok(())
}

/// A package's control paragraph.
pub(crate) fn control(package: &Path) -> Result<String, KitError> {
    let mut command = Command::new("dpkg-deb");
    command.arg("--field").arg(package);
    tool::run(&mut command, &format!("reading {}", package.display()))
}

/// The mirror to use: `chosen`, or `VSSD_MIRROR`, or the one of apt's own sources.
pub(crate) fn mirror(chosen: Option<&str>) -> Result<String, KitError> {
    if let Some(mirror) = chosen {
        return Ok(mirror.to_owned());
    }
    if let Some(mirror) = env::var("VSSD_MIRROR").ok().filter(|m| !m.is_empty()) {
        return Ok(mirror);
    }
    // apt itself reads its sources, whichever format they are in.
    let mut command = Command::new("apt-get");
    command.args([
        "indextargets",
        "--no-release-info",
        "--format",
        "$(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]);
    let targets = tool::run(&mut command, "reading apt's sources")?;
    debian_uri(&targets).ok_or(KitError::NoMirror)
}

/// Picks Debian's own archive from lines of `URI release component`.
fn debian_uri(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let (uri, release, component) = (words.next()?, words.next()?, words.next()?);
        let debian = component == "main"
            && RELEASES.contains(&release)
            // The archive of security updates has the main releases' names on old systems.
            && !uri.trim_end_matches('/').ends_with("-security")
            && !uri.starts_with("cdrom:");
        debian.then(|| uri.to_owned())
    })
}

fn sources(mirror: &str, suites: &[&str]) -> String {
    let suites = suites.join(" ");
    let signed_by = if Path::new(KEYRING).exists() {
        format!("Signed-By: {KEYRING}\n")
    } else {
        // Whatever keys apt trusts by default.
        String::new()
    };
    format!("Types: deb\nURIs: {mirror}\nSuites: {suites}\nComponents: main\n{signed_by}")
}

fn configuration(dir: &Path, arch: &str) -> String {
    let dir = dir.display();
    format!(
        r#"Dir::State "{dir}";
Dir::State::Lists "{dir}/lists";
Dir::State::status "{dir}/status";
Dir::Cache "{dir}";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "{dir}/sources";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
#clear APT::Architectures;
#clear APT::Default-Release;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Pre-Invoke;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
APT::Architecture "{arch}";
APT::Architectures {{ "{arch}"; }};
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::CNF::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
"#
    )
}

/// A package database in which the unwanted count as installed already.
fn stubs(packages: &[&str]) -> String {
    packages
        .iter()
        .map(|package| {
            // Whoever depends on `python3:any` is content with this kind alone.
            let kind = match *package {
                "python3" => "allowed",
                _ => "foreign",
            };
            format!(
                "Package: {package}\nStatus: install ok installed\nArchitecture: all\n\
                 Multi-Arch: {kind}\nVersion: 9999\nMaintainer: none\nDescription: left out\n\n"
            )
        })
        .collect()
}

/// The sum over lines of `'URI' file size hash`.
fn planned_bytes(uris: &str) -> u64 {
    uris.lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok())
        .sum()
}

/// The whole percent of a line like `dlstatus:3:27.2727:Retrieving file 3 of 11`.
fn download_percent(line: &str) -> Option<u64> {
    let percent = line.strip_prefix("dlstatus:")?.split(':').nth(1)?;
    percent.split('.').next()?.parse().ok()
}

fn packages_in(dir: &Path) -> Result<Vec<PathBuf>, KitError> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(dir).map_err(KitError::io("list", dir))? {
        let path = entry.map_err(KitError::io("list", dir))?.path();
        if path.extension().is_some_and(|e| e == "deb") {
            packages.push(path);
        }
    }
    // The same order on every machine, so that the same image comes out.
    packages.sort();
    Ok(packages)
}

fn write(path: &Path, text: &str) -> Result<(), KitError> {
    fs::write(path, text).map_err(KitError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_debians_archive_and_not_another_one_beside_it() {
        let targets = "https://packages.example.com/apt/ cloud-bookworm main\n\
                       http://mirror.example.org/debian-security/ bookworm-security main\n\
                       http://mirror.example.org/debian/ bookworm-updates main\n\
                       http://mirror.example.org/debian/ bookworm contrib\n\
                       http://mirror.example.org/debian/ bookworm main\n";
        let uri = debian_uri(targets);
        assert_eq!(uri.as_deref(), Some("http://mirror.example.org/debian/"));
        assert_eq!(debian_uri("https://example.com/ubuntu/ noble main\n"), None);
    }

    #[test]
    fn sizes_and_progress_are_read_from_apt() {
        let uris = "'http://e.org/a.deb' a.deb 100 SHA256:0\n'http://e.org/b.deb' b.deb 23 \n";
        assert_eq!(planned_bytes(uris), 123);
        let line = "dlstatus:3:27.2727:Retrieving file 3 of 11 (2s remaining)";
        assert_eq!(download_percent(line), Some(27));
        assert_eq!(download_percent("pmstatus:dpkg:1:x"), None);
    }
}
