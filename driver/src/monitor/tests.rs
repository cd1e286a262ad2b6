use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use nvme::{Cqe, NamespaceId, NvmOpcode, QueueId, Sqe, Status};
use serde_json::{Value, json};
use traces::MonotonicClock;

use super::*;

const SECOND: u64 = 1_000_000_000;

fn monitor() -> Arc<Monitor> {
    Monitor::new(Start {
        unix_ns: 1_700_000_000 * SECOND,
        clock_ns: 5 * SECOND,
    })
}

fn call(monitor: &Monitor, method: &str, params: Value, now_ns: u64) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params});
    let answer = monitor.answer(&request, now_ns).unwrap();
    assert_eq!(
        (&answer["id"], &answer["jsonrpc"]),
        (&json!(7), &json!("2.0"))
    );
    answer
}

#[test]
fn queue_pairs_are_listed_while_they_exist() {
    let monitor = monitor();
    assert_eq!(
        call(&monitor, "list_all_qpair", json!([]), 0)["result"],
        json!([])
    );
    let admin = CmdLog::new(QueueId::ADMIN);
    let io = CmdLog::new(QueueId(1));
    io.submit(&Sqe::default(), 0, 0);
    let first = monitor.watch("0000:01:00.0", "a drive", 512, admin);
    let second = monitor.watch("0000:01:00.0", "a drive", 512, io);
    let list = call(&monitor, "list_all_qpair", json!([]), 0)["result"].clone();
    let expected = json!([
        {"ctrlr": "0000:01:00.0", "qid": 1, "outstanding": 0, "qpair": 1, "model": "a drive"},
        {"ctrlr": "0000:01:00.0", "qid": 2, "outstanding": 1, "qpair": 2, "model": "a drive"},
    ]);
    assert_eq!(list, expected);
    drop(second);
    let list = call(&monitor, "list_all_qpair", json!([]), 0)["result"].clone();
    assert_eq!(list.as_array().unwrap().len(), 1);
    drop(first);
}

#[test]
fn rates_are_those_since_they_were_asked_for_last() {
    let monitor = monitor();
    let log = CmdLog::new(QueueId(1));
    let watch = monitor.watch("d", "m", 4096, log.clone());
    for _ in 0..100 {
        let number = log.submit(&Sqe::default(), 8192, 0);
        log.complete(number, &Cqe::default(), 0);
    }
    let at = |seconds: u64| call(&monitor, "get_iostat", json!([]), seconds * SECOND);
    // Two seconds after the start.
    assert_eq!(at(7)["result"], json!([100, 50]));
    assert_eq!(at(8)["result"], json!([0, 0]));
    let number = log.submit(&Sqe::default(), 4096, 0);
    log.complete(number, &Cqe::default(), 0);
    // What a queue pair did counts after it is gone.
    drop(watch);
    assert_eq!(at(9)["result"], json!([1, 1]));
}

#[test]
fn the_command_log_is_told_newest_first_with_completions() {
    let monitor = monitor();
    let log = CmdLog::new(QueueId(1));
    let _watch = monitor.watch("d", "m", 512, log.clone());
    let mut sqe = Sqe::new(NvmOpcode::WRITE.0, NamespaceId(1));
    sqe.command_id.set(9);
    let number = log.submit(&sqe, 512, 5 * SECOND);
    let mut cqe = Cqe::default();
    cqe.set_status(Status::LBA_OUT_OF_RANGE, true);
    log.complete(number, &cqe, 5 * SECOND + 2000);
    log.submit(&Sqe::new(NvmOpcode::FLUSH.0, NamespaceId(1)), 0, 6 * SECOND);
    let lines = call(&monitor, "get_cmdlog", json!([1]), 0)["result"].clone();
    let line = |index: usize| lines[index].as_str().unwrap().to_owned();
    assert_eq!(lines.as_array().unwrap().len(), 4);
    assert!(
        line(0).contains("[cmd001: Flush]\n0x00000000, 0x00000001, "),
        "{}",
        line(0)
    );
    assert_eq!(line(1), "not completed\n...\n");
    assert!(
        line(2).contains("[cmd002: Write]\n0x00090001, 0x00000001, "),
        "{}",
        line(2)
    );
    let ended = format!(
        ": [cpl: {}]\n0x00000000, 0x00000000, 0x00010000, ",
        Status::LBA_OUT_OF_RANGE
    );
    assert!(line(3).contains(&ended), "{}", line(3));
    assert!(line(3).contains(".000002"), "{}", line(3));
}

#[test]
fn what_is_no_request_is_refused_with_the_way_out() {
    let monitor = monitor();
    let refused = |request: Value| monitor.answer(&request, 0).unwrap()["error"].clone();
    assert_eq!(refused(json!({"id": 1}))["code"], -32600);
    assert_eq!(refused(json!(7))["code"], -32600);
    assert_eq!(refused(json!([]))["code"], -32600);
    let unknown = json!({"jsonrpc": "2.0", "id": 1, "method": "reboot"});
    assert_eq!(refused(unknown)["code"], -32601);
    for params in [
        json!(null),
        json!([]),
        json!(["x"]),
        json!([1, 2]),
        json!([5]),
    ] {
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "get_cmdlog", "params": params});
        let error = refused(request);
        assert_eq!(error["code"], -32602, "{error}");
        assert!(
            error["message"]
                .as_str()
                .unwrap()
                .contains("list_all_qpair")
        );
    }
    // A notification is not answered, and neither is a batch of them.
    let silent = json!({"jsonrpc": "2.0", "method": "get_iostat"});
    assert!(monitor.answer(&silent, 0).is_none());
    assert!(monitor.answer(&json!([silent]), 0).is_none());
}

fn say(stream: &mut UnixStream, text: &str) -> Value {
    stream.write_all(text.as_bytes()).unwrap();
    let mut answers = serde_json::Deserializer::from_reader(stream).into_iter();
    answers.next().unwrap().unwrap()
}

#[test]
fn the_socket_is_its_owners_and_answers_many_clients() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("monitor.sock");
    let clock = MonotonicClock::start();
    let server = MonitorServer::start(&path, monitor(), clock).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = MonitorServer::start(&path, monitor(), clock).unwrap_err();
    assert!(taken.to_string().contains("monitor.sock"), "{taken}");
    let mut one = UnixStream::connect(&path).unwrap();
    let mut other = UnixStream::connect(&path).unwrap();
    let list = r#"{"id": 1, "jsonrpc": "2.0", "method": "list_all_qpair", "params": []}"#;
    for _ in 0..3 {
        assert_eq!(say(&mut one, list)["result"], json!([]));
        assert_eq!(say(&mut other, list)["result"], json!([]));
    }
    assert_eq!(say(&mut one, "{nonsense")["error"]["code"], -32700);
    assert_eq!(
        one.read(&mut [0; 8]).unwrap(),
        0,
        "the connection is closed"
    );
    // A request that never ends is one that is too long.
    let endless = format!("{{\"id\": \"{}", "x".repeat(70 << 10));
    assert_eq!(say(&mut other, &endless)["error"]["code"], -32700);
    drop(server);
    assert!(!path.exists());
}
