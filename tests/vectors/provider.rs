//! The default provider, part by part, so that a failure says where.

use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{KeyExchange as _, Provider};
use dbmirror_core::secret::Secret;
use dbmirror_tests::provider_kit as kit;

#[test]
fn sha256() {
    kit::sha256::<<RustCrypto as Provider>::Sha256>();
}

#[test]
fn hmac_sha256() {
    kit::hmac_sha256::<<RustCrypto as Provider>::Sha256>();
}

#[test]
fn hkdf_sha256() {
    kit::hkdf_sha256::<<RustCrypto as Provider>::Sha256>();
}

#[test]
fn aes_128_gcm() {
    kit::aes_128_gcm::<<RustCrypto as Provider>::Aes128Gcm>();
}

#[test]
fn aes_256_and_its_hash() {
    kit::sha384::<<RustCrypto as Provider>::Sha384>();
    kit::hmac_sha384::<<RustCrypto as Provider>::Sha384>();
    kit::hkdf_sha384::<<RustCrypto as Provider>::Sha384>();
    kit::aes_256_gcm::<<RustCrypto as Provider>::Aes256Gcm>();
}

#[test]
fn ml_kem_768() {
    use dbmirror_adapters::aws_lc::AwsLc;
    type Ours = <RustCrypto as Provider>::MlKem768;
    type Theirs = <AwsLc as Provider>::MlKem768;
    kit::ml_kem_seeded::<Ours>();
    kit::ml_kem_promises::<Ours, Ours>();
    kit::ml_kem_promises::<Ours, Theirs>();
    kit::ml_kem_promises::<Theirs, Ours>();
}

#[test]
fn ecdh_p256() {
    type Ours = <RustCrypto as Provider>::P256;
    let start = |scalar: &Secret<32>| Ours::start(&mut kit::Script::new(scalar.expose()));
    kit::ecdh_p256(start);
    kit::ecdh_promises(start);
    kit::draws_from_the_caller::<Ours>();
}

#[test]
fn ecdsa_p256() {
    kit::ecdsa_vectors::<<RustCrypto as Provider>::VerifyingKey>();
    kit::ecdsa_promises::<RustCrypto>();
}

/// What another provider's test calls.
#[test]
fn everything() {
    kit::examine::<RustCrypto>();
}

#[test]
fn aws_lc_passes() {
    use dbmirror_adapters::aws_lc::{AwsLc, EphemeralP256};
    kit::examine_but_drawing::<AwsLc>(EphemeralP256::from_scalar);
}
