//! Hardware virtualisation where it works, emulation where it does not.

use std::{
    env, fs,
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::KitError;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accel {
    /// What `VSSD_ACCEL` (`kvm` or `tcg`) says; else KVM if it works here; else TCG.
    #[default]
    Auto,
    /// The processor itself, or an error.
    Kvm,
    /// QEMU's emulation: slower, and works everywhere.
    Tcg,
}

/// A choice made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chosen {
    Kvm,
    Tcg,
}

impl Accel {
    /// Decides. Takes a fraction of a second where there is a KVM to try.
    pub(crate) fn choose(self, qemu: &Path) -> Result<Chosen, KitError> {
        let wanted = match (self, env::var("VSSD_ACCEL").as_deref()) {
            (Self::Auto, Ok("kvm")) => Self::Kvm,
            (Self::Auto, Ok("tcg")) => Self::Tcg,
            (Self::Auto, Ok(other)) if !other.is_empty() => {
                return Err(KitError::Launch {
                    reason: format!("VSSD_ACCEL is {other:?}: set it to kvm or tcg, or unset it"),
                });
            }
            (wanted, _) => wanted,
        };
        match wanted {
            Self::Tcg => Ok(Chosen::Tcg),
            Self::Kvm => match probe(qemu) {
                Ok(()) => Ok(Chosen::Kvm),
                Err(reason) => Err(KitError::NoKvm { reason }),
            },
            Self::Auto => Ok(probe(qemu).map_or(Chosen::Tcg, |()| Chosen::Kvm)),
        }
    }
}

/// Whether KVM runs x86 code here, and if not, why.
///
/// The device node tells little: in containers and virtual machines it can be there,
/// open, and even create a machine that then fails at its first real kernel.
fn probe(qemu: &Path) -> Result<(), String> {
    if env::consts::ARCH != "x86_64" {
        return Err("the guest is x86-64 and this machine is not".to_owned());
    }
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    if !virtualises(&cpuinfo) {
        return Err("the processor offers no virtualisation (neither vmx nor svm)".to_owned());
    }
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(|e| format!("/dev/kvm does not open: {e}; is your user in the group kvm?"))?;
    firmware_speaks(qemu)
}

fn virtualises(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "vmx" || flag == "svm")
}

/// Starts a machine with nothing in it and waits for its firmware's first words.
fn firmware_speaks(qemu: &Path) -> Result<(), String> {
    let mut child = Command::new(qemu)
        .args(["-machine", "q35", "-accel", "kvm", "-cpu", "host"])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-chardev", "stdio,id=debug,signal=off"])
        .args(["-device", "isa-debugcon,iobase=0x402,chardev=debug"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("QEMU does not start: {e}"))?;
    let (tell, told) = mpsc::channel();
    if let Some(mut stdout) = child.stdout.take() {
        thread::spawn(move || {
            let spoke = matches!(stdout.read(&mut [0]), Ok(1));
            let _gone = tell.send(spoke);
        });
    }
    let spoke = told.recv_timeout(Duration::from_secs(5));
    let _ended = child.kill();
    let _reaped = child.wait();
    match spoke {
        Ok(true) => Ok(()),
        Ok(false) => Err("QEMU cannot start a machine with it".to_owned()),
        Err(_) => Err("a machine under it does not even start its firmware".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtualisation_is_read_from_the_flags_alone() {
        assert!(virtualises("flags\t\t: fpu vmx sse\n"));
        assert!(virtualises("flags\t\t: fpu svm\n"));
        assert!(!virtualises("model name\t: svm vmx\nflags\t\t: fpu svme\n"));
    }
}
