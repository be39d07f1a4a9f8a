//! Records, bindings and the mirroring session (`docs/safety.md`).

mod binding;
mod change;
mod command;
pub mod decide;
mod ending;
mod event;
mod failover;
mod flow;
mod hearing;
mod kept;
mod machine;
mod mirror;
mod principal;
mod properties;
mod quorum;
mod seeding;
mod serving;
mod silence;
mod speak;
mod start;
mod storage;
mod stored;
mod takeover;
mod telling;
mod tie;
mod view;

#[cfg(test)]
mod tests;

pub use command::{MirrorCopy, Safety, StartAsPrincipal, WaitAsMirror};
pub use event::{
    EndedBy, Fence, Reason, ReseedReason, RestsOn, RoleChange, SessionError, SessionEvent, SessionState,
    WitnessState,
};
pub use storage::{
    ATTACHMENT_LEN_MAX, BlockChunk, BlockRead, DatabaseId, FoundLog, NoDatabases, SeedInfo, SeedOpen,
    SeedRead, Storage, StorageError,
};
pub use stored::{STORED_LEN_MAX, Stored, StoredError, StoredPhase};
pub use view::{Phase, Role, SeedProgress, SessionView, WitnessView};

pub(crate) use kept::Kept;
pub(crate) use machine::{Ctx, Link, Peer, Session};
pub(crate) use tie::{Part, Tie};
