//! What the whole-system tests share.

pub mod between;
pub mod group;
pub mod processes;
pub mod provider_kit;
pub mod stranger;
