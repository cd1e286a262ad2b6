use std::process::Command;

use super::*;

const MIB: u64 = 1 << 20;

/// Runs `losetup`; what it printed. None where this machine does not let us.
pub(in crate::media) fn losetup(arguments: &[&str]) -> Option<String> {
    let output = Command::new("losetup").args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// Where the file system has files as large as any, there is nothing to say.
#[test]
fn who_wants_too_large_an_image_learns_of_another_way() {
    let dir = tempfile::tempdir().unwrap();
    let options = RawFileOptions {
        create: Some(i64::MAX.unsigned_abs() / 4096 * 4096),
        read_only: false,
    };
    if let Err(error) = Image::open(&dir.path().join("disk"), options) {
        let text = error.to_string();
        assert!(text.contains("NAME.qcow2"), "{text}");
    }
}

#[test]
fn a_drive_is_as_large_as_the_kernel_says() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(4 * MIB).unwrap();
    let path = file.path().to_str().unwrap();
    let Some(device) = losetup(&["--find", "--show", path]) else {
        return;
    };
    let outcome = std::panic::catch_unwind(|| {
        let opened = Image::open(Path::new(&device), RawFileOptions::default());
        let mut image = opened.unwrap();
        let error = image.grow(8 * MIB).unwrap_err().to_string();
        assert!(error.contains("it is a drive of 4194304"), "{error}");
        assert_eq!(image.bytes, 4 * MIB);
        file.as_file().set_len(8 * MIB).unwrap();
        losetup(&["--set-capacity", &device]).unwrap();
        let error = image.grow(7 * MIB).unwrap_err().to_string();
        assert!(error.contains("it has 8388608 by now"), "{error}");
        image.grow(8 * MIB).unwrap();
        assert_eq!(image.bytes, 8 * MIB);
    });
    losetup(&["--detach", &device]);
    outcome.unwrap();
}
