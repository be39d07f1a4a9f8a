//! The default provider: RustCrypto's `aes-gcm`, `sha2` and `p256`. No C, no assembly, no std.
