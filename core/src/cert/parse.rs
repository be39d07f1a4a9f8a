//! Parsing any X.509 v3 certificate with a P-256 key (RFC 5280 §4.1).

use super::{CERTIFICATE_LEN_MAX, CertError, KeyAlgorithm, Name, Pin};
use crate::asn1::dates;
use crate::asn1::elements::{Element, Elements, tag};
use crate::crypto::{HASH_LEN, Hash, POINT_LEN, Provider, VerifyingKey};
use crate::time::UnixSeconds;

/// The number that stands for version 3.
const VERSION_3: u32 = 2;
/// `id-ecPublicKey`, 1.2.840.10045.2.1 (RFC 5480 §2.1.1).
const EC_PUBLIC_KEY: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";
/// `secp256r1`, 1.2.840.10045.3.1.7, also called `prime256v1` and P-256 (RFC 5480 §2.1.1.1).
const SECP256R1: &[u8] = b"\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// `ecdsa-with-SHA256`, 1.2.840.10045.4.3.2 (RFC 5758 §3.2).
const ECDSA_WITH_SHA256: &[u8] = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// How PEM begins (RFC 7468 §2).
const PEM_START: &[u8] = b"-----BEGIN ";
/// RFC 5280 §4.1.2.2: at most 20 octets.
const SERIAL_LEN_MAX: usize = 20;

/// A certificate, borrowed from its DER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate<'a> {
    der: &'a [u8],
    tbs: &'a [u8],
    serial: &'a [u8],
    issuer: Name<'a>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
    subject: Name<'a>,
    point: &'a [u8; POINT_LEN],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Certificate<'a> {
    /// Reads strict DER. Issuer and extensions are checked for structure and not judged; neither is the signature.
    ///
    /// # Errors
    /// [`CertError::Pem`], [`CertError::TooLong`], [`CertError::Malformed`], [`CertError::NotVersion3`],
    /// [`CertError::UnsupportedKey`], [`CertError::BadPoint`].
    pub fn parse<P: Provider>(der: &'a [u8]) -> Result<Self, CertError> {
        if der.starts_with(PEM_START) {
            return Err(CertError::Pem);
        }
        if der.len() > CERTIFICATE_LEN_MAX {
            return Err(CertError::TooLong);
        }
        let mut outer = Elements::new(der);
        let mut certificate = outer.inside(tag::SEQUENCE)?;
        outer.finish()?;
        let tbs = certificate.element()?;
        let signature_algorithm = certificate.element()?;
        let signature = certificate.bits()?.ok_or(CertError::Malformed)?;
        certificate.finish()?;
        if tbs.tag != tag::SEQUENCE {
            return Err(CertError::Malformed);
        }
        read_algorithm(&signature_algorithm)?;

        let mut fields = Elements::new(tbs.content);
        if fields.peek() != tag::structure(0) {
            return Err(CertError::NotVersion3);
        }
        let mut version = fields.inside(tag::structure(0))?;
        if version.unsigned()? != VERSION_3 {
            return Err(CertError::NotVersion3);
        }
        version.finish()?;
        let serial = read_serial(&mut fields)?;
        // RFC 5280 §4.1.1.2: the algorithm is stated twice, equally.
        if fields.element()?.whole != signature_algorithm.whole {
            return Err(CertError::Malformed);
        }
        let issuer = Name::read(&mut fields)?;
        let mut validity = fields.inside(tag::SEQUENCE)?;
        let not_before = dates::read(&validity.element()?)?;
        let not_after = dates::read(&validity.element()?)?;
        validity.finish()?;
        let subject = Name::read(&mut fields)?;
        let point = read_key(&mut fields)?;
        read_tail(&mut fields)?;
        P::VerifyingKey::from_point(point)?;
        Ok(Self {
            der,
            tbs: tbs.whole,
            serial,
            issuer,
            not_before,
            not_after,
            subject,
            point,
            signature_algorithm: signature_algorithm.whole,
            signature,
        })
    }

    /// The bytes that it was read from.
    #[must_use]
    pub const fn der(&self) -> &'a [u8] {
        self.der
    }

    /// The serial number, big-endian, without leading zeros.
    #[must_use]
    pub const fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// Who issued it, as it says.
    #[must_use]
    pub const fn issuer(&self) -> Name<'a> {
        self.issuer
    }

    /// Whom it is for, as it says.
    #[must_use]
    pub const fn subject(&self) -> Name<'a> {
        self.subject
    }

    /// The first second of validity.
    #[must_use]
    pub const fn not_before(&self) -> UnixSeconds {
        self.not_before
    }

    /// The last second of validity.
    #[must_use]
    pub const fn not_after(&self) -> UnixSeconds {
        self.not_after
    }

    /// The public key: an uncompressed point, known to be on P-256.
    #[must_use]
    pub const fn point(&self) -> &'a [u8; POINT_LEN] {
        self.point
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub fn fingerprint<P: Provider>(&self) -> [u8; HASH_LEN] {
        P::Sha256::digest(self.der)
    }

    /// What the handshake compares a peer with.
    #[must_use]
    pub fn pin<P: Provider>(&self) -> Pin {
        Pin {
            sha256: self.fingerprint::<P>(),
            point: *self.point,
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }

    /// Whether the certificate is signed by its own key. It proves that the file is whole; it does not say whose it is.
    ///
    /// # Errors
    /// [`CertError::NotSelfSigned`] when issuer and subject differ, [`CertError::UnsupportedSignature`],
    /// [`CertError::BadSignature`].
    pub fn check_self_signature<P: Provider>(&self) -> Result<(), CertError> {
        if self.issuer != self.subject {
            return Err(CertError::NotSelfSigned);
        }
        let (oid, parameters) = read_algorithm(&Elements::new(self.signature_algorithm).element()?)?;
        if oid != ECDSA_WITH_SHA256 || parameters.is_some() {
            return Err(CertError::UnsupportedSignature);
        }
        P::VerifyingKey::from_point(self.point)?
            .verify(self.tbs, self.signature)
            .map_err(|_| CertError::BadSignature)
    }
}

/// The algorithm's object identifier, and its parameters if there are any.
fn read_algorithm<'a>(algorithm: &Element<'a>) -> Result<(&'a [u8], Option<Element<'a>>), CertError> {
    if algorithm.tag != tag::SEQUENCE {
        return Err(CertError::Malformed);
    }
    let mut fields = Elements::new(algorithm.content);
    let oid = fields.object_identifier()?;
    let parameters = if fields.is_finished() {
        None
    } else {
        Some(fields.element()?)
    };
    fields.finish()?;
    Ok((oid, parameters))
}

/// Zero and negative numbers are against the rules and in the world; only their encoding is judged.
fn read_serial<'a>(fields: &mut Elements<'a>) -> Result<&'a [u8], CertError> {
    let value = fields.content(tag::INTEGER)?;
    if value.len() > SERIAL_LEN_MAX {
        return Err(CertError::Malformed);
    }
    match value {
        [] => Err(CertError::Malformed),
        // Not the shortest form (X.690 §8.3.2).
        [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(CertError::Malformed),
        [0x00, rest @ ..] if !rest.is_empty() => Ok(rest),
        value => Ok(value),
    }
}

/// SubjectPublicKeyInfo (RFC 5480 §2).
fn read_key<'a>(fields: &mut Elements<'a>) -> Result<&'a [u8; POINT_LEN], CertError> {
    let mut fields = fields.inside(tag::SEQUENCE)?;
    let (oid, parameters) = read_algorithm(&fields.element()?)?;
    let key = fields.bits()?;
    fields.finish()?;
    let unsupported = |found| Err(CertError::UnsupportedKey { found });
    if oid != EC_PUBLIC_KEY {
        return unsupported(key_algorithm(oid));
    }
    let curve = parameters.and_then(|any| Elements::new(any.whole).object_identifier().ok());
    if curve != Some(SECP256R1) {
        return unsupported(curve.map_or(KeyAlgorithm::OtherCurve, curve_algorithm));
    }
    let bytes = key.ok_or(CertError::Malformed)?;
    match bytes {
        [0x02 | 0x03, rest @ ..] if rest.len() == 32 => unsupported(KeyAlgorithm::CompressedP256),
        _ => bytes.try_into().map_err(|_| CertError::BadPoint),
    }
}

fn key_algorithm(oid: &[u8]) -> KeyAlgorithm {
    match oid {
        // rsaEncryption and RSASSA-PSS, 1.2.840.113549.1.1.1 and .10.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" => {
            KeyAlgorithm::Rsa
        }
        // 1.2.840.10040.4.1
        b"\x2a\x86\x48\xce\x38\x04\x01" => KeyAlgorithm::Dsa,
        // 1.3.101.112 and .113
        b"\x2b\x65\x70" => KeyAlgorithm::Ed25519,
        b"\x2b\x65\x71" => KeyAlgorithm::Ed448,
        _ => KeyAlgorithm::Unknown,
    }
}

fn curve_algorithm(oid: &[u8]) -> KeyAlgorithm {
    match oid {
        // 1.3.132.0.34, .35 and .10
        b"\x2b\x81\x04\x00\x22" => KeyAlgorithm::P384,
        b"\x2b\x81\x04\x00\x23" => KeyAlgorithm::P521,
        b"\x2b\x81\x04\x00\x0a" => KeyAlgorithm::Secp256k1,
        _ => KeyAlgorithm::OtherCurve,
    }
}

/// The unique identifiers and the extensions, each of which may be absent.
fn read_tail(fields: &mut Elements<'_>) -> Result<(), CertError> {
    let mut last = 0_u8;
    while !fields.is_finished() {
        let any = fields.element()?;
        let number = match any.tag {
            found if found == tag::bytes(1) => 1,
            found if found == tag::bytes(2) => 2,
            found if found == tag::structure(3) => 3,
            _ => return Err(CertError::Malformed),
        };
        // In this order, each at most once.
        if number <= last {
            return Err(CertError::Malformed);
        }
        last = number;
        if number == 3 {
            let mut explicit = Elements::new(any.content);
            read_extensions(explicit.inside(tag::SEQUENCE)?)?;
            explicit.finish()?;
        } else if !matches!(any.content, [0..=7, _, ..] | [0]) {
            return Err(CertError::Malformed);
        }
    }
    Ok(())
}

/// At least one, and none twice (RFC 5280 §4.2): two readers must not see two values of the same thing.
fn read_extensions(mut extensions: Elements<'_>) -> Result<(), CertError> {
    let start = extensions;
    let mut count = 0_usize;
    loop {
        let id = read_extension(&mut extensions)?;
        let mut earlier = start;
        for _ in 0..count {
            if read_extension(&mut earlier)? == id {
                return Err(CertError::Malformed);
            }
        }
        count = count.saturating_add(1);
        if extensions.is_finished() {
            return Ok(());
        }
    }
}

#[inline(never)]
fn read_extension<'a>(extensions: &mut Elements<'a>) -> Result<&'a [u8], CertError> {
    let mut fields = extensions.inside(tag::SEQUENCE)?;
    let id = fields.object_identifier()?;
    // DER: a default value is left out (X.690 §11.5), so this says TRUE, in its one form, or is absent.
    if fields.peek() == tag::BOOLEAN && fields.content(tag::BOOLEAN)? != [0xff] {
        return Err(CertError::Malformed);
    }
    fields.content(tag::OCTET_STRING)?;
    fields.finish()?;
    Ok(id)
}
