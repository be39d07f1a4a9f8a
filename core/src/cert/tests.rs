use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use der::Tag;

use super::*;
use crate::asn1::{Backwards, context};
use crate::crypto::rustcrypto::{RustCrypto, Sha256, SigningKey};
use crate::entropy::Entropy;
use crate::keys::PrivateKey;

/// Repeats the digits of a counter: fine for keys that protect nothing.
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

fn key() -> SigningKey {
    PrivateKey::generate::<RustCrypto>(&mut Counter(0))
        .unwrap()
        .signing_key::<RustCrypto>()
        .unwrap()
}

fn issued(subject: &str, not_before: i64, not_after: i64) -> Result<Vec<u8>, CertError> {
    let request = Request {
        subject,
        not_before: UnixSeconds(not_before),
        not_after: UnixSeconds(not_after),
    };
    let mut out = [0; CERTIFICATE_LEN_MAX];
    let len = issue::<RustCrypto>(&request, &key(), &mut Counter(100), &mut out)?;
    Ok(out[..len].to_vec())
}

fn plain() -> Vec<u8> {
    issued("HOST_A", 1_795_000_000, 1_826_536_000).unwrap()
}

fn parse(der: &[u8]) -> Result<Certificate<'_>, CertError> {
    Certificate::parse::<RustCrypto>(der)
}

#[test]
fn what_is_issued_reads_back() {
    let der = plain();
    let certificate = parse(&der).unwrap();
    assert_eq!(certificate.der(), der);
    assert_eq!(certificate.serial().len(), 16);
    assert_eq!(certificate.not_before(), UnixSeconds(1_795_000_000));
    assert_eq!(certificate.not_after(), UnixSeconds(1_826_536_000));
    assert_eq!(certificate.issuer(), certificate.subject());
    assert_eq!(certificate.subject().to_string(), "HOST_A");
    assert!(!certificate.subject().is_empty());
    certificate.check_self_signature::<RustCrypto>().unwrap();
    let point = crate::crypto::SigningKey::public_point(&key());
    assert_eq!(*certificate.point(), point);

    let pin = certificate.pin::<RustCrypto>();
    assert_eq!(pin.sha256, Sha256::digest(&der));
    assert_eq!(pin.point, point);
    assert!(pin.matches::<Sha256>(&der));
    assert!(!pin.matches::<Sha256>(&der[1..]));
}

/// Byte for byte what earlier versions issued for the same key, names, dates and randomness.
#[test]
fn what_is_issued_stays_as_it_was() {
    let issued = [
        "3082017e30820124a003020102021065666768696a6b6c6d6e6f7071727374300a06082a8648ce3d0403023011310f30",
        "0d06035504030c06484f53545f41301e170d3236313131383131303634305a170d3237313131383131303634305a3011",
        "310f300d06035504030c06484f53545f413059301306072a8648ce3d020106082a8648ce3d03010703420004515c3d6e",
        "b9e396b904d3feca7f54fdcd0cc1e997bf375dca515ad0a6c3b4035f4536be3a50f318fbf9a5475902a221502bef0d57",
        "e08c53b2cc0a56f17d9f9354a35e305c300c0603551d130101ff04023000300e0603551d0f0101ff040403020780301d",
        "0603551d250416301406082b0601050507030106082b06010505070302301d0603551d0e041604144269889431e31319",
        "66fcaf6a457141943ed2c35b300a06082a8648ce3d04030203480030450221009c5f45ce8e6c70ee1463d008c45dd1b8",
        "c2e4aca974278b573849d798dfc598d5022037db9217ba01e33ab3ac78a070dc23c42ef5a78f58846dbc181c4955ac5a",
        "9070",
    ];
    assert_eq!(hex::encode(plain()), issued.concat());
}

#[test]
fn both_dates_belong_to_the_validity() {
    let der = plain();
    let pin = parse(&der).unwrap().pin::<RustCrypto>();
    let judge = |seconds| pin.check_validity(UnixSeconds(seconds));
    assert_eq!(judge(1_794_999_999), Err(OutsideValidity::NotYetValid));
    assert_eq!(judge(1_795_000_000), Ok(()));
    assert_eq!(judge(1_826_536_000), Ok(()));
    assert_eq!(judge(1_826_536_001), Err(OutsideValidity::Expired));
    assert_eq!(judge(i64::MIN), Err(OutsideValidity::NotYetValid));
    assert_eq!(judge(i64::MAX), Err(OutsideValidity::Expired));
}

#[test]
fn serials_are_positive_and_fresh() {
    let mut serials = std::collections::HashSet::new();
    for seed in 0..=255 {
        let request = Request {
            subject: "x",
            not_before: UnixSeconds(0),
            not_after: UnixSeconds(1),
        };
        let mut out = [0; CERTIFICATE_LEN_MAX];
        let len = issue::<RustCrypto>(&request, &key(), &mut Counter(seed), &mut out).unwrap();
        let serial = parse(&out[..len]).unwrap().serial();
        assert_eq!(serial.len(), 16);
        assert!((0x40..0x80).contains(&serial[0]));
        assert!(serials.insert(serial.to_vec()));
    }
}

/// 2049-12-31T23:59:59Z and the second after it; the ends of time.
#[test]
fn dates_change_their_form_at_2050() {
    let tags = |before, after| {
        let der = issued("x", before, after).unwrap();
        let certificate = parse(&der).unwrap();
        assert_eq!(certificate.not_before(), UnixSeconds(before));
        assert_eq!(certificate.not_after(), UnixSeconds(after));
        let has = |text: &[u8]| der.windows(text.len()).any(|part| part == text);
        (has(b"\x17\x0d491231235959Z"), has(b"\x18\x0f20500101000000Z"))
    };
    assert_eq!(tags(2_524_607_999, 2_524_608_000), (true, true));
    assert_eq!(tags(0, 2_524_607_999), (true, false));
    assert_eq!(tags(2_524_608_000, 253_402_300_799), (false, true));
    assert_eq!(issued("x", -1, 0), Err(CertError::Date));
    assert_eq!(issued("x", 0, 253_402_300_800), Err(CertError::Date));
    assert_eq!(issued("x", i64::MIN, i64::MAX), Err(CertError::Date));
    // The statement is documented to succeed, with a warning.
    let der = issued("x", 10, 5).unwrap();
    assert!(
        parse(&der)
            .unwrap()
            .pin::<RustCrypto>()
            .check_validity(UnixSeconds(7))
            .is_err()
    );
}

#[test]
fn subjects_as_they_are_typed_and_shown() {
    let cases = [
        (
            "HOST_A certificate for database mirroring",
            "HOST_A certificate for database mirroring",
        ),
        ("  HOST_A ", "HOST_A"),
        ("HOST_A = the first", "HOST_A = the first"),
        ("a, b; c + d", "a, b; c + d"),
        ("Zürich 東京", "Zürich 東京"),
        ("CN=HOST_A", "HOST_A"),
        ("cn = HOST_A", "HOST_A"),
        ("CN=HOST_A,O=Example", "CN=HOST_A, O=Example"),
        (
            "CN=HOST_A; O=Example GmbH ,C=CH",
            "CN=HOST_A, O=Example GmbH, C=CH",
        ),
        ("O=Example, CN=HOST_A", "O=Example, CN=HOST_A"),
        ("O=Example", "O=Example"),
        (
            "CN=a,OU=b,L=c,S=d,DC=e,E=f@g",
            "CN=a, OU=b, L=c, ST=d, DC=e, E=f@g",
        ),
        (r"CN=Smith\, John,O=a\+b", r"CN=Smith\, John, O=a\+b"),
        (r#"CN="Smith, John", O="a;b""#, r"CN=Smith\, John, O=a\;b"),
        (r"CN=Smith\, John", "Smith, John"),
        (r"CN=Z\C3\BCrich,O=\20x\20", r"CN=Zürich, O=\ x\ "),
        (r"CN=\ x\ ,O=y", r"CN=\ x\ , O=y"),
        (r"CN=\ x", r"CN=\ x"),
        (r"CN=\#x,O=y#", r"CN=\#x, O=y#"),
        // A lone common name that could be taken for more than it is.
        (r"CN=CN\=a\, O=b", r"CN=CN=a\, O=b"),
        ("CN=O = Bank", "CN=O = Bank"),
        (r"CN=a=b,O=y", "CN=a=b, O=y"),
        (r#"CN="",O=y"#, ""),
    ];
    for (typed, shown) in cases {
        match issued(typed, 0, 1) {
            Ok(der) => {
                let certificate = parse(&der).unwrap();
                assert_eq!(certificate.subject().to_string(), shown, "{typed}");
                certificate.check_self_signature::<RustCrypto>().unwrap();
                let again = issued(shown, 0, 1).unwrap();
                assert_eq!(parse(&again).unwrap().subject(), certificate.subject(), "{shown}");
            }
            Err(error) => assert_eq!((error, shown), (CertError::SubjectEmpty, ""), "{typed}"),
        }
    }
}

#[test]
fn subjects_that_are_refused() {
    let long = |count| "ü".repeat(count);
    assert!(issued(&long(64), 0, 1).is_ok());
    let most = format!("CN={0},O={0},OU={0},L={1}", "東".repeat(64), "東".repeat(128));
    assert_eq!(issued(&most, 0, 1), Err(CertError::SubjectTooLong));
    let much = format!("CN={0},O={0},OU={0}", "東".repeat(64));
    assert!(parse(&issued(&much, 0, 1).unwrap()).is_ok());
    let cases = [
        (String::new(), CertError::SubjectEmpty),
        ("   ".into(), CertError::SubjectEmpty),
        ("CN=".into(), CertError::SubjectEmpty),
        ("CN=a,O=".into(), CertError::SubjectEmpty),
        (long(65), CertError::SubjectTooLong),
        (format!("CN={}", long(65)), CertError::SubjectTooLong),
        (format!("CN={}", "x".repeat(100_000)), CertError::SubjectTooLong),
        (format!("CN=a,E={}", "x".repeat(256)), CertError::SubjectTooLong),
        ("CN=a,".into(), CertError::SubjectSyntax),
        ("CN=a,b".into(), CertError::SubjectSyntax),
        ("CN=a+O=b".into(), CertError::SubjectSyntax),
        ("CN=#0403".into(), CertError::SubjectSyntax),
        (r"CN=a\".into(), CertError::SubjectSyntax),
        (r"CN=a\zb".into(), CertError::SubjectSyntax),
        (r"CN=a\2".into(), CertError::SubjectSyntax),
        (r"CN=a\2g".into(), CertError::SubjectSyntax),
        (r#"CN="a"#.into(), CertError::SubjectSyntax),
        (r#"CN="a"b"#.into(), CertError::SubjectSyntax),
        (r#"CN=a"b""#.into(), CertError::SubjectSyntax),
        ("CN=a,X=b".into(), CertError::SubjectAttribute),
        ("CN=a,=b".into(), CertError::SubjectAttribute),
        (r"CN=\ff".into(), CertError::SubjectCharacter),
        (r"CN=a\00b".into(), CertError::SubjectCharacter),
        ("a\nb".into(), CertError::SubjectCharacter),
        ("a\0b".into(), CertError::SubjectCharacter),
        ("a\u{202e}b".into(), CertError::SubjectCharacter),
        ("CN=a,C=1x".into(), CertError::SubjectCharacter),
        ("CN=a,C=x".into(), CertError::SubjectCharacter),
        ("CN=a,C=CHE".into(), CertError::SubjectTooLong),
        ("CN=a,DC=ü".into(), CertError::SubjectCharacter),
    ];
    for (typed, error) in cases {
        assert_eq!(issued(&typed, 0, 1), Err(error), "{typed:.80}");
    }
}

#[test]
fn every_bit_of_a_certificate_counts() {
    let der = plain();
    let pin = parse(&der).unwrap().pin::<RustCrypto>();
    for bit in 0..der.len() * 8 {
        let mut bad = der.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(!pin.matches::<Sha256>(&bad));
        if let Ok(certificate) = parse(&bad) {
            assert!(
                certificate.check_self_signature::<RustCrypto>().is_err(),
                "bit {bit}"
            );
        }
    }
    for len in 0..der.len() {
        assert_eq!(parse(&der[..len]), Err(CertError::Malformed), "{len}");
    }
    let mut longer = der.clone();
    longer.push(0);
    assert_eq!(parse(&longer), Err(CertError::Malformed));
    longer.resize(CERTIFICATE_LEN_MAX + 1, 0);
    assert_eq!(parse(&longer), Err(CertError::TooLong));
}

/// A certificate that no one signed, of parts that may be wrong.
struct Parts {
    version: Vec<u8>,
    serial: Vec<u8>,
    inner_algorithm: Vec<u8>,
    issuer: Vec<u8>,
    validity: Vec<u8>,
    key: Vec<u8>,
    tail: Vec<u8>,
}

const ALGORITHM: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// SET { SEQUENCE { CN, UTF8String "x" } }
const RDN_CN_X: &[u8] = b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01x";
const EXTENSION: &[u8] = b"\x30\x07\x06\x01\x2a\x04\x02\x05\x00";

fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = [
        &[tag, 0x82],
        &u16::try_from(content.len()).unwrap().to_be_bytes()[..],
    ]
    .concat();
    match content.len() {
        0..=127 => out.splice(1.., [content.len() as u8]).for_each(drop),
        128..=255 => out.splice(1.., [0x81, content.len() as u8]).for_each(drop),
        _ => {}
    }
    out.extend(content);
    out
}

impl Parts {
    fn good() -> Self {
        let point = crate::crypto::SigningKey::public_point(&key());
        Self {
            version: tlv(0xa0, &[&[2, 1, 2]]),
            serial: [2, 1, 1].to_vec(),
            inner_algorithm: ALGORITHM.to_vec(),
            issuer: tlv(0x30, &[RDN_CN_X]),
            validity: tlv(0x30, &[b"\x17\x0d700101000000Z", b"\x17\x0d700101000001Z"]),
            key: Self::key(b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07", &point),
            tail: tlv(0xa3, &[&tlv(0x30, &[EXTENSION])]),
        }
    }

    fn key(parameters: &[u8], point: &[u8]) -> Vec<u8> {
        let algorithm = tlv(0x30, &[b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01", parameters]);
        tlv(0x30, &[&algorithm, &tlv(3, &[&[0], point])])
    }

    fn der(&self) -> Vec<u8> {
        let tbs = tlv(
            0x30,
            &[
                &self.version,
                &self.serial,
                &self.inner_algorithm,
                &self.issuer,
                &self.validity,
                &tlv(0x30, &[]),
                &self.key,
                &self.tail,
            ],
        );
        tlv(0x30, &[&tbs, ALGORITHM, &[3, 2, 0, 1]])
    }
}

fn parse_parts(change: impl FnOnce(&mut Parts)) -> Result<String, CertError> {
    let mut parts = Parts::good();
    change(&mut parts);
    let der = parts.der();
    parse(&der).map(|certificate| certificate.issuer().to_string())
}

#[test]
fn structure_is_strict() {
    assert_eq!(parse_parts(|_| {}).as_deref(), Ok("x"));
    let der = Parts::good().der();
    let certificate = parse(&der).unwrap();
    assert!(certificate.subject().is_empty());
    assert_eq!(certificate.subject().to_string(), "");
    assert_eq!(
        certificate.check_self_signature::<RustCrypto>(),
        Err(CertError::NotSelfSigned)
    );

    let malformed: [fn(&mut Parts); 26] = [
        |p| p.serial = [2, 0].to_vec(),
        |p| p.serial = [2, 2, 0, 1].to_vec(),
        |p| p.serial = [2, 2, 0xff, 0x80].to_vec(),
        |p| p.serial = tlv(2, &[&[1; 21]]),
        |p| p.serial = [4, 1, 1].to_vec(),
        |p| p.inner_algorithm = b"\x30\x0c\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02\x05\x00".to_vec(),
        |p| p.issuer = tlv(0x31, &[RDN_CN_X]),
        |p| p.issuer = tlv(0x30, &[&[0x31, 0]]),
        |p| p.issuer = tlv(0x30, &[&tlv(0x31, &[&RDN_CN_X[2..], &[0]])]),
        // Descending within a SET OF.
        |p| {
            p.issuer = tlv(
                0x30,
                &[&tlv(
                    0x31,
                    &[b"\x30\x08\x06\x03\x55\x04\x0a\x0c\x01x", &RDN_CN_X[2..]],
                )],
            )
        },
        |p| p.validity = tlv(0x30, &[b"\x17\x0d700101000000Z"]),
        |p| p.validity = tlv(0x30, &[b"\x17\x0b7001010000Z", b"\x17\x0d700101000001Z"]),
        |p| p.validity = tlv(0x30, &[b"\x17\x0d700229000000Z", b"\x17\x0d700101000001Z"]),
        |p| p.validity = tlv(0x30, &[b"\x18\x13197001010000000.5Z", b"\x17\x0d700101000001Z"]),
        |p| p.validity = tlv(0x30, &[b"\x04\x0d700101000000Z", b"\x17\x0d700101000001Z"]),
        |p| p.validity.extend([5, 0]),
        |p| p.tail = tlv(0xa3, &[&tlv(0x30, &[])]),
        |p| p.tail = tlv(0xa3, &[&tlv(0x30, &[EXTENSION]), &[5, 0]]),
        |p| p.tail = [&p.tail[..], &p.tail].concat(),
        |p| p.tail = [&p.tail[..], &[0x81, 1, 0]].concat(),
        |p| p.tail = [0x81, 1, 1].to_vec(),
        |p| p.tail = [0x81, 0].to_vec(),
        |p| p.tail = [5, 0].to_vec(),
        // critical FALSE, and TRUE as BER has it.
        |p| {
            p.tail = tlv(
                0xa3,
                &[&tlv(0x30, &[b"\x30\x0a\x06\x01\x2a\x01\x01\x00\x04\x02\x05\x00"])],
            )
        },
        |p| {
            p.tail = tlv(
                0xa3,
                &[&tlv(0x30, &[b"\x30\x0a\x06\x01\x2a\x01\x01\x01\x04\x02\x05\x00"])],
            )
        },
        |p| p.tail = tlv(0xa3, &[&tlv(0x30, &[b"\x30\x03\x06\x01\x2a"])]),
    ];
    for (index, change) in malformed.into_iter().enumerate() {
        assert_eq!(parse_parts(change), Err(CertError::Malformed), "case {index}");
    }
    let accepted: [fn(&mut Parts); 8] = [
        |p| p.tail = Vec::new(),
        |p| p.tail = [&[0x81, 1, 0][..], &[0x82, 2, 4, 0xf0], &p.tail].concat(),
        |p| p.serial = [2, 1, 0].to_vec(),
        |p| p.serial = [2, 1, 0x80].to_vec(),
        |p| p.serial = tlv(2, &[&[0], &[0xff; 19]]),
        |p| p.issuer = tlv(0x30, &[]),
        |p| p.validity = tlv(0x30, &[b"\x18\x0f19700101000000Z", b"\x18\x0f99991231235959Z"]),
        |p| {
            p.tail = tlv(
                0xa3,
                &[&tlv(
                    0x30,
                    &[EXTENSION, b"\x30\x0a\x06\x01\x2b\x01\x01\xff\x04\x02\x05\x00"],
                )],
            )
        },
    ];
    for (index, change) in accepted.into_iter().enumerate() {
        assert!(parse_parts(change).is_ok(), "case {index}");
    }
    for version in [
        Vec::new(),
        tlv(0xa0, &[&[2, 1, 1]]),
        tlv(0xa0, &[&[2, 1, 0]]),
        tlv(0xa0, &[&[2, 1, 3]]),
    ] {
        assert_eq!(parse_parts(|p| p.version = version), Err(CertError::NotVersion3));
    }
}

#[test]
fn other_keys_are_named() {
    let found = |key: Vec<u8>| match parse_parts(|p| p.key = key) {
        Err(CertError::UnsupportedKey { found }) => Some(found),
        _ => None,
    };
    let simple = |algorithm: &[u8]| tlv(0x30, &[&tlv(0x30, &[algorithm]), &[3, 2, 0, 1]]);
    assert_eq!(
        found(simple(b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00")),
        Some(KeyAlgorithm::Rsa)
    );
    assert_eq!(
        found(simple(b"\x06\x03\x2b\x65\x70")),
        Some(KeyAlgorithm::Ed25519)
    );
    assert_eq!(found(simple(b"\x06\x03\x2b\x65\x71")), Some(KeyAlgorithm::Ed448));
    assert_eq!(found(simple(b"\x06\x01\x2a")), Some(KeyAlgorithm::Unknown));
    let on = |curve: &[u8]| found(Parts::key(curve, &[4; POINT_LEN]));
    assert_eq!(on(b"\x06\x05\x2b\x81\x04\x00\x22"), Some(KeyAlgorithm::P384));
    assert_eq!(on(b"\x06\x05\x2b\x81\x04\x00\x23"), Some(KeyAlgorithm::P521));
    assert_eq!(on(b"\x06\x05\x2b\x81\x04\x00\x0a"), Some(KeyAlgorithm::Secp256k1));
    assert_eq!(on(b"\x06\x01\x2a"), Some(KeyAlgorithm::OtherCurve));
    // Explicit parameters, and none.
    assert_eq!(on(b"\x30\x00"), Some(KeyAlgorithm::OtherCurve));
    assert_eq!(on(b""), Some(KeyAlgorithm::OtherCurve));

    const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    let point = crate::crypto::SigningKey::public_point(&key());
    let compressed = [&[2][..], &point[1..33]].concat();
    assert_eq!(
        found(Parts::key(P256, &compressed)),
        Some(KeyAlgorithm::CompressedP256)
    );
    let mut off_curve = point;
    off_curve[64] ^= 1;
    let mut hybrid = point;
    hybrid[0] = 6;
    for bad in [&off_curve[..], &hybrid, &point[..64], &[0], &[]] {
        let key = Parts::key(P256, bad);
        assert_eq!(parse_parts(|p| p.key = key), Err(CertError::BadPoint));
    }
}

#[test]
fn foreign_names_are_shown_safely() {
    let shown = |rdns: &[&[u8]]| parse_parts(|p| p.issuer = tlv(0x30, rdns)).unwrap();
    let rdn =
        |oid: &[u8], tag: u8, value: &[u8]| tlv(0x31, &[&tlv(0x30, &[&tlv(6, &[oid]), &tlv(tag, &[value])])]);
    const CN: &[u8] = b"\x55\x04\x03";
    const O: &[u8] = b"\x55\x04\x0a";
    assert_eq!(shown(&[&rdn(CN, 0x13, b"printable")]), "printable");
    assert_eq!(shown(&[&rdn(CN, 0x14, b"Z\xfcrich")]), "CN=Zürich");
    assert_eq!(
        shown(&[&rdn(CN, 0x1e, b"\0Z\0\xfc\xd8\x3d\xde\x00")]),
        "CN=Zü\u{1f600}"
    );
    assert_eq!(shown(&[&rdn(CN, 0x1e, b"\xd8\x00\0Z")]), "CN=\u{fffd}Z");
    assert_eq!(shown(&[&rdn(CN, 0x1e, b"\0")]), "CN=#00");
    assert_eq!(shown(&[&rdn(CN, 0x0c, b"\xff\xfe")]), "CN=#fffe");
    assert_eq!(shown(&[&rdn(CN, 0x04, b"\x01")]), "CN=#01");
    assert_eq!(shown(&[&rdn(CN, 0x0c, b"a\x1b[2Jb\n")]), r"CN=a\1B[2Jb\0A");
    assert_eq!(shown(&[&rdn(CN, 0x0c, br"a\1B[2Jb")]), r"a\1B[2Jb");
    assert_eq!(
        shown(&[&rdn(CN, 0x0c, "a\u{202e}b".as_bytes())]),
        r"CN=a\E2\80\AEb"
    );
    assert_eq!(shown(&[&rdn(CN, 0x0c, b"O=Bank, CN=b")]), r"CN=O=Bank\, CN=b");
    assert_eq!(shown(&[&rdn(CN, 0x0c, b" ")]), r"CN=\ ");
    assert_eq!(shown(&[&rdn(CN, 0x0c, b"")]), "");
    assert_eq!(shown(&[&rdn(CN, 0x0c, b"a"), &rdn(CN, 0x0c, b"b")]), "CN=a, CN=b");
    assert_eq!(
        shown(&[&rdn(O, 0x0c, b"a, CN=b"), &rdn(CN, 0x0c, b"c")]),
        r"O=a\, CN=b, CN=c"
    );
    assert_eq!(shown(&[&rdn(b"\x2a\x03", 0x0c, b"v")]), "1.2.3=v");
    let pair = tlv(0x31, &[&rdn(CN, 0x0c, b"a")[2..], &rdn(O, 0x0c, b"b")[2..]]);
    assert_eq!(shown(&[&pair]), "CN=a + O=b");
}

#[test]
fn a_failed_source_issues_nothing() {
    struct Dead;
    impl Entropy for Dead {
        fn fill_secret(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError)
        }
        fn fill_public(&mut self, _: &mut [u8]) -> Result<(), EntropyError> {
            Err(EntropyError)
        }
    }
    let request = Request {
        subject: "x",
        not_before: UnixSeconds(0),
        not_after: UnixSeconds(1),
    };
    let mut out = [0; CERTIFICATE_LEN_MAX];
    assert_eq!(
        issue::<RustCrypto>(&request, &key(), &mut Dead, &mut out),
        Err(CertError::Entropy)
    );
}

/// The largest certificate that can be issued keeps well within what is accepted.
#[test]
fn the_largest_subject_fits() {
    let subject = |last| format!("CN={0},O={0},OU={0},L={1}", "東".repeat(64), "é".repeat(last));
    let der = issued(&subject(68), 0, 253_402_300_799).unwrap();
    assert_eq!(
        issued(&subject(69), 0, 253_402_300_799),
        Err(CertError::SubjectTooLong)
    );
    assert!(der.len() < CERTIFICATE_LEN_MAX);
    assert!(parse(&der).is_ok());
    let mut out = Backwards::new(&mut []);
    assert!(out.wrap::<der::Error>(context(0, true), |_| Ok(())).is_err());
    assert!(out.put(&Tag::Null).is_err());
}

/// What a hostile or careless issuer may write, and the rule for each (`docs/keys.md`, "Certificates that are taken").
#[test]
fn hostile_certificates() {
    const CRITICAL_UNKNOWN: &[u8] = b"\x30\x0a\x06\x01\x2b\x01\x01\xff\x04\x02\x05\x00";
    let der = Parts::good().der();
    let refused = |der: &[u8]| parse(der).err();
    // Lengths: huge, indefinite, longer than needed, beyond the end.
    for head in [
        &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..],
        &[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x30, 0xff],
        &[0x30, 0x80],
        &[0x30, 0x83, 0x00, 0x01, 0x00],
    ] {
        let body = der.iter().skip(4).copied();
        let hostile: Vec<u8> = head.iter().copied().chain(body).chain([0, 0]).collect();
        assert!(
            matches!(refused(&hostile), Some(CertError::Malformed | CertError::TooLong)),
            "{head:02x?}"
        );
    }
    assert_eq!(
        refused(&[&der[..], &[0]].concat()),
        Some(CertError::Malformed),
        "trailing bytes"
    );
    assert_eq!(refused(&der[..der.len() - 1]), Some(CertError::Malformed));
    assert_eq!(refused(&[0; CERTIFICATE_LEN_MAX + 1]), Some(CertError::TooLong));
    // Serial numbers: a negative one, as some issuers write, identifies nothing here and is taken; too long is not.
    assert!(parse_parts(|p| p.serial = [2, 1, 0xff].to_vec()).is_ok());
    assert_eq!(
        parse_parts(|p| p.serial = tlv(2, &[&[0x7f; 21]])),
        Err(CertError::Malformed)
    );
    // Extensions: an unknown critical one is not ours to judge; the same one twice is refused.
    assert!(parse_parts(|p| p.tail = tlv(0xa3, &[&tlv(0x30, &[CRITICAL_UNKNOWN])])).is_ok());
    assert_eq!(
        parse_parts(|p| p.tail = tlv(0xa3, &[&tlv(0x30, &[EXTENSION, CRITICAL_UNKNOWN, EXTENSION])])),
        Err(CertError::Malformed)
    );
    // Dates out of order are read, warned of by the statement, and valid at no moment.
    let mut parts = Parts::good();
    parts.validity = tlv(0x30, &[b"\x17\x0d700101000001Z", b"\x17\x0d700101000000Z"]);
    let der = parts.der();
    let pin = parse(&der).unwrap().pin::<RustCrypto>();
    for second in -1..3 {
        assert!(pin.check_validity(UnixSeconds(second)).is_err(), "{second}");
    }
}

/// ECDSA lets anybody write n - s for s. Such a copy verifies (the rule of every TLS stack), and is another certificate: a
/// pin compares bytes.
#[test]
fn the_other_half_of_a_signature_is_another_certificate() {
    // SEC 2 §2.4.2
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let der = plain();
    let certificate = parse(&der).unwrap();
    certificate.check_self_signature::<RustCrypto>().unwrap();
    let pin = certificate.pin::<RustCrypto>();
    // The signature is the last element: BIT STRING of SEQUENCE { r, s }.
    let at = der
        .windows(3)
        .rposition(|window| window[0] == 0x03 && window[2] == 0)
        .unwrap();
    let sequence = &der[at + 3..];
    let r_len = usize::from(sequence[3]);
    let (r, s) = (&sequence[4..4 + r_len], &sequence[4 + r_len + 2..]);
    let s: Vec<u8> = s.iter().copied().skip_while(|byte| *byte == 0).collect();
    let mut other = [0_u8; 32];
    let mut borrow = 0;
    for index in (0..32_usize).rev() {
        let low = index
            .checked_sub(32 - s.len())
            .map_or(0, |index| i32::from(s[index]));
        let difference = i32::from(ORDER[index]) - low - borrow;
        borrow = i32::from(difference < 0);
        other[index] = (difference & 0xff) as u8;
    }
    let mut value: Vec<u8> = other.iter().copied().skip_while(|byte| *byte == 0).collect();
    if value[0] & 0x80 != 0 {
        value.insert(0, 0);
    }
    let signature = tlv(0x30, &[&tlv(2, &[r]), &tlv(2, &[&value])]);
    let body = [&der[4..at], &tlv(3, &[&[0], &signature])].concat();
    let copy = tlv(0x30, &[&body]);
    assert_ne!(copy, der);
    let certificate = parse(&copy).unwrap();
    certificate.check_self_signature::<RustCrypto>().unwrap();
    assert!(!pin.matches::<crate::crypto::rustcrypto::Sha256>(&copy));
}
