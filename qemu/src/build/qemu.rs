//! Tells whether a QEMU will do.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::tool;

/// The program, wherever QEMU comes from.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// The first QEMU with a vfio-user client.
const OLDEST: Version = Version(10, 1);

/// Major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(u32, u32);

/// Fails with what is missing of `program`.
pub(crate) fn inspect(program: &Path) -> Result<(), String> {
    let ask = |args: &[&str]| {
        tool::run(Command::new(program).args(args), "asking QEMU").map_err(|e| e.to_string())
    };
    let text = ask(&["--version"])?;
    let Some(version) = version(&text) else {
        let line = text.lines().next().unwrap_or("nothing");
        return Err(format!("asked for its version, it says: {line}"));
    };
    if version < OLDEST {
        return Err(format!("it is version {}.{}", version.0, version.1));
    }
    let devices = ask(&["-device", "help"])?;
    if !devices.contains("\"vfio-user-pci\"") {
        return Err("it was built without vfio-user-pci".to_owned());
    }
    Ok(())
}

/// The system's QEMU, if there is one that will do.
pub(crate) fn of_the_system() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(PROGRAM))
        .find(|program| program.is_file() && inspect(program).is_ok())
}

/// Reads `QEMU emulator version 11.1.3 (Debian …)`.
fn version(text: &str) -> Option<Version> {
    let number = text.split("version ").nth(1)?;
    let mut parts = number.split(|c: char| !c.is_ascii_digit());
    Some(Version(
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared() {
        let of = |text| version(text).unwrap();
        let new = of("QEMU emulator version 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)\nCopyright");
        assert_eq!(new, Version(11, 1));
        assert!(new >= OLDEST);
        assert!(of("QEMU emulator version 7.2.17 (Debian 1:7.2)") < OLDEST);
        assert!(of("QEMU emulator version 10.0.3") < OLDEST);
        assert!(of("QEMU emulator version 10.1.0") >= OLDEST);
        assert_eq!(version("usage: something else"), None);
    }
}
