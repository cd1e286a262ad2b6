//! What guests do on their root file system.

/// A job: asks nvme-cli for the drive, unpacks, compiles, sorts, syncs, trims, sums.
///
/// It takes a minute of a slow processor's time at most and sends some thousands of
/// commands.
pub const WORK: &str = include_str!("work.sh");

/// The section of [`WORK`]'s output with the sums of files; see [`super::section`].
pub const FILES_SECTION: &str = "files";
