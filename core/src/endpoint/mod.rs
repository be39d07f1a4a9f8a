//! What a driver drives: connections, channels, messages and sessions composed.

mod close;
mod config;
mod env;
mod output;
mod view;

pub use close::{CloseReason, DialError, Step};
pub use config::{Config, Limits};
pub use env::{Directory, Env, IdentityError};
pub use output::{ConnectionEvent, ConnectionId, Event, Output, RecordWrite, Ticket};
pub use view::{ConnectionState, ConnectionView, LoginState};
