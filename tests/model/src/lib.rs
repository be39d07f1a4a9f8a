//! An exhaustive search of small mirroring groups. What members decide is decided by `dbmirror_core::session::decide`; this crate
//! moves messages, breaks things and checks (docs/model.md).

pub mod bridge;
pub mod events;
pub mod hunt;
pub mod machine;
pub mod mutation;
pub mod search;
pub mod settings;
pub mod settled;
pub mod show;
pub mod state;
