//! A client of the monitoring socket.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// Connects as soon as somebody listens.
#[expect(
    clippy::disallowed_methods,
    reason = "another process has to get that far"
)]
pub(crate) fn connect(path: &Path) -> UnixStream {
    for _ in 0..600 {
        if let Ok(stream) = UnixStream::connect(path) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody listens on {}", path.display());
}

/// What the answer to a request says.
pub(crate) fn call(stream: &mut UnixStream, method: &str, params: &Value) -> Value {
    let request = json!({"id": 3, "jsonrpc": "2.0", "method": method, "params": params});
    stream.write_all(request.to_string().as_bytes()).unwrap();
    let mut answers = serde_json::Deserializer::from_reader(stream).into_iter::<Value>();
    let answer = answers.next().unwrap().unwrap();
    assert_eq!(answer["id"], 3, "{answer}");
    answer["result"].clone()
}
