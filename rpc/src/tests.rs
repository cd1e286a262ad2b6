use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// Knows two methods.
struct Two;

impl Methods for Two {
    fn call(&self, method: &str, params: &Value) -> Result<Value, Refusal> {
        match method {
            "echo" => Ok(params.clone()),
            "fail" => Err(Refusal::new(Refusal::FAILED, "no: try echo")),
            _ => Err(Refusal::new(Refusal::METHOD_NOT_FOUND, "call echo or fail")),
        }
    }
}

fn code(request: Value) -> Value {
    answer(&Two, &request).unwrap()["error"]["code"].clone()
}

#[test]
fn what_is_no_request_is_refused() {
    for bad in [
        json!({"id": 1}),
        json!(7),
        json!([]),
        json!({"method": "echo"}),
    ] {
        assert_eq!(code(bad), -32600);
    }
    let unknown = json!({"jsonrpc": "2.0", "id": 1, "method": "reboot"});
    assert_eq!(code(unknown), -32601);
    // A notification is not answered, and neither is a batch of them.
    let silent = json!({"jsonrpc": "2.0", "method": "echo"});
    assert!(answer(&Two, &silent).is_none());
    assert!(answer(&Two, &json!([silent])).is_none());
    let asks = json!({"jsonrpc": "2.0", "method": "echo", "id": "x", "params": [3]});
    let batch = answer(&Two, &json!([asks, silent, asks])).unwrap();
    let expected = json!({"jsonrpc": "2.0", "id": "x", "result": [3]});
    assert_eq!(batch, json!([expected, expected]));
}

/// A server and its directory.
fn serve(framing: Framing) -> (tempfile::TempDir, std::path::PathBuf, Server) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let server = Server::start(&path, Two, framing).unwrap();
    (directory, path, server)
}

fn connect(path: &Path) -> Client {
    Client::connect(path, Some(std::time::Duration::from_secs(30))).unwrap()
}

#[test]
fn a_client_is_answered_line_by_line() {
    let (_directory, path, server) = serve(Framing::Lines);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = Server::start(&path, Two, Framing::Lines).unwrap_err();
    assert!(taken.to_string().contains("socket"), "{taken}");
    let (mut one, mut other) = (connect(&path), connect(&path));
    for number in 0..3 {
        assert_eq!(one.call("echo", &json!([number])).unwrap(), json!([number]));
        assert_eq!(other.call("echo", &json!(null)).unwrap(), json!(null));
    }
    let refused = one.call("fail", &json!(null)).unwrap_err();
    assert_eq!(refused.to_string(), "no: try echo");
    drop(server);
    assert!(!path.exists());
    let gone = one.call("echo", &json!(null)).unwrap_err();
    assert!(matches!(gone, CallError::Gone { .. }), "{gone}");
    let nobody = Client::connect(&path, None).unwrap_err();
    assert!(nobody.to_string().contains("--control"), "{nobody}");
}

/// What the server says to `bytes`, until it closes the connection.
fn all_that_is_said_to(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    // A server that has heard enough closes.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut said = String::new();
    let _ = stream.read_to_string(&mut said);
    said
}

#[test]
fn hostile_bytes_are_bounded_and_told_so() {
    let (_directory, path, _server) = serve(Framing::Lines);
    let mut endless = b"{\"id\": \"".to_vec();
    endless.resize(2 << 20, b'x');
    let deep = vec![b'['; 60 << 10];
    let hostile: [&[u8]; 4] = [b"{nonsense\n", b"\xff\xfe\x00\x01", &endless, &deep];
    for bytes in hostile {
        let said = all_that_is_said_to(&path, bytes);
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(answer["error"]["code"], -32700, "{said}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("one JSON object"), "{message}");
    }
    assert_eq!(connect(&path).call("echo", &json!(1)).unwrap(), json!(1));
}

#[test]
fn too_many_clients_are_told_and_silent_ones_make_room() {
    let (_directory, path, _server) = serve(Framing::Lines);
    let mut silent: Vec<_> = (0..server::CLIENTS_MAX)
        .map(|_| UnixStream::connect(&path).unwrap())
        .collect();
    // One has begun a request that never ends.
    silent[0].write_all(b"{\"id\"").unwrap();
    // The last of them has its place by the time that it is answered.
    let ask = b"{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"echo\"}";
    silent[server::CLIENTS_MAX - 1].write_all(ask).unwrap();
    let mut byte = [0];
    silent[server::CLIENTS_MAX - 1]
        .read_exact(&mut byte)
        .unwrap();
    let refused = connect(&path).call("echo", &json!(1)).unwrap_err();
    assert!(refused.to_string().contains("close one"), "{refused}");
    // As long as it takes: somebody asks, and in the end is let in.
    let answered = (0..600).any(|_| {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        connect(&path).call("echo", &json!(1)).is_ok()
    });
    assert!(answered, "the silent ones keep their places");
}
