//! Clients, one after the other.

use std::path::Path;

use wire::{Connection, WireError};

use super::session::Session;
use crate::front::listener::{BindError, Client, Listener, tell_end};
use crate::front::{Function, Options, ServeError};
use crate::worker::{self, StopHandle};

/// A socket at which a function is served; see the [module](super).
///
/// ```no_run
/// # use vssd::front::vfio_user::{Options, Server};
/// # use vssd::worker::StopHandle;
/// # fn serve(function: &mut dyn vssd::front::Function) -> Result<(), Box<dyn std::error::Error>> {
/// let stop = StopHandle::new()?;
/// let mut server = Server::bind("/run/user/1000/drive.sock".as_ref(), Options::default())?;
/// server.run(function, &stop)?;
/// # Ok(())
/// # }
/// ```
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
    let connection = Connection::new(stream);
    let trapped = options.trap_doorbells;
    let mut session = Session::new(connection, name.clone(), function, trapped);
    let ended = worker::drive(function, &mut session, stop, options.idle);
    // The function lets go of the client's memory before the client sees the
    // end of the connection.
    if session.is_agreed() {
        function.disconnected();
        function.set_interrupts(Box::new(()));
        function.dma_unmap_all();
        function.set_bus_master(true);
    }
    drop(session);
    tell_end(&name, &ended, |error| matches!(error, WireError::Closed));
}
