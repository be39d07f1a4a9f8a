//! The mirroring messages and the log block (`docs/protocol.md`).
