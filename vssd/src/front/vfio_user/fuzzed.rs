//! A session without a server, for [`crate::fuzz`].

use std::os::unix::net::UnixStream;

use wire::{Connection, WireError};

use super::session::Session;
use crate::front::Function;
use crate::worker::Attachment;

/// A session with whoever is at the other end of a socket.
pub(crate) struct FuzzedSession(Session);

impl FuzzedSession {
    pub(crate) fn new(socket: UnixStream, function: &dyn Function) -> Self {
        let connection = Connection::new(socket);
        Self(Session::new(connection, "fuzz".to_owned(), function, false))
    }

    pub(crate) fn service(&mut self, function: &mut dyn Function) -> Result<usize, WireError> {
        self.0.service(function)
    }
}
