//! What the client is told of the drive, and what it makes of it: configuration space,
//! and the device status.

use vhost::vhost_user::message::{FrontendReq, VhostUserConfig, VhostUserProtocolFeatures};
use vm_memory::ByteValued;

use super::super::config;
use super::super::connection::{BackendChannel, Message};
use super::{Answer, Later, Session, device, parsed, parsed_number};
use crate::front::Function;
use crate::virtio::layout::BlockConfig;

/// The most bytes of configuration space that a client asks for.
const CONFIG_BYTES_MAX: u32 = 256;

impl Session {
    pub(super) fn get_config(
        &mut self,
        function: &dyn Function,
        message: &Message,
    ) -> Result<Answer, String> {
        let (asked, _) = parsed::<VhostUserConfig>(message)?;
        let (offset, size) = (asked.offset, asked.size);
        // What cannot be answered is answered with nothing.
        let end = offset.checked_add(size);
        if end.is_none_or(|end| end > CONFIG_BYTES_MAX) {
            return Ok(Answer::Reply(Vec::new(), None));
        }
        let [offset, size] = [offset, size].map(|n| usize::try_from(n).unwrap_or(0));
        let device = device(function)?;
        let mut reply = asked.as_slice().to_vec();
        reply.extend(config::read(&device, offset, size));
        self.blocks_told = Some(device.blocks);
        Ok(Answer::Reply(reply, None))
    }

    /// Takes the channel for what the client has not asked for.
    pub(super) fn set_backend(
        &mut self,
        function: &dyn Function,
        mut message: Message,
    ) -> Result<Answer, String> {
        self.needs(VhostUserProtocolFeatures::BACKEND_REQ)?;
        let fd = message.fds.pop().ok_or("it brings no descriptor")?;
        self.backend = Some(BackendChannel::new(fd));
        self.tell_change(function);
        Ok(Answer::Done)
    }

    /// Tells the client where the drive has another size than it knows. One that has
    /// no channel finds that when it asks the next time.
    pub(super) fn tell_change(&mut self, function: &dyn Function) {
        let (Some(backend), Some(device)) = (&self.backend, function.block_device()) else {
            return;
        };
        if self.blocks_told.is_none_or(|told| told == device.blocks) {
            return;
        }
        if let Err(error) = backend.config_changed() {
            log::warn!(
                "{}: the client is not told that the drive has another size: {error}",
                self.name
            );
            self.backend = None;
        }
        self.blocks_told = Some(device.blocks);
    }

    /// Takes note of the device status. 0 is a reset (`Virtio 1.2 §2.1.2`).
    pub(super) fn set_status(
        &mut self,
        function: &mut dyn Function,
        message: &Message,
        wants: bool,
    ) -> Result<Answer, String> {
        self.needs(VhostUserProtocolFeatures::STATUS)?;
        let status = parsed_number(message)?;
        self.status = u8::try_from(status).map_err(|_| format!("{status:#x} is no status"))?;
        if self.status == 0 {
            return Ok(self.reset(function, message.request, wants));
        }
        Ok(Answer::Done)
    }

    /// Stops all queues, and answers `request` once they are drained.
    pub(super) fn reset(
        &mut self,
        function: &mut dyn Function,
        request: FrontendReq,
        reply: bool,
    ) -> Answer {
        self.status = 0;
        self.halt_all(function);
        Answer::Later(Later::Reset { request, reply })
    }

    fn needs(&self, feature: VhostUserProtocolFeatures) -> Result<(), String> {
        if self.protocol.contains(feature) {
            Ok(())
        } else {
            Err(format!("{feature:?} was not agreed on"))
        }
    }
}

/// Only the write cache can be switched.
pub(super) fn set_config(function: &mut dyn Function, message: &Message) -> Result<Answer, String> {
    let (asked, data) = parsed::<VhostUserConfig>(message)?;
    let (offset, size) = (asked.offset, asked.size);
    match data {
        [value] if usize::try_from(offset) == Ok(BlockConfig::WRITEBACK) => {
            function.set_write_cache(*value != 0);
            Ok(Answer::Done)
        }
        _ => Err(format!("{size} bytes at {offset} cannot be written")),
    }
}
