//! The file format from outside: what is written is what is read, whatever
//! happens to the file in between.

mod common;
mod golden;
mod hostile;
mod payload;
mod round_trip;
mod salvage;
