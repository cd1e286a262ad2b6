//! Serves a RAM disk at a vfio-user socket, until Enter is pressed or the input
//! ends.
//!
//! ```text
//! cargo run --example serve_ram -- /tmp/drive.sock 64
//! ```
//!
//! Then, for one:
//!
//! ```text
//! qemu-system-x86_64 -machine q35,memory-backend=mem \
//!     -object memory-backend-memfd,id=mem,size=1G,share=on \
//!     -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/tmp/drive.sock"}}'
//! ```

use std::path::Path;

use traces::MonotonicClock;
use vssd::front::vfio_user::{Options, Server};
use vssd::media::Ram;
use vssd::worker::StopHandle;
use vssd::{Controller, ControllerConfig};

/// Shows what the library logs, on stderr.
struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    #[expect(clippy::print_stderr, reason = "a program of its own")]
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            eprintln!("{:5} {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(socket), Some(mebibytes)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve_ram SOCKET MEBIBYTES [LOG-LEVEL]".into());
    };
    let level = match arguments.next() {
        Some(level) => level.parse().map_err(|_| "no such log level")?,
        None => log::LevelFilter::Info,
    };
    log::set_logger(&Log).map_err(|_| "there is a logger already")?;
    log::set_max_level(level);

    let bytes = mebibytes.parse::<u64>()? << 20;
    let mut controller = Controller::new(
        ControllerConfig::default(),
        Ram::new(bytes)?,
        (),
        MonotonicClock::start(),
    )?;
    let mut server = Server::bind(Path::new(&socket), Options::default())?;
    let stop = StopHandle::new()?;
    let handle = stop.clone();
    std::thread::spawn(move || {
        // Whatever ends the input ends the server.
        let _ = std::io::stdin().read_line(&mut String::new());
        handle.stop();
    });
    log::info!("serving {mebibytes} MiB at {socket}");
    server.run(&mut controller, &stop)?;
    Ok(())
}
