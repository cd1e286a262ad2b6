//! Zone Management Receive: reports of zones (`ZNS Command Set 1.1 §3.4`).

use nvme::{
    Lba, Status, ZoneAttributes, ZoneDescriptor, ZoneListHeader, ZoneReceiveAction,
    ZoneReceiveCdw13, ZoneReporting,
};
use zerocopy::IntoBytes;

use super::Zones;

/// What a Zone Management Receive command asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    /// A block of the first zone to report.
    pub slba: Lba,
    /// Which zones.
    pub reporting: ZoneReporting,
    /// With zone descriptor extensions.
    pub extended: bool,
    /// Count the zones whose descriptors fit, not all that there are.
    pub partial: bool,
    /// The size of the answer, bytes.
    pub bytes: u64,
}

impl ReportRequest {
    /// The request of a command; `numd` is CDW12.
    ///
    /// # Errors
    ///
    /// A value is reserved.
    pub fn decode(slba: Lba, numd: u32, cdw13: ZoneReceiveCdw13) -> Result<Self, Status> {
        let action = ZoneReceiveAction::from_number(cdw13.zra());
        let reporting = ZoneReporting::from_number(cdw13.zrasf());
        let invalid = Status::INVALID_FIELD.dnr();
        Ok(Self {
            slba,
            reporting: reporting.ok_or(invalid)?,
            extended: action.ok_or(invalid)? == ZoneReceiveAction::ExtendedReport,
            partial: cdw13.partial(),
            bytes: u64::from(numd).saturating_add(1).saturating_mul(4),
        })
    }
}

/// A report, to be taken in pieces of any size.
#[derive(Clone, Debug)]
pub struct Report<'z> {
    zones: &'z Zones,
    request: ReportRequest,
    /// The zone to look at next.
    next: u32,
    /// Descriptors that may yet be begun; what fits not as a whole is left out.
    descriptors: u64,
    piece: Piece,
    /// Bytes of the piece that are taken.
    taken: usize,
}

/// What is being taken.
#[derive(Clone, Copy, Debug)]
enum Piece {
    Header(ZoneListHeader),
    Descriptor(u32, ZoneDescriptor),
    Extension(u32),
    End,
}

impl Zones {
    /// Begins a report.
    ///
    /// # Errors
    ///
    /// What the host is told.
    pub fn report(&self, request: ReportRequest) -> Result<Report<'_>, Status> {
        let first = self.index_of(request.slba)?;
        if request.extended && self.geometry.extension_bytes == 0 {
            return Err(Status::INVALID_FIELD.dnr());
        }
        let header = u64::try_from(size_of::<ZoneListHeader>()).unwrap_or(u64::MAX);
        let descriptor = u64::try_from(size_of::<ZoneDescriptor>()).unwrap_or(u64::MAX);
        let extension = match request.extended {
            true => u64::from(self.geometry.extension_bytes),
            false => 0,
        };
        let room = request.bytes.saturating_sub(header);
        let fit = room.checked_div(descriptor.saturating_add(extension));
        let fit = fit.unwrap_or(0);
        let zones = match request.partial {
            true => self.count_from(first, request.reporting, fit),
            false => self.count_from(first, request.reporting, u64::MAX),
        };
        Ok(Report {
            zones: self,
            request,
            next: first,
            descriptors: fit.min(zones),
            piece: Piece::Header(ZoneListHeader {
                zones: zones.into(),
                ..ZoneListHeader::default()
            }),
            taken: 0,
        })
    }

    /// The number of zones from `first` on that a report lists, up to `max`.
    fn count_from(&self, first: u32, reporting: ZoneReporting, max: u64) -> u64 {
        match reporting {
            ZoneReporting::All => u64::from(self.geometry.zones.saturating_sub(first)).min(max),
            ZoneReporting::In(state) if first == 0 => u64::from(self.count(state)).min(max),
            ZoneReporting::In(_) => {
                let mut zones: u64 = 0;
                for index in first..self.geometry.zones {
                    if zones >= max {
                        break;
                    }
                    zones = zones.saturating_add(u64::from(reporting.lists(self.at(index).state)));
                }
                zones
            }
        }
    }

    /// The descriptor of a zone.
    fn describe(&self, index: u32) -> ZoneDescriptor {
        let zone = self.at(index);
        let start = self.start(index);
        let wp = if zone.state.has_write_pointer() {
            start.saturating_add(zone.written)
        } else {
            ZoneDescriptor::NO_WRITE_POINTER
        };
        ZoneDescriptor {
            zt: ZoneDescriptor::SEQUENTIAL_WRITE_REQUIRED,
            zs: ZoneDescriptor::zs(zone.state),
            za: ZoneAttributes::new()
                .with_zrwa(zone.zrwa)
                .with_extension(self.extensions.contains_key(&index)),
            zcap: self.geometry.capacity_blocks.into(),
            zslba: start.into(),
            wp: wp.into(),
            ..ZoneDescriptor::default()
        }
    }
}

impl Report<'_> {
    /// Fills `to` with the next bytes of the report; what follows its end is
    /// zeroes. Neither the size nor the number of calls matters.
    pub fn fill(&mut self, mut to: &mut [u8]) {
        while !to.is_empty() {
            let (taken, at_end) = self.take(to);
            let Some(rest) = to.get_mut(taken..) else {
                return;
            };
            if at_end {
                self.advance();
            }
            to = rest;
        }
    }

    /// Copies what is left of the piece, or as much as fits. Says how much, and
    /// whether the piece is at its end.
    fn take(&mut self, to: &mut [u8]) -> (usize, bool) {
        let extension_bytes = self.zones.geometry.extension_bytes as usize;
        let (bytes, len): (&[u8], usize) = match &self.piece {
            Piece::Header(header) => (header.as_bytes(), size_of::<ZoneListHeader>()),
            Piece::Descriptor(_, descriptor) => {
                (descriptor.as_bytes(), size_of::<ZoneDescriptor>())
            }
            Piece::Extension(index) => {
                let extension = self.zones.extensions.get(index);
                (extension.map_or(&[], |bytes| bytes), extension_bytes)
            }
            Piece::End => {
                to.fill(0);
                return (to.len(), false);
            }
        };
        let wanted = to.len().min(len.saturating_sub(self.taken));
        let rest = bytes.get(self.taken..).unwrap_or(&[]);
        let there = rest.len().min(wanted);
        if let (Some(to), Some(from)) = (to.get_mut(..there), rest.get(..there)) {
            to.copy_from_slice(from);
        }
        // An extension that is not there is zeroes.
        if let Some(to) = to.get_mut(there..wanted) {
            to.fill(0);
        }
        self.taken = self.taken.saturating_add(wanted);
        (wanted, self.taken >= len)
    }

    /// Goes on to the next piece.
    fn advance(&mut self) {
        self.taken = 0;
        self.piece = match self.piece {
            Piece::Descriptor(index, _) if self.request.extended => Piece::Extension(index),
            _ => self.next_zone(),
        };
    }

    fn next_zone(&mut self) -> Piece {
        while self.descriptors > 0 && self.next < self.zones.geometry.zones {
            let index = self.next;
            self.next = self.next.saturating_add(1);
            if self.request.reporting.lists(self.zones.at(index).state) {
                self.descriptors = self.descriptors.saturating_sub(1);
                return Piece::Descriptor(index, self.zones.describe(index));
            }
        }
        Piece::End
    }
}
