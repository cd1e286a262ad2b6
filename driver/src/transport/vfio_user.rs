//! A device over a vfio-user socket: our vssd, or any other server.

mod socket;

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nvme::Registers;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use self::socket::Socket;
use super::memory::DmaArena;
use super::{Doorbells, Fault, Link, Transport};
use crate::pci::PciConfig;
use crate::{DmaBuffer, DriverError};

/// The socket in a directory, where a directory is given: the convention of
/// SPDK's servers.
const SOCKET_IN_DIRECTORY: &str = "cntrl";

/// The client's end of a vfio-user connection.
#[derive(Debug)]
pub struct VfioUser {
    link: Arc<Socket>,
    arena: DmaArena,
    doorbells: Doorbells,
    vectors: u16,
}

impl VfioUser {
    /// Connects to the server at `path`: a socket, or a directory with one
    /// named `cntrl`. Waits a few seconds at most.
    ///
    /// # Errors
    ///
    /// [`DriverError::NobodyListens`] where there is no server, [`DriverError::Transport`]
    /// where there is one that does not speak vfio-user or is no NVMe
    /// controller.
    pub fn connect(path: &Path) -> Result<Self, DriverError> {
        let path = socket_path(path);
        let name = format!("vfio-user:{}", path.display());
        let stream = connect_within(&path)?;
        let link = Arc::new(Socket::new(name, stream)?);
        link.agree()?;
        let doorbells = link.find_doorbells()?;
        let vectors = link.vectors()?;
        let mut transport = Self {
            link,
            arena: DmaArena::new(),
            doorbells,
            vectors,
        };
        PciConfig::of(&mut transport).switch_on()?;
        Ok(transport)
    }
}

/// The socket that `path` means.
fn socket_path(path: &Path) -> PathBuf {
    if path.is_dir() {
        path.join(SOCKET_IN_DIRECTORY)
    } else {
        path.to_owned()
    }
}

/// Connects, and does not hang where the server's backlog is full: such a
/// server is one that serves somebody else.
fn connect_within(path: &Path) -> Result<UnixStream, DriverError> {
    let device = || format!("vfio-user:{}", path.display());
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => DriverError::NobodyListens {
            path: path.to_owned(),
            source,
        },
        io::ErrorKind::WouldBlock => DriverError::transport(
            &device(),
            "connecting",
            "too many others wait for this vssd already: a server takes one client at a time",
        ),
        _ => DriverError::transport(&device(), "connecting", source),
    };
    if let Ok(metadata) = path.metadata()
        && !metadata.file_type().is_socket()
    {
        return Err(DriverError::transport(
            &device(),
            "connecting",
            "this is not a socket: give the path that `vssd serve --vfio-user` was given",
        ));
    }
    let address = SocketAddrUnix::new(path).map_err(|error| failed(error.into()))?;
    // On a UNIX socket, a non-blocking connect is done or refused at once.
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
    .map_err(|error| failed(error.into()))?;
    connect(&socket, &address).map_err(|error| failed(error.into()))?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(false).map_err(failed)?;
    Ok(stream)
}

impl Registers for VfioUser {
    fn read32(&mut self, offset: u32) -> u32 {
        let mut bytes = [0; 4];
        self.link.register_read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn write32(&mut self, offset: u32, value: u32) {
        self.link.register_write(offset, &value.to_le_bytes());
    }

    fn read64(&mut self, offset: u32) -> u64 {
        let mut bytes = [0; 8];
        self.link.register_read(offset, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn write64(&mut self, offset: u32, value: u64) {
        self.link.register_write(offset, &value.to_le_bytes());
    }
}

impl Transport for VfioUser {
    fn name(&self) -> &str {
        &self.link.name
    }

    fn allocate_dma(&mut self, bytes: usize) -> Result<DmaBuffer, DriverError> {
        self.arena
            .allocate(bytes, |region| self.link.announce(region))
    }

    fn doorbells(&self) -> Doorbells {
        self.doorbells.clone()
    }

    fn reset(&mut self) -> Result<(), DriverError> {
        self.link.reset()?;
        // A function reset clears the command register
        // (`PCI Express Base 5.0 §6.6.2`).
        PciConfig::of(self).switch_on()
    }

    fn interrupts(&self) -> u16 {
        self.vectors
    }

    fn set_interrupt(
        &mut self,
        vector: u16,
        eventfd: Option<BorrowedFd<'_>>,
    ) -> Result<(), DriverError> {
        self.link.set_interrupt(vector, eventfd)
    }

    fn config_read(&mut self, offset: u16, to: &mut [u8]) -> Result<(), DriverError> {
        self.link.config_read(offset, to)
    }

    fn config_write(&mut self, offset: u16, from: &[u8]) -> Result<(), DriverError> {
        self.link.config_write(offset, from)
    }

    fn fault(&self) -> Option<Fault> {
        self.link.fault()
    }

    fn link(&self) -> Option<Arc<dyn Link>> {
        Some(Arc::<Socket>::clone(&self.link))
    }
}
