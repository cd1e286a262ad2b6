//! A kit from nothing, and back to nothing.

use std::{fs, process::Command};

use qemu::{Event, Kit, KitError, KitOptions, QemuChoice, Silent};

/// Takes about 160 MB of downloads.
#[test]
fn a_kit_is_built_from_nothing_and_removed_without_a_trace() {
    let cache = tempfile::tempdir().unwrap();
    let options = KitOptions {
        cache: Some(cache.path().join("kits")),
        qemu: QemuChoice::Private,
        ..KitOptions::default()
    };
    let mut fetched = 0;
    let kit = Kit::open_or_build(&options, &mut |event: Event<'_>| {
        crate::narrate(event);
        if let Event::Fetch {
            bytes_done,
            bytes_total,
            ..
        } = event
        {
            assert!(bytes_done <= bytes_total);
            fetched += if bytes_done == bytes_total {
                bytes_total
            } else {
                0
            };
        }
    })
    .unwrap();
    assert!(fetched > 50_000_000, "{fetched}");

    let version = Command::new(kit.host().qemu()).arg("--version").output();
    assert!(version.unwrap().status.success());
    let check = Command::new(kit.host().tool("e2fsck"))
        .arg("-fn")
        .arg(kit.root_image())
        .output();
    let check = check.unwrap();
    assert!(check.status.success(), "{check:?}");
    for file in [
        kit.kernel(),
        kit.initramfs(),
        kit.host().uefi_code(),
        kit.host().uefi_vars_template(),
    ] {
        assert!(file.is_file(), "{}", file.display());
    }

    Kit::open_or_build(&options, &mut |event: Event<'_>| {
        panic!("the second time there is nothing to do, but: {event:?}");
    })
    .unwrap();

    Kit::remove(&options, &mut Silent).unwrap();
    let left: Vec<_> = fs::read_dir(cache.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_mirror_that_is_none_is_an_error_that_says_so() {
    let cache = tempfile::tempdir().unwrap();
    let options = KitOptions {
        cache: Some(cache.path().to_owned()),
        mirror: Some("file:///nowhere/debian".to_owned()),
        qemu: QemuChoice::Private,
    };
    let error = Kit::open_or_build(&options, &mut Silent).unwrap_err();
    assert!(matches!(error, KitError::ToolFailed { .. }), "{error}");
    assert!(error.to_string().contains("/nowhere/debian"), "{error}");
    let entries = fs::read_dir(cache.path().join("kit")).unwrap().count();
    assert_eq!(entries, 0, "nothing half-made is left");
}

#[test]
fn a_qemu_that_is_none_is_refused() {
    let options = KitOptions {
        cache: None,
        mirror: None,
        qemu: QemuChoice::Path("/bin/true".into()),
    };
    let error = Kit::open_or_build(&options, &mut Silent).unwrap_err();
    assert!(matches!(error, KitError::UnfitQemu { .. }), "{error}");
}
