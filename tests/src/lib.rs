//! What the whole-system tests share.

pub mod between;
pub mod processes;
pub mod provider_kit;
pub mod stranger;
