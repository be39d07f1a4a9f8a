//! Real files, real SQLite, real processes: writers and readers are other processes wherever locks matter, since locks of one
//! process are one.

mod apply;
mod capture;
mod crash;
mod rig;
mod seed;
mod soak;
mod workload;
