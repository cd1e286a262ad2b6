//! What a client says of its queues.

use std::os::fd::OwnedFd;

use vhost::vhost_user::message::{FrontendReq, VhostUserVringAddr, VhostUserVringState};
use vm_memory::ByteValued;

use super::super::connection::Message;
use super::{Answer, Later, NO_FD, Queue, Session, VringAddress, parsed, parsed_number};
use crate::front::{Event, Function};
use crate::virtio::layout::feature;
use crate::virtio::{Beginning, Place};

impl Session {
    /// Looks for running queues again, as memory has changed.
    pub(super) fn find_queues(&self, function: &mut dyn Function) {
        for (index, queue) in (0_u16..).zip(&self.queues) {
            let (rings, memory) = function.rings();
            if rings.is_started(index)
                && let Ok(place) = self.place(queue)
            {
                rings.put(index, place, memory);
            }
        }
    }

    /// Where a queue is, in addresses of the guest's.
    pub(super) fn place(&self, queue: &Queue) -> Result<Place, String> {
        let address = queue.address.ok_or("it has no addresses")?;
        let guest = |what: &str, client: u64| {
            let found = self.memory.guest(client);
            found.ok_or_else(|| format!("its {what} at {client:#x} is in no memory region"))
        };
        Ok(Place {
            entries: queue.entries,
            descriptors: guest("descriptor table", address.descriptors)?,
            available: guest("available ring", address.available)?,
            used: guest("used ring", address.used)?,
        })
    }

    pub(super) fn set_address(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Answer, String> {
        let (address, _) = parsed::<VhostUserVringAddr>(message)?;
        let index = u16::try_from(address.index).unwrap_or(u16::MAX);
        self.queue(index)?.address = Some(VringAddress {
            descriptors: address.descriptor,
            available: address.available,
            used: address.used,
        });
        self.find_queues(function);
        Ok(Answer::Done)
    }

    /// The queue of a message that brings a descriptor, and the descriptor.
    fn vring_fd(&mut self, message: Message) -> Result<(u16, Option<OwnedFd>), String> {
        let value = parsed_number(&message)?;
        let index = u16::try_from(value & (NO_FD - 1)).unwrap_or(u16::MAX);
        self.queue(index)?;
        let mut fds = message.fds;
        match (value & NO_FD != 0, fds.pop()) {
            (true, None) => Ok((index, None)),
            (false, Some(fd)) if fds.is_empty() => Ok((index, Some(fd))),
            _ => Err("it comes with the wrong number of descriptors".to_owned()),
        }
    }

    /// A queue gets something to be kicked by, and starts with that.
    pub(super) fn set_kick(
        &mut self,
        function: &mut dyn Function,
        message: Message,
    ) -> Result<Answer, String> {
        let (index, fd) = self.vring_fd(message)?;
        let unkicked = fd.is_none();
        let set = self.kicks.set(index, fd);
        set.map_err(|errno| format!("the descriptor cannot be waited for: {errno}"))?;
        let enabled = !self.has_protocol();
        let queue = self.queue(index)?;
        queue.unkicked = unkicked;
        queue.enabled |= enabled;
        let queue = *queue;
        let (rings, _) = function.rings();
        if rings.is_started(index) {
            return Ok(Answer::Done);
        }
        let at = |why| format!("queue {index} cannot start: {why}");
        let beginning = Beginning {
            place: self.place(&queue).map_err(at)?,
            base: queue.base,
            event_idx: self.features & feature::EVENT_IDX != 0,
            log: self
                .inflight
                .as_ref()
                .and_then(|file| file.log(index, queue.entries)),
        };
        let (rings, memory) = function.rings();
        let started = rings.start(index, beginning, memory);
        started.map_err(|why| at(why.to_owned()))?;
        rings.enable(index, queue.enabled);
        rings.look(memory);
        log::debug!("{}: queue {index} starts: {queue:?}", self.name);
        Ok(Answer::Done)
    }

    pub(super) fn set_event(
        &mut self,
        function: &mut dyn Function,
        message: Message,
    ) -> Result<Answer, String> {
        let request = message.request;
        let (index, fd) = self.vring_fd(message)?;
        let event = match fd.map(Event::new) {
            Some(None) => return Err("the descriptor is no eventfd".to_owned()),
            Some(event) => event,
            None => None,
        };
        let (rings, _) = function.rings();
        if request == FrontendReq::SET_VRING_CALL {
            rings.set_call(index, event);
        } else {
            rings.set_error(index, event);
        }
        Ok(Answer::Done)
    }

    pub(super) fn get_base(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
    ) -> Result<Answer, String> {
        let (index, _) = self.vring(message)?;
        let (rings, _) = function.rings();
        if !rings.is_started(index) {
            let base = self.queue(index)?.base;
            let state = VhostUserVringState::new(index.into(), base.into());
            return Ok(Answer::Reply(state.as_slice().to_vec(), None));
        }
        rings.halt(index);
        Ok(Answer::Later(Later::Base(index)))
    }
}
