//! The image in QEMU beside real instances (`tests/firmware/run`).
//!
//! QEMU's user network lets a device reach the host's 127.0.0.1, and nothing else of it; so partners share that address and differ by
//! port, and each device is reached at an address of its own.

mod basics;
mod failover;
mod fault;
mod figures;
mod floor;
mod frames;
mod image;
mod power;
mod recovery;
mod rotation;
mod strangers;
