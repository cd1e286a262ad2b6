//! Who may look at a drive and steer it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use vssd::counters::Counters;

/// How a drive is looked at and steered while it works.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "While it works")]
pub(crate) struct LiveArguments {
    /// Answer `vssd ctl` and `vssd top` on this socket, which only its owner can
    /// connect to.
    #[arg(long, value_name = "SOCKET")]
    pub(super) control: Option<PathBuf>,
    /// Show numbers to Prometheus at http://ADDR/metrics, such as 127.0.0.1:9464.
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics: Option<SocketAddr>,
}

impl LiveArguments {
    /// Counters for `pairs` I/O queues, where somebody may ask for them.
    pub(super) fn counters(&self, pairs: u16) -> Result<Option<Arc<Counters>>> {
        if self.control.is_none() && self.metrics.is_none() {
            return Ok(None);
        }
        let counters = Counters::new(pairs).context("there is no memory to count in")?;
        Ok(Some(Arc::new(counters)))
    }
}
