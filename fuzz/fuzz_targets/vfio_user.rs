//! See `vssd::fuzz::vfio_user`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vssd::fuzz::vfio_user(data));
