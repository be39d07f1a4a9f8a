//! Self-signed P-256 certificates, issued and parsed, and the pins made of them.
