//! Records, bindings and the mirroring session (`docs/safety.md`).
