//! Questions and answers between processes of one user: JSON-RPC 2.0 on a Unix
//! socket that only its owner can connect to.
//!
//! ```text
//!   Client --> socket --> Server (a thread for each client) --> Methods
//! ```
//!
//! A server bounds everything that a client can do to it: how long a request is,
//! how many clients there are, and how long one that says nothing keeps its
//! place once others wait for it. What is no request is answered with what would
//! be one.
//!
//! This crate knows of no method. Who answers does that in threads of this
//! crate, so that whatever else goes on in the process is not held up.

mod client;
mod server;

pub use client::{CallError, Client};
pub use server::{Framing, ListenError, Server};

use serde_json::{Value, json};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The protocol's code, or one of the method's own.
    pub code: i32,
    /// What to do instead, for a person.
    pub message: String,
}

impl Refusal {
    /// What was sent is not JSON.
    pub const PARSE_ERROR: i32 = -32700;
    /// It is not a request.
    pub const INVALID_REQUEST: i32 = -32600;
    /// There is no such method.
    pub const METHOD_NOT_FOUND: i32 = -32601;
    /// The method takes other parameters.
    pub const INVALID_PARAMS: i32 = -32602;
    /// What was asked for cannot be done just now.
    pub const FAILED: i32 = -32000;

    /// With one of the codes above.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// What a server answers.
pub trait Methods {
    /// Does what `method` says.
    ///
    /// # Errors
    ///
    /// [`Refusal`], which the client is told.
    fn call(&self, method: &str, params: &Value) -> Result<Value, Refusal>;
}

/// The answer to a request, or to a batch of them; none where none is wanted, as
/// for a notification.
pub fn answer(methods: &impl Methods, request: &Value) -> Option<Value> {
    let Value::Array(batch) = request else {
        return answer_one(methods, request);
    };
    if batch.is_empty() {
        let message = "the batch is empty";
        return Some(error(&Value::Null, Refusal::INVALID_REQUEST, message));
    }
    let answers: Vec<Value> = batch
        .iter()
        .filter_map(|one| answer_one(methods, one))
        .collect();
    (!answers.is_empty()).then_some(Value::Array(answers))
}

fn answer_one(methods: &impl Methods, request: &Value) -> Option<Value> {
    let id = request.get("id");
    let method = request.get("method").and_then(Value::as_str);
    let (Some(method), Some("2.0")) = (method, request.get("jsonrpc").and_then(Value::as_str))
    else {
        let id = id.unwrap_or(&Value::Null);
        let message = "a request is an object with jsonrpc \"2.0\", id, method and params";
        return Some(error(id, Refusal::INVALID_REQUEST, message));
    };
    let params = request.get("params").unwrap_or(&Value::Null);
    let result = methods.call(method, params);
    // A request without an identifier is a notification.
    let id = id?;
    Some(match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(Refusal { code, message }) => error(id, code, &message),
    })
}

fn error(id: &Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}

#[cfg(test)]
mod tests;
