//! Keys as they lie on a disk or arrive in a file: wrapped keys, the service master key's file, PKCS #8, and AES key
//! wrapping itself.

use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_core::keys::{
    DatabaseMasterKey, Iterations, KeyError, KeyKind, PrivateKey, Protection, ServiceMasterKey, WrappedKey,
    kw_unwrap, kw_wrap, kwp_unwrap, kwp_wrap,
};
use dbmirror_core::secret::Secret;

use crate::Repeating;

/// The password of the samples in the corpus.
const PASSWORD: &[u8] = b"<1_Strong_Password!>";
/// Above this a guess takes too long to be fuzzed.
const ITERATIONS_MAX: u32 = 1_000;

pub(crate) fn unwrap(data: &[u8]) {
    wrapped_key(data);
    service_key_file(data);
    private_key_file(data);
    plain_key(data);
    stored_password(data);
    key_wrap(data);
}

fn wrapped_key(data: &[u8]) {
    let Ok(wrapped) = WrappedKey::from_der(data) else {
        return;
    };
    // Strict: there is one encoding of each value.
    let der = wrapped.to_der().expect("what was read can be written");
    assert_eq!(der, data);
    if let Protection::Password { iterations, .. } = wrapped.protection() {
        assert!((1..=Iterations::MAX).contains(&iterations.get()));
        if iterations.get() > ITERATIONS_MAX {
            return;
        }
    }
    // The keys that the samples are under; what opens must be of the kind it says.
    let smk = ServiceMasterKey::generate(&mut Repeating::from(0x00)).expect("a key");
    let dmk = DatabaseMasterKey::generate(&mut Repeating::from(0x20)).expect("a key");
    let opens = [
        (
            KeyKind::ServiceMasterKey,
            ServiceMasterKey::unwrap_by_password(&wrapped, PASSWORD).err(),
        ),
        (
            KeyKind::DatabaseMasterKey,
            DatabaseMasterKey::unwrap_by_password(&wrapped, PASSWORD).err(),
        ),
        (
            KeyKind::DatabaseMasterKey,
            DatabaseMasterKey::unwrap_by_service_master_key(&wrapped, &smk).err(),
        ),
        (
            KeyKind::PrivateKey,
            PrivateKey::unwrap_by_database_master_key::<RustCrypto>(&wrapped, &dmk).err(),
        ),
        (
            KeyKind::PrivateKey,
            PrivateKey::unwrap_by_password::<RustCrypto>(&wrapped, PASSWORD).err(),
        ),
    ];
    for (kind, refusal) in opens {
        if kind != wrapped.kind() {
            assert_eq!(
                refusal,
                Some(KeyError::WrongKind {
                    found: wrapped.kind()
                })
            );
        }
    }
    assert!(opens.iter().filter(|(_, refusal)| refusal.is_none()).count() <= 1);
}

fn service_key_file(data: &[u8]) {
    type Sha256 = <RustCrypto as Provider>::Sha256;
    if let Ok(key) = ServiceMasterKey::from_file::<Sha256>(data) {
        assert_eq!(key.to_file::<Sha256>().expose(), data);
    }
}

fn private_key_file(data: &[u8]) {
    let plain = PrivateKey::from_plain_pkcs8::<RustCrypto>(data);
    match PrivateKey::encrypted_pkcs8_iterations(data) {
        Ok(iterations) => {
            assert!(plain.is_err());
            if iterations.get() <= ITERATIONS_MAX {
                let _either = PrivateKey::from_encrypted_pkcs8::<RustCrypto>(data, PASSWORD);
            }
        }
        Err(refusal) => assert_eq!(
            PrivateKey::from_encrypted_pkcs8::<RustCrypto>(data, PASSWORD).err(),
            Some(refusal)
        ),
    }
}

fn plain_key(data: &[u8]) {
    if let Ok(key) = PrivateKey::from_plain_sec1::<RustCrypto>(data) {
        // The two forms begin alike and are never both.
        assert!(PrivateKey::from_plain_pkcs8::<RustCrypto>(data).is_err());
        let either = PrivateKey::from_plain::<RustCrypto>(data).expect("one of both");
        assert!(either.scalar().ct_eq(key.scalar()));
    }
}

fn stored_password(data: &[u8]) {
    // The key and the family of the sample.
    let smk = ServiceMasterKey::generate(&mut Repeating::from(0x00)).expect("a key");
    let family = core::array::from_fn(|at| 0x80 + u8::try_from(at).expect("below 16"));
    if let Ok(opened) = smk.unwrap_stored_password(data, &family) {
        let again = smk
            .wrap_stored_password(opened.expose(), &family)
            .expect("it fits");
        assert_eq!(again.as_slice(), data);
    }
}

fn key_wrap(data: &[u8]) {
    let kek = Secret::new([7; 32]);
    let mut out = vec![0; data.len() + 16];
    let mut again = vec![0; data.len() + 32];
    // What is wrapped opens again.
    if let Ok(len) = kw_wrap(&kek, data, &mut out) {
        assert_eq!(kw_unwrap(&kek, &out[..len], &mut again), Ok(data.len()));
        assert_eq!(&again[..data.len()], data);
    }
    if let Ok(len) = kwp_wrap(&kek, data, &mut out) {
        assert_eq!(kwp_unwrap(&kek, &out[..len], &mut again), Ok(data.len()));
        assert_eq!(&again[..data.len()], data);
    } else {
        assert!(data.is_empty());
    }
    // What opens was wrapped.
    if let Ok(len) = kw_unwrap(&kek, data, &mut out) {
        assert_eq!(kw_wrap(&kek, &out[..len], &mut again), Ok(data.len()));
        assert_eq!(&again[..data.len()], data);
    }
    if let Ok(len) = kwp_unwrap(&kek, data, &mut out) {
        assert_eq!(kwp_wrap(&kek, &out[..len], &mut again), Ok(data.len()));
        assert_eq!(&again[..data.len()], data);
    }
    // A buffer that is too short is an answer.
    let mut short = vec![0; data.len().saturating_sub(9)];
    let _refused = kw_unwrap(&kek, data, &mut short);
    let _refused = kwp_unwrap(&kek, data, &mut short);
    let _refused = kw_wrap(&kek, data, &mut short);
    let _refused = kwp_wrap(&kek, data, &mut short);
}
