//! Register, Acquire and Release.

use nvme::{
    ReservationAcquireCdw10, ReservationAcquireData, ReservationRegisterCdw10,
    ReservationRegisterData, ReservationReleaseCdw10, ReservationReleaseData, ReservationType,
    Status,
};

use super::{Held, HostId, Notice, NoticeKind, Outcome, REGISTRANTS_MAX, Registrant, Reservations};

const CONFLICT: Status = Status::RESERVATION_CONFLICT.dnr();
const INVALID: Status = Status::INVALID_FIELD.dnr();

/// Who preempts whom.
struct Preemption<'a> {
    by: &'a HostId,
    key: u64,
    abort: bool,
}

impl Reservations {
    /// Reservation Register of `host` (`NVMe Base 2.1 §7.6`).
    ///
    /// # Errors
    ///
    /// The status to complete the command with; nothing has changed then.
    pub fn register(
        &mut self,
        host: &HostId,
        dword: ReservationRegisterCdw10,
        data: ReservationRegisterData,
    ) -> Result<Outcome, Status> {
        identified(host)?;
        let ptpl = match dword.cptpl() {
            ReservationRegisterCdw10::PTPL_UNCHANGED => self.ptpl,
            ReservationRegisterCdw10::PTPL_CLEAR => false,
            ReservationRegisterCdw10::PTPL_SET => true,
            _ => return Err(INVALID),
        };
        let mut outcome = Outcome::default();
        let (current, new) = (data.crkey.get(), data.nrkey.get());
        match dword.rrega() {
            ReservationRegisterCdw10::REGISTER => self.register_key(host, new)?,
            ReservationRegisterCdw10::UNREGISTER => {
                self.check_key(host, (!dword.iekey()).then_some(current))?;
                self.unregister(|it| it.host == *host);
                self.end_without_holder(host, &mut outcome);
            }
            ReservationRegisterCdw10::REPLACE => {
                let check = self.check_key(host, (!dword.iekey()).then_some(current));
                // A host that ignores keys need not have one
                // (`NVMe Base 2.1 §8.1.22.3`).
                if dword.iekey() && check.is_err() {
                    self.register_key(host, new)?;
                } else {
                    check?;
                    self.replace_key(host, new)?;
                }
            }
            _ => return Err(INVALID),
        }
        self.ptpl = ptpl;
        self.generation = self.generation.wrapping_add(1);
        Ok(outcome)
    }

    /// Reservation Acquire of `host` (`NVMe Base 2.1 §7.5`).
    ///
    /// # Errors
    ///
    /// The status to complete the command with; nothing has changed then.
    pub fn acquire(
        &mut self,
        host: &HostId,
        dword: ReservationAcquireCdw10,
        data: ReservationAcquireData,
    ) -> Result<Outcome, Status> {
        identified(host)?;
        if dword.iekey() {
            return Err(INVALID);
        }
        let abort = match dword.racqa() {
            ReservationAcquireCdw10::ACQUIRE => None,
            ReservationAcquireCdw10::PREEMPT => Some(false),
            ReservationAcquireCdw10::PREEMPT_AND_ABORT => Some(true),
            _ => return Err(INVALID),
        };
        self.check_key(host, Some(data.crkey.get()))?;
        let kind = ReservationType::from_bits(dword.rtype());
        let Some(abort) = abort else {
            self.take(host, kind.ok_or(INVALID)?)?;
            return Ok(Outcome::default());
        };
        let preemption = Preemption {
            by: host,
            key: data.prkey.get(),
            abort,
        };
        let outcome = self.preempt(&preemption, kind)?;
        self.generation = self.generation.wrapping_add(1);
        Ok(outcome)
    }

    /// Reservation Release of `host` (`NVMe Base 2.1 §7.7`).
    ///
    /// # Errors
    ///
    /// The status to complete the command with; nothing has changed then.
    pub fn release(
        &mut self,
        host: &HostId,
        dword: ReservationReleaseCdw10,
        data: ReservationReleaseData,
    ) -> Result<Outcome, Status> {
        identified(host)?;
        if dword.iekey() {
            return Err(INVALID);
        }
        let clear = match dword.rrela() {
            ReservationReleaseCdw10::RELEASE => false,
            ReservationReleaseCdw10::CLEAR => true,
            _ => return Err(INVALID),
        };
        self.check_key(host, Some(data.crkey.get()))?;
        let mut outcome = Outcome::default();
        if clear {
            self.tell_others(host, NoticeKind::ReservationPreempted, &mut outcome);
            self.registrants.clear();
            self.held = None;
            self.generation = self.generation.wrapping_add(1);
            return Ok(outcome);
        }
        // Releasing what one does not hold succeeds, and does nothing.
        let Some(held) = self.held.filter(|_| self.is_holder(host)) else {
            return Ok(outcome);
        };
        if held.kind.into_bits() != dword.rtype() {
            return Err(INVALID);
        }
        self.held = None;
        if !held.kind.is_for_holder_only() {
            self.tell_others(host, NoticeKind::ReservationReleased, &mut outcome);
        }
        Ok(outcome)
    }

    /// Registers `key`, unless `host` has another one already.
    fn register_key(&mut self, host: &HostId, key: u64) -> Result<(), Status> {
        // Preempting key 0 means everybody: it is nobody's.
        if key == 0 {
            return Err(INVALID);
        }
        if let Some(it) = self.registrants.iter().find(|it| it.host == *host) {
            return if it.key == key { Ok(()) } else { Err(CONFLICT) };
        }
        if self.registrants.len() >= REGISTRANTS_MAX {
            return Err(Status::INSUFFICIENT_RESOURCES.dnr());
        }
        self.registrants.push(Registrant { host: *host, key });
        Ok(())
    }

    fn replace_key(&mut self, host: &HostId, key: u64) -> Result<(), Status> {
        if key == 0 {
            return Err(INVALID);
        }
        for it in self.registrants.iter_mut().filter(|it| it.host == *host) {
            it.key = key;
        }
        Ok(())
    }

    /// That `host` is registered, with `key` where that counts.
    fn check_key(&self, host: &HostId, key: Option<u64>) -> Result<(), Status> {
        let of_host = |it: &&Registrant| it.host == *host;
        let it = self.registrants.iter().find(of_host).ok_or(CONFLICT)?;
        match key {
            Some(key) if key != it.key => Err(CONFLICT),
            _ => Ok(()),
        }
    }

    /// The action Acquire, for a registrant.
    fn take(&mut self, host: &HostId, kind: ReservationType) -> Result<(), Status> {
        match self.held {
            None => {
                self.held = Some(Held {
                    kind,
                    holder: *host,
                });
                Ok(())
            }
            Some(held) if held.kind == kind && self.is_holder(host) => Ok(()),
            Some(_) => Err(CONFLICT),
        }
    }

    /// The actions Preempt and Preempt and Abort (`NVMe Base 2.1 §8.1.22.7`).
    fn preempt(
        &mut self,
        preemption: &Preemption<'_>,
        kind: Option<ReservationType>,
    ) -> Result<Outcome, Status> {
        let key = preemption.key;
        let replaced = match self.held {
            None => None,
            Some(held) if held.kind.is_held_by_all() => (key == 0).then_some(held),
            Some(held) => {
                let holds = |it: &Registrant| it.host == held.holder && it.key == key;
                let holder = self.registrants.iter().any(holds);
                if !holder && key == 0 {
                    return Err(INVALID);
                }
                holder.then_some(held)
            }
        };
        let Some(held) = replaced else {
            return self.preempt_registrants(preemption);
        };
        let kind = kind.ok_or(INVALID)?;
        let mut outcome = Outcome::default();
        let by = *preemption.by;
        let hit = |it: &Registrant| it.host != by && (key == 0 || it.key == key);
        self.remove(preemption, hit, &mut outcome);
        self.held = Some(Held { kind, holder: by });
        if held.kind != kind {
            self.tell_others(&by, NoticeKind::ReservationReleased, &mut outcome);
        }
        Ok(outcome)
    }

    /// Unregisters who has the key, be it the host itself. The reservation
    /// stays as long as it has a holder.
    fn preempt_registrants(&mut self, preemption: &Preemption<'_>) -> Result<Outcome, Status> {
        let key = preemption.key;
        if !self.registrants.iter().any(|it| it.key == key) {
            return Err(CONFLICT);
        }
        let mut outcome = Outcome::default();
        self.remove(preemption, |it| it.key == key, &mut outcome);
        self.end_without_holder(preemption.by, &mut outcome);
        Ok(outcome)
    }

    /// Unregisters whom `hit` names, and notes who is to know.
    fn remove(
        &mut self,
        preemption: &Preemption<'_>,
        hit: impl Fn(&Registrant) -> bool,
        outcome: &mut Outcome,
    ) {
        for it in self.registrants.iter().filter(|it| hit(it)) {
            if it.host != *preemption.by {
                outcome.notices.push(Notice {
                    host: it.host,
                    kind: NoticeKind::RegistrationPreempted,
                });
            }
            if preemption.abort {
                outcome.abort.push(it.host);
            }
        }
        self.unregister(hit);
    }

    fn unregister(&mut self, hit: impl Fn(&Registrant) -> bool) {
        self.registrants.retain(|it| !hit(it));
    }

    /// Ends a reservation whose holder is no longer registered, and tells the
    /// registrants where it was theirs, too (`NVMe Base 2.1 §8.1.22.4`).
    fn end_without_holder(&mut self, by: &HostId, outcome: &mut Outcome) {
        let Some(held) = self.held else {
            return;
        };
        let has_holder = if held.kind.is_held_by_all() {
            !self.registrants.is_empty()
        } else {
            self.is_registrant(&held.holder)
        };
        if has_holder {
            return;
        }
        self.held = None;
        if !held.kind.is_for_holder_only() {
            self.tell_others(by, NoticeKind::ReservationReleased, outcome);
        }
    }

    /// Notifies every registrant but `host`.
    fn tell_others(&self, host: &HostId, kind: NoticeKind, outcome: &mut Outcome) {
        let others = self.registrants.iter().filter(|it| it.host != *host);
        outcome.notices.extend(others.map(|it| Notice {
            host: it.host,
            kind,
        }));
    }
}

/// That the host said who it is, without which nothing can be its own.
fn identified(host: &HostId) -> Result<(), Status> {
    if host.is_set() {
        Ok(())
    } else {
        Err(Status::HOST_ID_NOT_INITIALIZED.dnr())
    }
}
