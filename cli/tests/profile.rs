//! Profiles, as people use them.

use std::io::Read as _;
use std::process::{Child, Command, Output, Stdio};

fn vssd(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vssd"));
    command.args(words).stdin(Stdio::null()).output().unwrap()
}

/// What a command that succeeds prints.
fn says(words: &[&str]) -> String {
    let output = vssd(words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A `vssd serve` that ends when it is dropped.
struct Served(Child);

impl Served {
    fn start(words: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_vssd"))
            .args(["serve", "ram:16M"])
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut served = Self(child);
        // What it prints comes when the socket is there.
        let mut said = served.0.stdout.take().unwrap();
        said.read_exact(&mut [0]).unwrap();
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        served
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn profiles_are_listed_printed_and_checked() {
    let list = says(&["profile"]);
    let names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(names, ["qemu", "datacenter", "client"]);

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("my.toml");
    let file = path.to_str().unwrap();
    for name in names {
        std::fs::write(&path, says(&["profile", name])).unwrap();
        let said = says(&["profile", "--check", file]);
        assert!(
            said.starts_with(&format!("{file} is a profile: ")),
            "{said}"
        );
    }
    std::fs::write(&path, "[limits]\nqueue_pairs_max = 512\n").unwrap();
    let checked = vssd(&["profile", "--check", file]);
    assert_eq!(checked.status.code(), Some(1));
    let said = String::from_utf8(checked.stdout).unwrap();
    let expected = format!("{file}:2: limits.queue_pairs_max is 512, but must be 1 to 511: ");
    assert!(said.starts_with(&expected), "{said}");
    for words in [
        ["profile", "--check", "/there/is/no/such.toml"].as_slice(),
        &["profile", "datacentre"],
        &["serve", "ram:16M", "--profile", file],
    ] {
        let output = vssd(words);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("vssd: "), "{said}");
    }
}

#[test]
fn a_profile_taken_from_a_device_makes_its_like() {
    let directory = tempfile::tempdir().unwrap();
    let [socket, again, like] = ["s", "a", "like.toml"].map(|name| {
        let path = directory.path().join(name);
        path.to_str().unwrap().to_owned()
    });
    let options = ["--profile", "datacenter", "--serial", "TWIN"];
    let first = Served::start(&[&options[..], &["--vfio-user", &socket]].concat());
    let taken = says(&["device", "profile", &format!("vfio-user:{socket}")]);
    drop(first);
    for line in [
        "serial = \"TWIN\"",
        "model = \"vssd virtual data-centre SSD\"",
        "queue_pairs_max = 128",
        "slots = 4",
        "storage_tag_bits = 16",
    ] {
        assert!(taken.lines().any(|at| at == line), "no {line} in\n{taken}");
    }
    std::fs::write(&like, &taken).unwrap();
    let second = Served::start(&["--profile", &like, "--vfio-user", &again]);
    assert_eq!(
        says(&["device", "profile", &format!("vfio-user:{again}")]),
        taken
    );
    drop(second);
}
