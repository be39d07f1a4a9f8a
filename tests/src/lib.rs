//! What the whole-system tests share.

pub mod provider_kit;
