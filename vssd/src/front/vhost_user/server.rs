//! Clients, one after the other.

use std::path::Path;

use super::connection::{Connection, ConnectionError};
use super::session::Session;
use crate::front::listener::{BindError, Client, Listener, tell_end};
use crate::front::{Function, Options, ServeError};
use crate::worker::{self, Ended, StopHandle};

/// A socket at which a function is served as a virtio block device; see the
/// [module](super).
#[derive(Debug)]
pub struct Server {
    listener: Listener,
}

impl Server {
    /// Makes the socket. The file is removed when the server is dropped; one
    /// that a dead server left behind is replaced.
    ///
    /// # Errors
    ///
    /// [`BindError`], which says what to do.
    pub fn bind(path: &Path, options: Options) -> Result<Self, BindError> {
        let listener = Listener::bind(path, options)?;
        Ok(Self { listener })
    }

    /// The socket's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.listener.path()
    }

    /// Serves `function` to one client after the other, on this thread, until
    /// `stop` says so.
    ///
    /// # Errors
    ///
    /// [`ServeError`] if no client can be waited for any more.
    pub fn run(
        &mut self,
        function: &mut dyn Function,
        stop: &StopHandle,
    ) -> Result<(), ServeError> {
        let options = self.listener.options();
        self.listener
            .serve_each(function, stop, |client, function| {
                serve(client, function, stop, options);
            })
    }
}

/// Serves one client to its end.
fn serve(
    Client { stream, name }: Client,
    function: &mut dyn Function,
    stop: &StopHandle,
    options: Options,
) {
    let ended = match Session::new(Connection::new(stream), name.clone(), function) {
        Ok(mut session) => {
            let ended = worker::drive(function, &mut session, stop, options.idle);
            if session.is_told() {
                if matches!(ended, Ended::Stopped) {
                    session.wind_down(function);
                }
                // The function lets go of the client's memory before the
                // client sees the end of the connection.
                function.disconnected();
            }
            ended
        }
        Err(error) => Ended::Detached(error),
    };
    tell_end(&name, &ended, |error| {
        matches!(error, ConnectionError::Closed)
    });
}
