//! Published vectors against what core computes. Every file says where its vectors are from.

mod key_wrap;
mod password;
mod provider;
mod rfc8448;
mod sha384;
