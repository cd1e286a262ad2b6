//! See `vssd::fuzz::sqe`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vssd::fuzz::sqe(data));
