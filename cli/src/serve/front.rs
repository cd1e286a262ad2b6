//! What a served disk is to its guests.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use vssd::front::{Function, Options, ServeError, vfio_user, vhost_user};
use vssd::worker::StopHandle;

/// How a guest sees a drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Front {
    /// As an NVMe drive over vfio-user.
    Nvme,
    /// As a virtio disk over vhost-user, on this socket.
    Virtio(PathBuf),
}

/// A socket, listening.
pub(super) enum Server {
    Nvme(vfio_user::Server),
    Virtio(vhost_user::Server),
}

impl Server {
    /// Listens on `socket`.
    pub(super) fn bind<F: Function>(
        front: &Front,
        socket: &Path,
        options: Options,
        drive: &F,
    ) -> Result<Self> {
        Ok(match front {
            Front::Nvme => Self::Nvme(vfio_user::Server::bind(socket, options)?),
            Front::Virtio(_) if drive.block_device().is_none() => bail!(
                "a virtio guest can use nothing but namespace 1, without metadata and zones: \
                 format it (`vssd device format`), or give --no-state for a new drive"
            ),
            Front::Virtio(_) => Self::Virtio(vhost_user::Server::bind(socket, options)?),
        })
    }

    /// Serves one guest after the other, until `stop` says so.
    pub(super) fn run(
        &mut self,
        function: &mut dyn Function,
        stop: &StopHandle,
    ) -> Result<(), ServeError> {
        match self {
            Self::Nvme(server) => server.run(function, stop),
            Self::Virtio(server) => server.run(function, stop),
        }
    }
}
