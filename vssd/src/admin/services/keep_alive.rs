//! The Keep Alive timer.

/// The Keep Alive timer (`NVMe Base 2.1 §3.9`): optional over PCIe, and off
/// until the host sets a timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeepAlive {
    timeout_ms: u32,
    restarted_ns: u64,
    expired: bool,
}

impl KeepAlive {
    /// The feature was set: rounded up to units of `unit_ms`. 0 is off.
    pub(crate) fn set(&mut self, timeout_ms: u32, unit_ms: u32, now_ns: u64) {
        let unit_ms = unit_ms.max(1);
        let units = timeout_ms.div_ceil(unit_ms);
        self.timeout_ms = units.saturating_mul(unit_ms);
        self.restarted_ns = now_ns;
    }

    /// Keep Alive (`NVMe Base 2.1 §5.1.14`).
    pub(crate) const fn restart(&mut self, now_ns: u64) {
        self.restarted_ns = now_ns;
    }

    /// Whether the timer runs.
    pub(crate) const fn is_running(self) -> bool {
        self.timeout_ms > 0 && !self.expired
    }

    /// Whether the timer expired just now: the controller is to fail.
    pub(crate) fn poll(&mut self, now_ns: u64) -> bool {
        let passed_ms = now_ns.saturating_sub(self.restarted_ns) / 1_000_000;
        let over = self.is_running() && passed_ms > u64::from(self.timeout_ms);
        self.expired |= over;
        over
    }

    /// A controller level reset: the timer is off.
    pub(crate) const fn reset(&mut self) {
        *self = Self {
            timeout_ms: 0,
            restarted_ns: 0,
            expired: false,
        };
    }
}
