//! A session without a server, for [`crate::fuzz`].

use std::os::unix::net::UnixStream;

use super::connection::Connection;
use super::session::Session;
use crate::front::Function;
use crate::worker::Attachment;

/// A session with whoever is at the other end of a socket.
pub(crate) struct FuzzedSession(Session);

impl FuzzedSession {
    /// # Panics
    ///
    /// Where the system has no descriptor for it.
    pub(crate) fn new(socket: UnixStream, function: &mut dyn Function) -> Self {
        let connection = Connection::new(socket);
        Self(Session::new(connection, "fuzz".to_owned(), function).unwrap())
    }

    /// Handles what has come; how many messages, and none at the end of the
    /// connection.
    pub(crate) fn service(&mut self, function: &mut dyn Function) -> Option<usize> {
        self.0.service(function).ok()
    }

    /// As a worker that has nothing to do, and is woken.
    pub(crate) fn nap(&mut self, function: &mut dyn Function) {
        let _ = self.0.rest(function);
        self.0.woke(function);
    }

    /// As a server that stops.
    pub(crate) fn wind_down(&mut self, function: &mut dyn Function) {
        self.0.wind_down(function);
    }
}
