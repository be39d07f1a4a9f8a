use std::vec::Vec;

use super::*;
use crate::crypto::SigningKey as _;
use crate::crypto::rustcrypto::{RustCrypto, Sha256};
use crate::entropy::Entropy;
use crate::secret::Secret;

/// Counts up: fine for keys that protect nothing.
struct Counter(u8);

impl Entropy for Counter {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        for byte in out {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill_secret(out)
    }
}

struct Stuck(u8);

impl Entropy for Stuck {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(self.0);
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(self.0);
        Ok(())
    }
}

struct Dead;

impl Entropy for Dead {
    fn fill_secret(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }

    fn fill_public(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

const PASSWORD: &[u8] = b"<1_Strong_Password!>";

fn few() -> Iterations {
    Iterations::new(3).unwrap()
}

fn every_form() -> Vec<(WrappedKey, Vec<u8>)> {
    let entropy = &mut Counter(0);
    let smk = ServiceMasterKey::generate(entropy).unwrap();
    let dmk = DatabaseMasterKey::generate(entropy).unwrap();
    let key = PrivateKey::generate::<RustCrypto>(entropy).unwrap();
    [
        smk.wrap_by_password(PASSWORD, few(), entropy),
        dmk.wrap_by_password(PASSWORD, few(), entropy),
        dmk.wrap_by_service_master_key(&smk),
        key.wrap_by_database_master_key(&dmk),
        key.wrap_by_password(PASSWORD, few(), entropy),
    ]
    .into_iter()
    .map(|wrapped| {
        let wrapped = wrapped.unwrap();
        (wrapped, wrapped.to_der().unwrap().to_vec())
    })
    .collect()
}

#[test]
fn the_hierarchy_opens_again() {
    let entropy = &mut Counter(9);
    let smk = ServiceMasterKey::generate(entropy).unwrap();
    let dmk = DatabaseMasterKey::generate(entropy).unwrap();
    let key = PrivateKey::generate::<RustCrypto>(entropy).unwrap();

    let wrapped = smk.wrap_by_password(PASSWORD, few(), entropy).unwrap();
    let smk = ServiceMasterKey::unwrap_by_password(&wrapped, PASSWORD).unwrap();
    let by_service = dmk.wrap_by_service_master_key(&smk).unwrap();
    let by_password = dmk.wrap_by_password(PASSWORD, few(), entropy).unwrap();
    let dmk = DatabaseMasterKey::unwrap_by_service_master_key(&by_service, &smk).unwrap();
    assert!(dmk.ct_eq(&DatabaseMasterKey::unwrap_by_password(&by_password, PASSWORD).unwrap()));
    let by_dmk = key.wrap_by_database_master_key(&dmk).unwrap();
    let again = PrivateKey::unwrap_by_database_master_key::<RustCrypto>(&by_dmk, &dmk).unwrap();
    assert!(again.scalar().ct_eq(key.scalar()));
    let by_password = key.wrap_by_password(PASSWORD, few(), entropy).unwrap();
    let again = PrivateKey::unwrap_by_password::<RustCrypto>(&by_password, PASSWORD).unwrap();
    assert!(again.scalar().ct_eq(key.scalar()));

    let point = {
        use crate::crypto::SigningKey;
        key.signing_key::<RustCrypto>().unwrap().public_point()
    };
    assert!(again.belongs_to::<RustCrypto>(&point));
    let other = PrivateKey::generate::<RustCrypto>(entropy).unwrap();
    assert!(!other.belongs_to::<RustCrypto>(&point));
}

#[test]
fn every_form_reads_back_and_says_what_it_is() {
    for (wrapped, der) in every_form() {
        assert!(der.len() <= WRAPPED_KEY_LEN_MAX);
        assert_eq!(WrappedKey::from_der(&der), Ok(wrapped));
    }
    let longest = DatabaseMasterKey::generate(&mut Counter(0))
        .unwrap()
        .wrap_by_service_master_key(&ServiceMasterKey::generate(&mut Counter(1)).unwrap())
        .unwrap();
    let longest = WrappedKey::with_protection(
        longest,
        Protection::Password {
            salt: [0xff; SALT_LEN],
            iterations: Iterations::new(Iterations::MAX).unwrap(),
        },
    );
    assert_eq!(longest.to_der().unwrap().len(), WRAPPED_KEY_LEN_MAX);
}

#[test]
fn what_was_cut_or_continued_is_refused() {
    for (_, der) in every_form() {
        for len in 0..der.len() {
            assert_eq!(
                WrappedKey::from_der(&der[..len]),
                Err(KeyError::Malformed),
                "{len}"
            );
        }
        let mut longer = der.clone();
        longer.push(0);
        assert_eq!(WrappedKey::from_der(&longer), Err(KeyError::Malformed));
    }
}

/// Every bit of every form, tried with the right password and the right keys.
#[test]
fn a_flipped_bit_opens_nothing() {
    let entropy = &mut Counter(0);
    let smk = ServiceMasterKey::generate(entropy).unwrap();
    let dmk = DatabaseMasterKey::generate(entropy).unwrap();
    let open = |wrapped: &WrappedKey| {
        [
            ServiceMasterKey::unwrap_by_password(wrapped, PASSWORD).is_ok(),
            DatabaseMasterKey::unwrap_by_password(wrapped, PASSWORD).is_ok(),
            DatabaseMasterKey::unwrap_by_service_master_key(wrapped, &smk).is_ok(),
            PrivateKey::unwrap_by_database_master_key::<RustCrypto>(wrapped, &dmk).is_ok(),
            PrivateKey::unwrap_by_password::<RustCrypto>(wrapped, PASSWORD).is_ok(),
        ]
        .contains(&true)
    };
    for (wrapped, der) in every_form() {
        assert!(open(&wrapped));
        for bit in 0..der.len() * 8 {
            let mut bad = der.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(wrapped) = WrappedKey::from_der(&bad) {
                let costly = matches!(
                    wrapped.protection(),
                    Protection::Password { iterations, .. } if iterations.get() > 1_000_000
                );
                assert!(costly || !open(&wrapped), "bit {bit}");
            }
        }
    }
}

#[test]
fn the_wrong_key_says_so() {
    let entropy = &mut Counter(0);
    let smk = ServiceMasterKey::generate(entropy).unwrap();
    let dmk = DatabaseMasterKey::generate(entropy).unwrap();
    let key = PrivateKey::generate::<RustCrypto>(entropy).unwrap();
    let other = DatabaseMasterKey::generate(entropy).unwrap();
    let by_password = dmk.wrap_by_password(PASSWORD, few(), entropy).unwrap();
    for guess in [&b""[..], b"<1_Strong_Password!> ", b"<1_strong_password!>"] {
        let refusal = DatabaseMasterKey::unwrap_by_password(&by_password, guess).err();
        assert_eq!(refusal, Some(KeyError::Rejected));
    }
    let by_dmk = key.wrap_by_database_master_key(&dmk).unwrap();
    assert_eq!(
        PrivateKey::unwrap_by_database_master_key::<RustCrypto>(&by_dmk, &other).err(),
        Some(KeyError::Rejected)
    );
    assert_eq!(
        PrivateKey::unwrap_by_password::<RustCrypto>(&by_dmk, PASSWORD).err(),
        Some(KeyError::WrongProtection {
            found: Protection::DatabaseMasterKey
        })
    );
    assert_eq!(
        PrivateKey::unwrap_by_password::<RustCrypto>(&by_password, PASSWORD).err(),
        Some(KeyError::WrongKind {
            found: KeyKind::DatabaseMasterKey
        })
    );
    let by_smk = dmk.wrap_by_service_master_key(&smk).unwrap();
    assert_eq!(
        DatabaseMasterKey::unwrap_by_password(&by_smk, PASSWORD).err(),
        Some(KeyError::WrongProtection {
            found: Protection::ServiceMasterKey
        })
    );
}

/// Somebody who can write the catalog, but knows no key, relabels a private key under a known password as the
/// database master key.
#[test]
fn a_kind_cannot_be_relabelled() {
    let entropy = &mut Counter(0);
    let key = PrivateKey::generate::<RustCrypto>(entropy).unwrap();
    let mut der = key
        .wrap_by_password(PASSWORD, few(), entropy)
        .unwrap()
        .to_der()
        .unwrap();
    assert_eq!(der[5..8], [2, 1, 3]);
    der[7] = 2;
    let relabelled = WrappedKey::from_der(&der).unwrap();
    assert_eq!(relabelled.kind(), KeyKind::DatabaseMasterKey);
    assert_eq!(
        DatabaseMasterKey::unwrap_by_password(&relabelled, PASSWORD).err(),
        Some(KeyError::Rejected)
    );
}

#[test]
fn hostile_counts_never_run() {
    let (_, der) = every_form().swap_remove(1);
    let at = der.windows(3).rposition(|part| part == [2, 1, 3]).unwrap();
    let with_count = |count: &[u8]| {
        let mut bad = der[..at].to_vec();
        bad.extend([2, u8::try_from(count.len()).unwrap()]);
        bad.extend(count);
        bad.extend(&der[at + 3..]);
        let grown = u8::try_from(count.len() - 1).unwrap();
        bad[1] += grown;
        bad[9] += grown;
        WrappedKey::from_der(&bad)
    };
    assert!(with_count(&[3]).is_ok());
    assert!(with_count(&[0x00, 0x98, 0x96, 0x80]).is_ok());
    for count in [&[0][..], &[0x00, 0x98, 0x96, 0x81], &[0x7f, 0xff, 0xff, 0xff]] {
        assert_eq!(with_count(count), Err(KeyError::IterationCount), "{count:?}");
    }
    // Not shortest, negative, above 32 bits.
    for count in [&[0, 3][..], &[0xff], &[1, 0, 0, 0, 0]] {
        assert!(with_count(count).is_err(), "{count:?}");
    }
}

#[test]
fn a_version_from_the_future_is_named() {
    let (_, mut der) = every_form().swap_remove(0);
    der[4] = 2;
    assert_eq!(WrappedKey::from_der(&der), Err(KeyError::UnknownVersion));
}

#[test]
fn broken_sources_give_no_key() {
    for value in [0, 0xff] {
        assert_eq!(
            PrivateKey::generate::<RustCrypto>(&mut Stuck(value)).err(),
            Some(KeyError::Entropy)
        );
    }
    assert!(ServiceMasterKey::generate(&mut Stuck(0)).is_err());
    assert!(DatabaseMasterKey::generate(&mut Dead).is_err());
    let dmk = DatabaseMasterKey::generate(&mut Counter(0)).unwrap();
    assert_eq!(
        dmk.wrap_by_password(PASSWORD, few(), &mut Dead),
        Err(KeyError::Entropy)
    );
    assert_eq!(
        PrivateKey::from_scalar::<RustCrypto>(Secret::zero()).err(),
        Some(KeyError::BadKey)
    );
}

#[test]
fn the_service_key_file_tells_damage() {
    let smk = ServiceMasterKey::generate(&mut Counter(0)).unwrap();
    let file = smk.to_file::<Sha256>();
    let again = ServiceMasterKey::from_file::<Sha256>(file.expose()).unwrap();
    assert!(again.to_file::<Sha256>().ct_eq(&file));
    for bit in 0..SERVICE_KEY_FILE_LEN * 8 {
        let mut bad = *file.expose();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(ServiceMasterKey::from_file::<Sha256>(&bad).is_err(), "bit {bit}");
    }
    for len in 0..SERVICE_KEY_FILE_LEN {
        assert!(ServiceMasterKey::from_file::<Sha256>(&file.expose()[..len]).is_err());
    }
}

/// Lengths that the RFCs do not allow, and for which the crate underneath has nothing to check.
#[test]
fn degenerate_lengths_are_refused() {
    let kek = Secret::new([7; 32]);
    let out = &mut [0; 64];
    assert_eq!(kw_wrap(&kek, &[], out), Err(KeyError::Malformed));
    assert_eq!(kw_wrap(&kek, &[1; 8], out), Err(KeyError::Malformed));
    assert_eq!(kw_wrap(&kek, &[1; 17], out), Err(KeyError::Malformed));
    assert_eq!(kwp_wrap(&kek, &[], out), Err(KeyError::Malformed));
    assert_eq!(kw_unwrap(&kek, &[0xa6; 8], out), Err(KeyError::Malformed));
    assert_eq!(kw_unwrap(&kek, &[0xa6; 16], out), Err(KeyError::Malformed));
    let empty = [0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 0];
    assert_eq!(kwp_unwrap(&kek, &empty, out), Err(KeyError::Malformed));
    assert_eq!(kwp_unwrap(&kek, &[0; 20], out), Err(KeyError::Malformed));
    assert_eq!(kwp_wrap(&kek, &[1; 57], out), Err(KeyError::NoRoom));
}

/// A refused unwrapping leaves nothing of the key behind.
#[test]
fn refusal_leaves_no_key() {
    let kek = Secret::new([7; 32]);
    let mut wrapped = [0; 48];
    assert_eq!(kwp_wrap(&kek, &[0x5a; 33], &mut wrapped), Ok(48));
    wrapped[47] ^= 1;
    let mut out = [0xee; 40];
    assert_eq!(kwp_unwrap(&kek, &wrapped, &mut out), Err(KeyError::Rejected));
    assert_eq!(out, [0; 40]);
}

fn pkcs8_file(key: &PrivateKey) -> Vec<u8> {
    let mut out = [0; PKCS8_LEN_MAX];
    let len = key
        .to_encrypted_pkcs8::<RustCrypto>(PASSWORD, few(), &mut Counter(50), &mut out)
        .unwrap();
    out[..len].to_vec()
}

#[test]
fn pkcs8_there_and_back() {
    let key = PrivateKey::generate::<RustCrypto>(&mut Counter(0)).unwrap();
    let file = pkcs8_file(&key);
    let again = PrivateKey::from_encrypted_pkcs8::<RustCrypto>(&file, PASSWORD).unwrap();
    assert!(again.scalar().ct_eq(key.scalar()));
    // One guess in 256 gives right padding: enough of them must all be told from the right one.
    for guess in 0..2_000_u32 {
        assert_eq!(
            PrivateKey::from_encrypted_pkcs8::<RustCrypto>(&file, &guess.to_be_bytes()).err(),
            Some(KeyError::Rejected)
        );
    }
    assert_eq!(
        PrivateKey::from_plain_pkcs8::<RustCrypto>(&file).err(),
        Some(KeyError::Encrypted)
    );
    for len in 0..file.len() {
        assert!(PrivateKey::from_encrypted_pkcs8::<RustCrypto>(&file[..len], PASSWORD).is_err());
    }
    let mut longer = file.clone();
    longer.push(0);
    assert_eq!(
        PrivateKey::from_encrypted_pkcs8::<RustCrypto>(&longer, PASSWORD).err(),
        Some(KeyError::Malformed)
    );
}

/// CBC lets an attacker flip chosen bits of the plaintext; no other key may come of it.
#[test]
fn a_changed_pkcs8_file_gives_no_other_key() {
    let key = PrivateKey::generate::<RustCrypto>(&mut Counter(0)).unwrap();
    let file = pkcs8_file(&key);
    for bit in 0..file.len() * 8 {
        let mut bad = file.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        // Counts that would take long are not tried.
        if bad.windows(3).any(|part| part == [2, 1, 3])
            && let Ok(other) = PrivateKey::from_encrypted_pkcs8::<RustCrypto>(&bad, PASSWORD)
        {
            assert!(other.scalar().ct_eq(key.scalar()), "bit {bit}");
        }
    }
}

#[test]
fn files_of_other_formats_are_named() {
    let open = |file: &[u8]| PrivateKey::from_encrypted_pkcs8::<RustCrypto>(file, PASSWORD).err();
    assert_eq!(
        open(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
        Some(KeyError::Pem)
    );
    assert_eq!(
        open(&[0x1e, 0xf1, 0xb5, 0xb0, 0, 0, 0, 0]),
        Some(KeyError::UnknownScheme)
    );
    assert_eq!(open(b"hello"), Some(KeyError::Malformed));
    assert_eq!(open(&[]), Some(KeyError::Malformed));
    assert_eq!(open(&[0x30; 2561]), Some(KeyError::Malformed));
}

#[test]
fn the_longest_pkcs8_file_fits() {
    let key = PrivateKey::generate::<RustCrypto>(&mut Counter(0)).unwrap();
    let mut out = [0; PKCS8_LEN_MAX];
    let most = Iterations::new(1_000_000).unwrap();
    let len = key
        .to_encrypted_pkcs8::<RustCrypto>(PASSWORD, most, &mut Counter(1), &mut out)
        .unwrap();
    assert!(len < 300, "{len}");
}

/// ECPrivateKey as `openssl ecparam -name prime256v1 -genkey -noout -outform DER` writes it.
fn sec1(curve: &[u8], key: &PrivateKey) -> Vec<u8> {
    let point = key.signing_key::<RustCrypto>().unwrap().public_point();
    let mut inner = std::vec![0x02, 1, 1, 0x04, 32];
    inner.extend(key.scalar().expose());
    if !curve.is_empty() {
        inner.extend([0xa0, u8::try_from(curve.len()).unwrap()]);
        inner.extend(curve);
    }
    inner.extend([0xa1, 68, 0x03, 66, 0]);
    inner.extend(point);
    let mut der = std::vec![0x30, u8::try_from(inner.len()).unwrap()];
    der.extend(inner);
    der
}

#[test]
fn plain_keys_in_both_forms() {
    const P256: &[u8] = &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const SECP256K1: &[u8] = &[0x06, 5, 0x2b, 0x81, 4, 0, 10];
    let key = PrivateKey::generate::<RustCrypto>(&mut Counter(0)).unwrap();
    let file = sec1(P256, &key);
    for read in [
        PrivateKey::from_plain_sec1::<RustCrypto>(&file),
        PrivateKey::from_plain::<RustCrypto>(&file),
    ] {
        assert!(read.unwrap().scalar().ct_eq(key.scalar()));
    }
    assert_eq!(
        PrivateKey::from_plain_pkcs8::<RustCrypto>(&file).err(),
        Some(KeyError::Malformed)
    );
    for other in [SECP256K1, &[]] {
        assert_eq!(
            PrivateKey::from_plain::<RustCrypto>(&sec1(other, &key)).err(),
            Some(KeyError::BadKey)
        );
    }
    assert_eq!(
        PrivateKey::from_plain::<RustCrypto>(&pkcs8_file(&key)).err(),
        Some(KeyError::Encrypted)
    );
    for len in 0..file.len() {
        assert!(PrivateKey::from_plain::<RustCrypto>(&file[..len]).is_err());
    }
}

#[test]
fn the_service_key_says_which_it_is() {
    let guid = |seed| {
        ServiceMasterKey::generate(&mut Counter(seed))
            .unwrap()
            .guid::<Sha256>()
    };
    assert_eq!(guid(1), guid(1));
    assert_ne!(guid(1), guid(2));
}
