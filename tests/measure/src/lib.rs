//! Long measurements of the channel, each a binary of its own, with short forms as tests. `docs/channel.md` has the figures.

pub mod stream;
pub mod timing;
