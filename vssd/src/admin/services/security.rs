//! Security protocols: which there are, and a TCG level 0 discovery that says
//! that nothing locks.

use nvme::{SecurityCdw10, Status};

const INFORMATION: u8 = 0x00;
const TCG: u8 = 0x01;
/// Information: the list of protocols, and the certificate.
const LIST: u16 = 0x0000;
const CERTIFICATE: u16 = 0x0001;
/// The ComID of a level 0 discovery.
const DISCOVERY: u16 = 0x0001;

/// The answer of Security Receive (`NVMe Base 2.1 §5.1.23`); fields are
/// big-endian, as SCSI's are.
pub(crate) fn receive(cdw10: SecurityCdw10) -> Result<Vec<u8>, Status> {
    match (cdw10.secp(), cdw10.spsp()) {
        // SPC-5 §7.7.1: six reserved bytes, a length, then the protocols.
        (INFORMATION, LIST) => Ok(vec![0, 0, 0, 0, 0, 0, 0, 2, INFORMATION, TCG]),
        // A length of 0: there is no certificate.
        (INFORMATION, CERTIFICATE) => Ok(vec![0; 4]),
        (TCG, DISCOVERY) => Ok(discovery()),
        _ => Err(Status::INVALID_FIELD.dnr()),
    }
}

/// Security Send (`NVMe Base 2.1 §5.1.24`): no protocol here takes anything.
/// Information cannot be sent, and there is no ComID to open a session on.
pub(crate) const fn send(_cdw10: SecurityCdw10) -> Result<(), Status> {
    Err(Status::INVALID_FIELD.dnr())
}

/// TCG Storage Core §3.3.6: a head of 48 bytes, then feature descriptors.
fn discovery() -> Vec<u8> {
    /// TPer: neither synchronous nor asynchronous sessions.
    const TPER: u16 = 0x0001;
    /// Locking: neither supported nor enabled, and nothing is encrypted.
    const LOCKING: u16 = 0x0002;
    /// Version 1 in the upper half of the byte.
    const VERSION_1: u8 = 1 << 4;
    const HEAD_BYTES: usize = 48;
    const DESCRIPTOR: u8 = 12;
    let mut data = vec![0; HEAD_BYTES];
    for feature in [TPER, LOCKING] {
        data.extend_from_slice(&feature.to_be_bytes());
        data.extend_from_slice(&[VERSION_1, DESCRIPTOR]);
        data.resize(data.len().saturating_add(DESCRIPTOR.into()), 0);
    }
    // The length does not count itself.
    let length = u32::try_from(data.len().saturating_sub(4)).unwrap_or(0);
    if let Some(field) = data.get_mut(0..4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    // Revision of the structure, major 0 and minor 1.
    if let Some(field) = data.get_mut(4..8) {
        field.copy_from_slice(&1_u32.to_be_bytes());
    }
    data
}
