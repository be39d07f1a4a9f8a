//! Endpoints in memory: virtual time, links that can be cut, storages that lose what was not hardened.

mod connections;
mod disk;
mod random;
mod session;
mod strangers;
mod world;
