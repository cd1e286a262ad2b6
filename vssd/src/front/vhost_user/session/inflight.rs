//! The file in which requests that are being served are noted.

use std::os::fd::AsFd;

use vhost::vhost_user::message::VhostUserInflight;

use super::super::connection::Message;
use super::{Answer, Session, parsed};
use crate::virtio::{ENTRIES_MAX, InflightFile};

impl Session {
    pub(super) fn get_inflight(&mut self, message: Message) -> Result<Answer, String> {
        let shape = self.inflight_shape(message)?;
        let (queues, entries) = (shape.num_queues, shape.queue_size);
        let failed = |error: std::io::Error| format!("cannot make the file: {error}");
        let file = InflightFile::create(queues, entries).map_err(failed)?;
        let mapped = InflightFile::map(file.as_fd(), 0, (queues, entries)).map_err(failed)?;
        self.inflight = Some(mapped);
        let bytes = u64::try_from(InflightFile::bytes(queues, entries)).unwrap_or(0);
        let mut reply = Vec::with_capacity(size_of::<VhostUserInflight>());
        reply.extend_from_slice(&bytes.to_ne_bytes());
        reply.extend_from_slice(&0_u64.to_ne_bytes());
        reply.extend_from_slice(&queues.to_ne_bytes());
        reply.extend_from_slice(&entries.to_ne_bytes());
        reply.resize(size_of::<VhostUserInflight>(), 0);
        Ok(Answer::Reply(reply, Some(file)))
    }

    pub(super) fn set_inflight(&mut self, mut message: Message) -> Result<Answer, String> {
        let file = message.fds.pop().ok_or("it brings no descriptor")?;
        let shape = self.inflight_shape(message)?;
        let of = (shape.num_queues, shape.queue_size);
        let mapped = InflightFile::map(file.as_fd(), shape.mmap_offset, of);
        self.inflight = Some(mapped.map_err(|error| format!("cannot map the file: {error}"))?);
        Ok(Answer::Done)
    }

    fn inflight_shape(&self, mut message: Message) -> Result<VhostUserInflight, String> {
        // Some send no padding.
        let padded = message
            .payload
            .len()
            .next_multiple_of(align_of::<VhostUserInflight>());
        message.payload.resize(padded, 0);
        let (shape, _) = parsed::<VhostUserInflight>(&message)?;
        let queues = usize::from(shape.num_queues);
        if queues == 0
            || queues > self.queues.len()
            || shape.queue_size == 0
            || shape.queue_size > ENTRIES_MAX
        {
            return Err(format!(
                "{queues} queues of {} entries: there are {} of {ENTRIES_MAX}",
                shape.queue_size,
                self.queues.len()
            ));
        }
        Ok(shape)
    }
}
