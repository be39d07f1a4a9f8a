//! Records, bindings and the mirroring session (`docs/safety.md`).

mod binding;
mod command;
pub mod decide;
mod ending;
mod event;
mod flow;
mod kept;
mod machine;
mod mirror;
mod principal;
mod properties;
mod roles;
mod seeding;
mod speak;
mod start;
mod storage;
mod stored;
mod view;

pub use command::{MirrorCopy, Safety, StartAsPrincipal, WaitAsMirror};
pub use event::{
    EndedBy, Fence, Reason, ReseedReason, RestsOn, RoleChange, SessionError, SessionEvent, SessionState,
    WitnessState,
};
pub use storage::{
    ATTACHMENT_LEN_MAX, BlockChunk, BlockRead, DatabaseId, SeedInfo, SeedOpen, SeedRead, Storage,
    StorageError,
};
pub use stored::{STORED_LEN_MAX, Stored, StoredError, StoredPhase};
pub use view::{Phase, Role, SeedProgress, SessionView, WitnessView};

pub(crate) use kept::Kept;
pub(crate) use machine::{Ctx, Link, Peer, Session};
