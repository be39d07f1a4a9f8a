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
mod seeding;
mod speak;
mod start;
mod storage;
mod stored;
mod view;

pub use command::{MirrorCopy, Safety, StartAsPrincipal, WaitAsMirror};
pub use event::{EndedBy, Reason, ReseedReason, SessionError, SessionEvent, SessionState};
pub use storage::{
    ATTACHMENT_LEN_MAX, BlockChunk, BlockRead, DatabaseId, SeedInfo, SeedOpen, SeedRead, Storage,
    StorageError,
};
pub use stored::{STORED_LEN_MAX, Stored, StoredError, StoredPhase};
pub use view::{Phase, Role, SeedProgress, SessionView};

pub(crate) use machine::{Ctx, Peer, Session};
