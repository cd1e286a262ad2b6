//! The driver on a vssd, over a socket.

mod admin;
mod bring_up;
mod common;
mod data;
mod in_process;
mod ioworker;
mod peer;
mod profile;
mod proxy;
mod queues;
mod raw;
mod recover;
mod verify;
