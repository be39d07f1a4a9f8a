//! The secure channel: a strict profile of TLS 1.3 (`docs/channel.md`).
