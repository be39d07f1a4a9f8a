//! A PFX as it arrives in a file: as it is, and with the fuzzer inside of what the MAC covers.

use dbmirror_core::cert::{
    CERTIFICATE_LEN_MAX, Certificate, PFX_LEN_MAX, PfxError, pfx_iterations, read_pfx, write_pfx,
};
use dbmirror_core::crypto::Hash;
use dbmirror_core::crypto::hmac::Hmac;
use dbmirror_core::crypto::rustcrypto::{RustCrypto, Sha256};
use dbmirror_core::keys::{Iterations, PrivateKey};

use crate::Repeating;

/// The password of the samples in the corpus.
const PASSWORD: &str = "<1_Strong_Password!>";
/// Above this a guess takes too long to be fuzzed.
const ITERATIONS_MAX: u64 = 5_000;

pub(crate) fn pfx(data: &[u8]) {
    whole(data);
    whole(&authenticated(data));
}

fn whole(file: &[u8]) {
    let mut scratch = vec![0; file.len()];
    let mut out = [0; CERTIFICATE_LEN_MAX];
    match pfx_iterations(file) {
        Ok(count) if count > ITERATIONS_MAX => {}
        Ok(_) => match read_pfx::<RustCrypto>(file, PASSWORD, &mut scratch, &mut out) {
            Ok((key, len)) => goes_out_again(&key, &out[..len]),
            Err(refusal) => assert_ne!(refusal.code(), 0),
        },
        // What shows without the password is refused with it as well.
        Err(refusal) => {
            let refused = read_pfx::<RustCrypto>(file, PASSWORD, &mut scratch, &mut out).err();
            assert!(refused.is_some(), "{refusal}");
        }
    }
    assert!(
        scratch.iter().all(|byte| *byte == 0),
        "what was decrypted is wiped"
    );
}

fn goes_out_again(key: &PrivateKey, der: &[u8]) {
    let certificate = Certificate::parse::<RustCrypto>(der).expect("it was judged");
    assert!(key.belongs_to::<RustCrypto>(certificate.point()));
    let mut file = [0; PFX_LEN_MAX];
    let count = Iterations::new(1).expect("a count");
    let len = write_pfx::<RustCrypto>(key, der, PASSWORD, count, &mut Repeating::from(7), &mut file)
        .expect("it fits");
    let mut out = [0; CERTIFICATE_LEN_MAX];
    let mut scratch = vec![0; len];
    match read_pfx::<RustCrypto>(&file[..len], PASSWORD, &mut scratch, &mut out) {
        Ok((again, length)) => {
            assert!(again.scalar().ct_eq(key.scalar()));
            assert_eq!(&out[..length], der);
        }
        Err(error) => panic!("{error}: {:?}", PfxError::code(error)),
    }
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u16::try_from(content.len()) {
        Ok(len @ 0..=127) => out.push(u8::try_from(len).expect("below 128")),
        Ok(len @ 128..=255) => out.extend([0x81, u8::try_from(len).expect("below 256")]),
        Ok(len) => {
            out.push(0x82);
            out.extend(len.to_be_bytes());
        }
        // Too long for any PFX; it shall be refused as such.
        Err(_) => out.extend([0x83, 1, 0, 0]),
    }
    out.extend(content);
    out
}

/// A PFX around `safe` whose MAC fits: RFC 7292 appendix B once more, written apart from core's.
fn authenticated(safe: &[u8]) -> Vec<u8> {
    const SALT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
    let mut password: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    password.extend([0, 0]);
    let repeated = |part: &[u8]| -> Vec<u8> {
        part.iter()
            .copied()
            .cycle()
            .take(part.len().next_multiple_of(64))
            .collect()
    };
    let key = Sha256::digest(&[&[3; 64][..], &repeated(&SALT), &repeated(&password)].concat());
    let mac = Hmac::<Sha256>::tag(&key, &[safe]);
    let data = |content: &[u8]| {
        let oid: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
        tlv(0x30, &[oid, &tlv(0xa0, &tlv(4, content))].concat())
    };
    let sha256 = [0x30, 13, 0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0];
    let digest = tlv(0x30, &[&sha256[..], &tlv(4, &mac)].concat());
    let mac_data = tlv(0x30, &[digest, tlv(4, &SALT)].concat());
    tlv(0x30, &[vec![2, 1, 3], data(safe), mac_data].concat())
}
