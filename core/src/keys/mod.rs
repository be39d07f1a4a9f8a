//! The key hierarchy at rest (`docs/keys.md`).
