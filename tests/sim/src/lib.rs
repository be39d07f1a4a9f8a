//! A simulator of whole groups: two or three instances with up to eight databases, their links, disks, clocks, applications and
//! operators, in one thread from one seed (docs/simulator.md).
//!
//! [`world`] drives the same `Endpoint` that a host drives; `links` is what happens on its connections, `host` what it does about its
//! endpoint's events. [`plan`] is what a seed decides beforehand, [`faults`] what goes wrong,
//! [`operators`] what people do, [`oracle`] what must hold after every event, `decided` where it is decided, `level` at the end, [`coverage`] what has happened at least once.

pub mod book;
pub mod coverage;
pub mod db;
mod decided;
pub mod dice;
pub mod disk;
pub mod faults;
mod host;
mod level;
mod links;
pub mod mutants;
pub mod net;
pub mod node;
pub mod operators;
pub mod oracle;
pub mod plan;
pub mod provider;
pub mod run;
pub mod tap;
pub mod traps;
pub mod world;
