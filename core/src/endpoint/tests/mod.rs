//! Endpoints in memory: virtual time, links that can be cut, storages that lose what was not hardened.

mod actions;
mod attachment;
mod connections;
mod disk;
mod ending;
mod errors;
mod group;
mod hostile;
mod late;
mod losing;
mod pairing;
mod random;
mod restarting;
mod roles;
mod short_records;
mod starting;
mod strangers;
mod streaming;
mod succession;
mod witness;
mod witnessing;
mod world;
