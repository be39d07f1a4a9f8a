//! Keys and certificates as version 1 stores them (`docs/keys.md`).
//!
//! If this fails, do not change the test: what is stored out there could no longer be read. A new format gets a new
//! version number, and new samples beside these.

use std::path::PathBuf;

use dbmirror_core::cert::{
    CERTIFICATE_LEN_MAX, Certificate, PFX_LEN_MAX, Request, issue, read_pfx, write_pfx,
};
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::crypto::{Provider, SigningKey};
use dbmirror_core::entropy::{Entropy, EntropyError};
use dbmirror_core::keys::{
    DatabaseMasterKey, Iterations, KeyKind, PKCS8_LEN_MAX, PrivateKey, Protection, ServiceMasterKey,
    WrappedKey,
};
use dbmirror_core::time::UnixSeconds;

type Sha256 = <RustCrypto as Provider>::Sha256;

/// The password of every sample.
const PASSWORD: &[u8] = b"<1_Strong_Password!>";
/// The public point of the sample private key, 0x40 to 0x5f.
const POINT: &str = include_str!("keys/point.hex");

/// Gives bytes that count up from a start.
struct CountFrom(u8);

impl Entropy for CountFrom {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        for byte in out {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill_secret(out)
    }
}

/// The service master key is 0x00 to 0x1f.
fn smk() -> ServiceMasterKey {
    ServiceMasterKey::generate(&mut CountFrom(0x00)).expect("a key")
}

/// The database master key is 0x20 to 0x3f.
fn dmk() -> DatabaseMasterKey {
    DatabaseMasterKey::generate(&mut CountFrom(0x20)).expect("a key")
}

/// The private key is 0x40 to 0x5f.
fn private() -> PrivateKey {
    PrivateKey::generate::<RustCrypto>(&mut CountFrom(0x40)).expect("a key")
}

fn salt() -> CountFrom {
    CountFrom(0xa0)
}

fn count() -> Iterations {
    Iterations::new(1_000).expect("a count")
}

fn sample(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("frozen/keys")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check_sample(name: &str, bytes: &[u8]) {
    assert_eq!(hex::encode(bytes), hex::encode(sample(name)), "{name}");
}

fn wrapped(name: &str, kind: KeyKind) -> WrappedKey {
    let wrapped = WrappedKey::from_der(&sample(name)).expect(name);
    assert_eq!(wrapped.kind(), kind);
    wrapped
}

#[test]
fn service_master_key_file() {
    check_sample("service-master-key.file", smk().to_file::<Sha256>().expose());
    let key = ServiceMasterKey::from_file::<Sha256>(&sample("service-master-key.file")).expect("a key");
    let below = wrapped("database-by-service.der", KeyKind::DatabaseMasterKey);
    assert!(DatabaseMasterKey::unwrap_by_service_master_key(&below, &key).is_ok());
}

#[test]
fn service_master_key_by_password() {
    let fresh = smk()
        .wrap_by_password(PASSWORD, count(), &mut salt())
        .expect("wrapped");
    check_sample("service-by-password.der", &fresh.to_der().expect("DER"));
    let stored = wrapped("service-by-password.der", KeyKind::ServiceMasterKey);
    let key = ServiceMasterKey::unwrap_by_password(&stored, PASSWORD).expect("the password");
    check_sample("service-master-key.file", key.to_file::<Sha256>().expose());
}

#[test]
fn database_master_key_by_password() {
    let fresh = dmk()
        .wrap_by_password(PASSWORD, count(), &mut salt())
        .expect("wrapped");
    check_sample("database-by-password.der", &fresh.to_der().expect("DER"));
    let stored = wrapped("database-by-password.der", KeyKind::DatabaseMasterKey);
    let Protection::Password { salt, iterations } = stored.protection() else {
        panic!("{:?}", stored.protection())
    };
    assert_eq!(hex::encode(salt), "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
    assert_eq!(iterations, count());
    let key = DatabaseMasterKey::unwrap_by_password(&stored, PASSWORD).expect("the password");
    assert!(key.ct_eq(&dmk()));
}

#[test]
fn database_master_key_by_service_master_key() {
    let fresh = dmk().wrap_by_service_master_key(&smk()).expect("wrapped");
    check_sample("database-by-service.der", &fresh.to_der().expect("DER"));
    let stored = wrapped("database-by-service.der", KeyKind::DatabaseMasterKey);
    assert_eq!(stored.protection(), Protection::ServiceMasterKey);
    let key = DatabaseMasterKey::unwrap_by_service_master_key(&stored, &smk()).expect("the key");
    assert!(key.ct_eq(&dmk()));
}

#[test]
fn private_key_by_database_master_key() {
    let fresh = private().wrap_by_database_master_key(&dmk()).expect("wrapped");
    check_sample("private-by-database.der", &fresh.to_der().expect("DER"));
    let stored = wrapped("private-by-database.der", KeyKind::PrivateKey);
    assert_eq!(stored.protection(), Protection::DatabaseMasterKey);
    let key = PrivateKey::unwrap_by_database_master_key::<RustCrypto>(&stored, &dmk()).expect("the key");
    assert!(key.scalar().ct_eq(private().scalar()));
    let point = key
        .signing_key::<RustCrypto>()
        .expect("a signing key")
        .public_point();
    assert_eq!(hex::encode(point), POINT.trim());
}

#[test]
fn private_key_by_password() {
    let fresh = private()
        .wrap_by_password(PASSWORD, count(), &mut salt())
        .expect("wrapped");
    check_sample("private-by-password.der", &fresh.to_der().expect("DER"));
    let stored = wrapped("private-by-password.der", KeyKind::PrivateKey);
    let key = PrivateKey::unwrap_by_password::<RustCrypto>(&stored, PASSWORD).expect("the password");
    assert!(key.scalar().ct_eq(private().scalar()));
}

#[test]
fn private_key_file() {
    let mut out = [0; PKCS8_LEN_MAX];
    let len = private()
        .to_encrypted_pkcs8::<RustCrypto>(PASSWORD, count(), &mut salt(), &mut out)
        .expect("a file");
    check_sample("private-key.pk8", &out[..len]);
    let key = PrivateKey::from_encrypted_pkcs8::<RustCrypto>(&sample("private-key.pk8"), PASSWORD)
        .expect("the password");
    assert!(key.scalar().ct_eq(private().scalar()));
}

#[test]
fn stored_password() {
    const FAMILY: [u8; 16] = [
        0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f,
    ];
    let fresh = smk().wrap_stored_password(PASSWORD, &FAMILY).expect("wrapped");
    check_sample("stored-password.der", &fresh);
    let opened = smk()
        .unwrap_stored_password(&sample("stored-password.der"), &FAMILY)
        .expect("the key");
    assert_eq!(opened.expose(), PASSWORD);
}

#[test]
fn service_master_key_guid() {
    check_sample("service-master-key.guid", &smk().guid::<Sha256>());
}

#[test]
fn private_key_and_certificate_in_one_file() {
    let certificate = sample("certificate.cer");
    let password = core::str::from_utf8(PASSWORD).expect("UTF-8");
    let mut out = [0; PFX_LEN_MAX];
    let len = write_pfx::<RustCrypto>(&private(), &certificate, password, count(), &mut salt(), &mut out)
        .expect("a file");
    check_sample("certificate.pfx", &out[..len]);
    let file = sample("certificate.pfx");
    let mut scratch = vec![0; file.len()];
    let mut read = [0; CERTIFICATE_LEN_MAX];
    let (key, len) = read_pfx::<RustCrypto>(&file, password, &mut scratch, &mut read).expect("the password");
    assert!(key.scalar().ct_eq(private().scalar()));
    assert_eq!(read[..len], certificate);
}

/// The signature is hedged: it depends on how the provider uses the entropy, and may differ in another one. So what is
/// signed is compared, and the sample's own signature is checked.
#[test]
fn certificate() {
    let stored = sample("certificate.cer");
    let certificate = Certificate::parse::<RustCrypto>(&stored).expect("a certificate");
    certificate
        .check_self_signature::<RustCrypto>()
        .expect("a good signature");
    assert_eq!(certificate.subject().to_string(), "CN=HOST_A, O=Example");
    assert_eq!(
        hex::encode(certificate.serial()),
        "60e1e2e3e4e5e6e7e8e9eaebecedeeef"
    );
    assert_eq!(hex::encode(certificate.point()), POINT.trim());
    assert_eq!(certificate.not_before(), UnixSeconds(1_795_000_000));
    assert_eq!(certificate.not_after(), UnixSeconds(2_600_000_000));

    let request = Request {
        subject: "CN=HOST_A,O=Example",
        not_before: UnixSeconds(1_795_000_000),
        not_after: UnixSeconds(2_600_000_000),
    };
    let key = private().signing_key::<RustCrypto>().expect("a signing key");
    let mut out = [0; CERTIFICATE_LEN_MAX];
    let len = issue::<RustCrypto>(&request, &key, &mut CountFrom(0xe0), &mut out).expect("a certificate");
    // Two headers of 4 bytes at most, the inner one telling the length of what is signed.
    let [0x30, 0x82, _, _, 0x30, 0x82, high, low, ..] = out else {
        panic!("{:02x?}", &out[..8])
    };
    let signed = 4..8 + usize::from(u16::from_be_bytes([high, low]));
    assert!(len > signed.end);
    assert_eq!(hex::encode(&out[signed.clone()]), hex::encode(&stored[signed]));
}
