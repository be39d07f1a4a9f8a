use std::vec;
use std::vec::Vec;

use super::*;
use crate::cert::{Request, issue};
use crate::crypto::rustcrypto::RustCrypto;
use crate::entropy::EntropyError;
use crate::time::UnixSeconds;

const PASSWORD: &str = "<1_Strong_Pässword!𝄞>";

struct Counter(u8);

impl Entropy for Counter {
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

fn pair(start: u8) -> (PrivateKey, Vec<u8>) {
    let key = PrivateKey::generate::<RustCrypto>(&mut Counter(start)).unwrap();
    let request = Request {
        subject: "HOST_A certificate for database mirroring",
        not_before: UnixSeconds(1_795_000_000),
        not_after: UnixSeconds(1_826_536_000),
    };
    let mut der = [0; CERTIFICATE_LEN_MAX];
    let signing = key.signing_key::<RustCrypto>().unwrap();
    let len = issue::<RustCrypto>(&request, &signing, &mut Counter(9), &mut der).unwrap();
    (key, der[..len].to_vec())
}

fn written(key: &PrivateKey, certificate: &[u8]) -> Vec<u8> {
    let mut out = [0; PFX_LEN_MAX];
    let iterations = Iterations::new(3).unwrap();
    let len =
        write_pfx::<RustCrypto>(key, certificate, PASSWORD, iterations, &mut Counter(1), &mut out).unwrap();
    out[..len].to_vec()
}

fn read(file: &[u8], password: &str) -> Result<(PrivateKey, Vec<u8>), PfxError> {
    let mut scratch = vec![0; file.len()];
    let mut certificate = [0; CERTIFICATE_LEN_MAX];
    let read = read_pfx::<RustCrypto>(file, password, &mut scratch, &mut certificate);
    assert!(
        scratch.iter().all(|byte| *byte == 0),
        "what was decrypted is wiped"
    );
    read.map(|(key, len)| (key, certificate[..len].to_vec()))
}

#[test]
fn there_and_back() {
    let (key, certificate) = pair(0x40);
    let file = written(&key, &certificate);
    let (read_key, read_certificate) = read(&file, PASSWORD).unwrap();
    assert!(read_key.scalar().ct_eq(key.scalar()));
    assert_eq!(read_certificate, certificate);
    assert_eq!(read(&file, "guess").err(), Some(PfxError::Rejected));
    // The MAC's, and the key's.
    assert_eq!(pfx_iterations(&file), Ok(6));
}

/// A file may not keep an instance busy for longer than one password of the most iterations does.
#[test]
fn all_passwords_together_are_bounded() {
    let budget = Budget::new();
    let most = Iterations::new(Iterations::MAX).unwrap();
    assert_eq!(budget.spend(most), Ok(()));
    let one = Iterations::new(1).unwrap();
    assert_eq!(budget.spend(one), Err(PfxError::Key(KeyError::IterationCount)));
}

#[test]
fn the_largest_certificate_fits() {
    let (key, certificate) = pair(0x40);
    let mut large = certificate;
    large.resize(CERTIFICATE_LEN_MAX, 0);
    let file = written(&key, &large);
    assert!(file.len() <= PFX_LEN_MAX);
    large.push(0);
    let mut out = [0; PFX_LEN_MAX];
    let iterations = Iterations::new(3).unwrap();
    assert_eq!(
        write_pfx::<RustCrypto>(&key, &large, PASSWORD, iterations, &mut Counter(1), &mut out),
        Err(PfxError::TooLong)
    );
}

#[test]
fn every_bit_and_every_length_counts() {
    let (key, certificate) = pair(0x40);
    let file = written(&key, &certificate);
    for len in 0..file.len() {
        assert!(read(&file[..len], PASSWORD).is_err(), "{len}");
    }
    let mut longer = file.clone();
    longer.push(0);
    assert_eq!(read(&longer, PASSWORD).err(), Some(PfxError::Malformed));
    for bit in (0..file.len() * 8).step_by(7) {
        let mut changed = file.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok((read_key, read_certificate)) = read(&changed, PASSWORD) {
            panic!(
                "bit {bit}: the same key: {}, the same certificate: {}",
                read_key.scalar().ct_eq(key.scalar()),
                read_certificate == certificate
            );
        }
    }
}

#[test]
fn the_certificate_must_be_the_key_s() {
    let (key, _) = pair(0x40);
    let (_, another) = pair(0x50);
    assert_eq!(
        read(&written(&key, &another), PASSWORD).err(),
        Some(PfxError::NoCertificate)
    );
    assert_eq!(
        read(&written(&key, b"no certificate"), PASSWORD).err(),
        Some(PfxError::Certificate(CertError::Malformed))
    );
}

#[test]
fn codes_are_stable() {
    let all = [
        PfxError::TooLong,
        PfxError::Malformed,
        PfxError::UnknownScheme,
        PfxError::NoMac,
        PfxError::Rejected,
        PfxError::NoKey,
        PfxError::SeveralKeys,
        PfxError::NoCertificate,
        PfxError::Key(KeyError::BadKey),
        PfxError::Certificate(CertError::BadPoint),
        PfxError::Entropy,
    ];
    let codes: Vec<_> = all.iter().map(|error| error.code()).collect();
    assert_eq!(codes, (1..=11).collect::<Vec<u8>>());
}
