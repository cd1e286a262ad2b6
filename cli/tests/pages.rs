//! The man pages, as `man` reads them.
#![expect(clippy::print_stderr, reason = "a test that is left out says so")]

use std::fs;
use std::process::Command;

#[test]
fn man_pages_show_command_lines_whole_and_say_what_they_are_of() {
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_vssd"))
        .args(["generate", "man"])
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(status.success());
    let mut pages = 0;
    for page in fs::read_dir(directory.path()).unwrap() {
        let path = page.unwrap().path();
        let mut man = Command::new("man");
        man.args(["--warnings", "-l"]).arg(&path);
        man.env("MANWIDTH", "80").env("LC_ALL", "C.UTF-8");
        let Ok(shown) = man.output() else {
            eprintln!("SKIPPED, for man is not installed");
            return;
        };
        let text = String::from_utf8(shown.stdout).unwrap();
        let warned = String::from_utf8_lossy(&shown.stderr);
        // Lines of code may be longer than a terminal is wide.
        let warned: Vec<_> = (warned.lines())
            .filter(|line| !line.contains("can't break line") && !line.contains("cannot adjust"))
            .collect();
        assert!(warned.is_empty(), "{}: {warned:?}", path.display());
        let version = format!("vssd {}", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version), "{text}");
        assert!(!text.contains("\nEXTRA\n"), "{text}");
        pages += 1;
    }
    assert!(pages > 50);
    let man = Command::new("man")
        .arg("-l")
        .arg(directory.path().join("vssd-serve.1"))
        .env("MANWIDTH", "80")
        .output()
        .unwrap();
    let text = String::from_utf8(man.stdout).unwrap();
    let example =
        "\n         vssd serve disk.img --create 64G --vfio-user /tmp/vssd.sock --record day.vtr\n";
    assert!(text.contains("\nEXAMPLES\n"), "{text}");
    assert!(text.contains(example), "{text}");
}
