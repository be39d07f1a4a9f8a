//! Records, bindings and the mirroring session (`docs/safety.md`).

mod command;
mod event;
mod storage;
mod view;

pub use command::{MirrorCopy, Safety, StartAsPrincipal, WaitAsMirror};
pub use event::{EndedBy, Reason, ReseedReason, SessionError, SessionEvent, SessionState};
pub use storage::{BlockChunk, BlockRead, DatabaseId, SeedInfo, SeedOpen, SeedRead, Storage, StorageError};
pub use view::{Phase, Role, SeedProgress, SessionView};
