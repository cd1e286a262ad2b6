//! A load on a `vssd serve`, looked at through the monitoring socket as a client of
//! pynvme's does: one JSON object there, one back, on a Unix socket.

mod asked;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use asked::{call, connect};
use serde_json::{Value, json};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn start(words: &[&str], directory: &Path) -> Killed {
    let child = Command::new(env!("CARGO_BIN_EXE_vssd"))
        .args(words)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Killed(child.unwrap())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a rate takes time")]
fn a_load_is_seen_through_the_monitoring_socket() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let _server = start(&["serve", "ram:64M", "--vfio-user", "drive.sock"], at);
    drop(connect(&at.join("drive.sock")));
    let load = [
        "ioworker",
        "vfio-user:drive.sock",
        "--iops",
        "500",
        "--time",
        "30s",
        "--io-size",
        "4KiB",
        "--monitor",
        "monitor.sock",
    ];
    let _load = start(&load, at);
    let mut client = connect(&at.join("monitor.sock"));
    // The admin queue, and then the worker's.
    let queues = (0..600).find_map(|_| {
        let list = call(&mut client, "list_all_qpair", &json!([]));
        std::thread::sleep(Duration::from_millis(50));
        (list.as_array().unwrap().len() == 2).then_some(list)
    });
    let queues = queues.expect("the worker's queue pair comes");
    assert_eq!(
        (&queues[0]["qid"], &queues[1]["qid"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(queues[1]["model"], "vssd virtual NVMe SSD");

    call(&mut client, "get_iostat", &json!([]));
    std::thread::sleep(Duration::from_secs(2));
    let rates = call(&mut client, "get_iostat", &json!([]));
    let (blocks, iops) = (rates[0].as_u64().unwrap(), rates[1].as_u64().unwrap());
    assert!((20..700).contains(&iops), "{rates} is not up to 500 IOPS");
    assert!(
        (6 * iops..10 * iops).contains(&blocks),
        "{rates} is not 8 blocks each"
    );

    let log = call(&mut client, "get_cmdlog", &json!([queues[1]["qpair"]]));
    let lines = log.as_array().unwrap();
    let is_read = |line: &&Value| line.as_str().unwrap().contains(": Read]");
    assert_eq!(
        lines.iter().filter(is_read).count(),
        lines.len() / 2,
        "{log}"
    );
    assert!(lines.len() > 100, "{log}");
}
