//! The first exchange on a connection: version and capabilities.

use serde::{Deserialize, Serialize};

use crate::{Command, DATA_BYTES_MAX, FDS_MAX, WireError};

/// The major version of the protocol that this crate speaks.
pub const VERSION_MAJOR: u16 = 0;
/// The minor version of the protocol that this crate speaks.
pub const VERSION_MINOR: u16 = 1;

/// What an end of the connection can do. A missing member has the protocol's
/// default, which the methods supply; members that this crate does not know
/// (migration, twin sockets) are skipped, and so not agreed to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The most descriptors that the sender takes in one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_msg_fds: Option<u64>,
    /// The most bytes that the sender takes in one data message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_data_xfer_size: Option<u64>,
    /// The most ranges of memory that may be mapped at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_dma_maps: Option<u64>,
    /// The page sizes that ranges of memory may have, one bit each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pgsizes: Option<u64>,
    /// Whether `VFIO_USER_REGION_WRITE_MULTI` works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_multiple: Option<bool>,
}

impl Capabilities {
    /// What this crate takes as a receiver.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            max_msg_fds: u64::try_from(FDS_MAX).ok(),
            max_data_xfer_size: u64::try_from(DATA_BYTES_MAX).ok(),
            write_multiple: Some(true),
            ..Self::default()
        }
    }

    /// The most descriptors that may be sent to this end in one message: at
    /// least 1, at most [`FDS_MAX`].
    #[must_use]
    pub fn fds_max(&self) -> usize {
        let theirs = self.max_msg_fds.unwrap_or(1);
        usize::try_from(theirs).unwrap_or(FDS_MAX).clamp(1, FDS_MAX)
    }

    /// The most bytes that may be sent to this end in one data message, at most
    /// [`DATA_BYTES_MAX`].
    #[must_use]
    pub fn data_bytes_max(&self) -> usize {
        self.max_data_xfer_size.map_or(DATA_BYTES_MAX, |theirs| {
            usize::try_from(theirs)
                .unwrap_or(DATA_BYTES_MAX)
                .min(DATA_BYTES_MAX)
        })
    }
}

/// `VFIO_USER_VERSION`, request and reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Major version: both ends have the same.
    pub major: u16,
    /// Minor version: the server's is the client's or a lower one.
    pub minor: u16,
    /// What the sender can do.
    pub capabilities: Capabilities,
}

/// The JSON object around the capabilities.
#[derive(Default, Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    capabilities: Capabilities,
}

impl Version {
    /// What a client of this crate proposes.
    #[must_use]
    pub fn proposal() -> Self {
        Self {
            major: VERSION_MAJOR,
            minor: VERSION_MINOR,
            capabilities: Capabilities::ours(),
        }
    }

    /// What a server of this crate answers: the lower minor version, our limits
    /// as a receiver, and of the rest only what the client proposed.
    ///
    /// # Errors
    ///
    /// [`WireError::Version`] if the major version is not ours.
    pub fn answer(&self) -> Result<Self, WireError> {
        if self.major != VERSION_MAJOR {
            return Err(WireError::Version {
                major: self.major,
                minor: self.minor,
            });
        }
        let proposed = self.capabilities.write_multiple == Some(true);
        Ok(Self {
            major: self.major,
            minor: self.minor.min(VERSION_MINOR),
            capabilities: Capabilities {
                write_multiple: proposed.then_some(true),
                ..Capabilities::ours()
            },
        })
    }

    /// The payload, with the terminating NUL.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let document = Document {
            capabilities: self.capabilities.clone(),
        };
        // Numbers and booleans under fixed names: nothing here can fail.
        let json = serde_json::to_vec(&document).unwrap_or_default();
        let head = [self.major.to_ne_bytes(), self.minor.to_ne_bytes()].concat();
        [head, json, vec![0]].concat()
    }

    /// Reads a payload. The capabilities may be missing, and so may the
    /// terminating NUL.
    ///
    /// # Errors
    ///
    /// [`WireError::Payload`] if it is too short, [`WireError::Json`] if the
    /// capabilities are not what they should be.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let Some((&[a, b, c, d], json)) = payload.split_first_chunk::<4>() else {
            return Err(WireError::Payload {
                command: Command::Version,
                what: "shorter than a version",
                size: payload.len(),
            });
        };
        let json = json.strip_suffix(&[0]).unwrap_or(json);
        let document = if json.is_empty() {
            Document::default()
        } else {
            serde_json::from_slice(json)?
        };
        Ok(Self {
            major: u16::from_ne_bytes([a, b]),
            minor: u16::from_ne_bytes([c, d]),
            capabilities: document.capabilities,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What QEMU 11.1 sends.
    const QEMU: &[u8] = b"\0\0\0\0{\"capabilities\": {\"max_msg_fds\": 16, \
        \"max_data_xfer_size\": 1048576, \"pgsizes\": 4096, \"max_dma_maps\": 65535, \
        \"migration\": {\"pgsize\": 4096, \"max_bitmap_size\": 268435456}, \
        \"write_multiple\": true}}\0";

    #[test]
    fn qemu_is_answered_with_what_it_takes() {
        let answer = Version::decode(QEMU).unwrap().answer().unwrap();
        assert_eq!((answer.major, answer.minor), (0, 0));
        let json = answer.encode();
        let json = std::str::from_utf8(&json[4..json.len() - 1]).unwrap();
        assert_eq!(
            json,
            "{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,\
             \"write_multiple\":true}}"
        );
    }

    #[test]
    fn a_bare_version_has_the_defaults() {
        // What SPDK's client sends: no capabilities at all.
        let spdk = Version::decode(&[0, 0, 1, 0]).unwrap();
        assert_eq!(spdk.capabilities, Capabilities::default());
        assert_eq!(spdk.capabilities.fds_max(), 1);
        assert_eq!(spdk.capabilities.data_bytes_max(), DATA_BYTES_MAX);
        assert_eq!(spdk.answer().unwrap().capabilities.write_multiple, None);
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(
            Version::decode(&[0, 0]),
            Err(WireError::Payload { .. })
        ));
        for json in [
            &b"\0\0\0\0{\"capabilities\": 5}\0"[..],
            b"\0\0\0\0{\"capabilities\": {\"max_msg_fds\": -1}}\0",
            b"\0\0\0\0{\"capabilities\": {\"max_msg_fds\": \"many\"}}\0",
            b"\0\0\0\0{}\0{}\0",
            b"\0\0\0\0\xff\xff\0",
        ] {
            assert!(matches!(Version::decode(json), Err(WireError::Json(_))));
        }
        let nested = [b"\0\0\0\0".to_vec(), vec![b'['; 100_000]].concat();
        assert!(matches!(Version::decode(&nested), Err(WireError::Json(_))));
        let other = Version::decode(&[1, 0, 0, 0]).unwrap();
        assert!(matches!(other.answer(), Err(WireError::Version { .. })));
    }
}
