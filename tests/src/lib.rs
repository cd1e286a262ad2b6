//! Whole-system tests: everything else of this workspace, put together.
//!
//! - [`sim`] is driver and device in one process, in virtual time.
//! - [`blocks`] are blocks of a disk that say what they are.
//! - [`e2e`] has what the tests with real guests need: the program `vssd` as a
//!   process, a stock QEMU on it, judges that are not ours.
//!
//! The crate is no part of the product. The tests stand in `tests/`.

pub mod blocks;
pub mod e2e;
pub mod sim;
