//! Memory for data, all of it allocated before the first command.

use driver::ioworker::fill_random;
use driver::transport::Transport;
use driver::{Controller, DmaBuffer, DmaSlice};
use nvme::{DSM_RANGES_MAX, DsmRange, Lba};
use traces::Clock;

use crate::{ReplayError, ReplayOptions};

const PAGE: usize = 4096;
/// Writes start at so many different pages of the pattern.
const PATTERN_PAGES: usize = 256;
/// The most memory that reads land in.
const SINK_BYTES_MAX: usize = 32 << 20;
/// Dataset Management commands that can be in flight.
const RANGE_PAGES: u16 = 256;

/// What moves between host and device.
///
/// Nobody looks at what was read, so reads take turns in a memory that is large
/// enough to keep those in flight apart where that costs little, and share it
/// where it would cost much. Writes all read one pattern, each from a page that
/// follows from its address: no command copies or fills anything.
#[derive(Debug)]
pub(crate) struct Buffers {
    pattern: DmaBuffer,
    sink: DmaBuffer,
    sink_at: usize,
    ranges: DmaBuffer,
    free_ranges: Vec<RangePage>,
}

/// A page for the ranges of a Dataset Management command, until it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangePage(pub(crate) u16);

const FAILED: &str = "allocating memory for data";

impl Buffers {
    /// Buffers for commands of up to `transfer_bytes_max` bytes, of which
    /// `in_flight_max` are in flight at a time.
    pub(crate) fn allocate<T: Transport, C: Clock>(
        controller: &mut Controller<T, C>,
        transfer_bytes_max: usize,
        in_flight_max: usize,
        options: &ReplayOptions,
    ) -> Result<Self, ReplayError> {
        let transfer = transfer_bytes_max.max(PAGE).next_multiple_of(PAGE);
        let mut allocate = |bytes| {
            controller
                .allocate_dma(bytes)
                .map_err(ReplayError::driver(FAILED))
        };
        let mut pattern = allocate(transfer + PATTERN_PAGES * PAGE)?;
        let sink_bytes = transfer.saturating_mul(in_flight_max).min(SINK_BYTES_MAX);
        let sink = allocate(sink_bytes.max(transfer))?;
        let ranges = allocate(usize::from(RANGE_PAGES) * PAGE)?;
        let mut random = fastrand::Rng::with_seed(options.seed);
        let share = 100_usize.saturating_sub(options.compressibility.into());
        let mut page = [0; PAGE];
        for offset in (0..pattern.len()).step_by(PAGE) {
            fill_random(&mut page, share, &mut random);
            pattern
                .write_at(offset, &page)
                .map_err(ReplayError::driver(FAILED))?;
        }
        Ok(Self {
            pattern,
            sink,
            sink_at: 0,
            ranges,
            free_ranges: (0..RANGE_PAGES).rev().map(RangePage).collect(),
        })
    }

    /// Data of `bytes` bytes to write at `lba`: the same for the same address
    /// and seed.
    pub(crate) fn for_write(&self, lba: Lba, bytes: usize) -> Result<DmaSlice<'_>, ReplayError> {
        // Neighbours start at different pages; 2654435761 is 2^32 / phi.
        let hash = lba.0.wrapping_mul(2_654_435_761) >> 16;
        let page = usize::try_from(hash % PATTERN_PAGES as u64).unwrap_or(0);
        self.pattern
            .slice(page * PAGE, bytes)
            .map_err(ReplayError::driver("finding data to write"))
    }

    /// Room for `bytes` bytes that are read.
    pub(crate) fn for_read(&mut self, bytes: usize) -> Result<DmaSlice<'_>, ReplayError> {
        if self.sink_at.saturating_add(bytes) > self.sink.len() {
            self.sink_at = 0;
        }
        let offset = self.sink_at;
        self.sink_at += bytes.next_multiple_of(PAGE);
        self.sink
            .slice(offset, bytes)
            .map_err(ReplayError::driver("finding room for data that is read"))
    }

    /// Whether there is a page for ranges.
    pub(crate) fn has_range_page(&self) -> bool {
        !self.free_ranges.is_empty()
    }

    /// `ranges`, of which there are at most 256, in a page of their own; none
    /// where there is none.
    pub(crate) fn put_ranges(
        &mut self,
        ranges: &[DsmRange],
    ) -> Result<Option<(RangePage, DmaSlice<'_>)>, ReplayError> {
        let Some(page) = self.free_ranges.pop() else {
            return Ok(None);
        };
        let ranges = ranges.get(..DSM_RANGES_MAX).unwrap_or(ranges);
        let offset = usize::from(page.0) * PAGE;
        let failed = "writing Dataset Management ranges";
        self.ranges
            .put(offset, ranges)
            .map_err(ReplayError::driver(failed))?;
        let data = self
            .ranges
            .slice(offset, size_of_val(ranges))
            .map_err(ReplayError::driver(failed))?;
        Ok(Some((page, data)))
    }

    /// Takes back the page of a command that is over.
    pub(crate) fn free_range_page(&mut self, page: RangePage) {
        self.free_ranges.push(page);
    }
}
