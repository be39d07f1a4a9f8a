//! Who computes what the secure channel needs. Keys at rest and certificates are the catalog's business, and always RustCrypto's
//! (`catalog::keys`).

/// The provider behind every connection of this build: AWS-LC, or RustCrypto in a build without the feature `aws-lc`.
#[cfg(feature = "aws-lc")]
pub type ChannelCrypto = dbmirror_adapters::aws_lc::AwsLc;
/// The provider behind every connection of this build: AWS-LC, or RustCrypto in a build without the feature `aws-lc`.
#[cfg(not(feature = "aws-lc"))]
pub type ChannelCrypto = dbmirror_core::crypto::rustcrypto::RustCrypto;

/// Its name, as `--version`, `@@VERSION`, SERVERPROPERTY('ChannelProvider') and message 50107 have it.
pub const CHANNEL_CRYPTO: &str = if cfg!(feature = "aws-lc") {
    "aws-lc"
} else {
    "rustcrypto"
};

/// What `--version` says behind the program's name.
pub const VERSION: &str = if cfg!(feature = "aws-lc") {
    concat!(env!("CARGO_PKG_VERSION"), " (channel: aws-lc)")
} else {
    concat!(env!("CARGO_PKG_VERSION"), " (channel: rustcrypto)")
};
