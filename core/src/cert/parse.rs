//! Parsing any X.509 v3 certificate with a P-256 key (RFC 5280 §4.1).

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, ObjectIdentifier, OctetStringRef, UtcTime};
use der::{Reader as _, Tag, TagMode, TagNumber, Tagged};

use super::{
    CERTIFICATE_LEN_MAX, CertError, EC_PUBLIC_KEY, ECDSA_WITH_SHA256, KeyAlgorithm, Name, Pin, SECP256R1,
};
use crate::asn1::{Reader, context};
use crate::crypto::{HASH_LEN, Hash, POINT_LEN, Provider, VerifyingKey};
use crate::time::UnixSeconds;

/// The number that stands for version 3.
const VERSION_3: u8 = 2;
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
        let mut reader = Reader::new(der)?;
        let (tbs, signature_algorithm, signature) = reader.sequence(|reader| {
            let tbs = reader.tlv_bytes()?;
            let algorithm = reader.tlv_bytes()?;
            let signature: BitStringRef<'a> = reader.decode()?;
            Ok::<_, der::Error>((tbs, algorithm, signature))
        })?;
        reader.finish()?;
        let signature = signature.as_bytes().ok_or(CertError::Malformed)?;
        read_algorithm(&mut Reader::new(signature_algorithm)?)?;

        let mut reader = Reader::new(tbs)?;
        let certificate = reader.sequence(|reader| {
            if reader.context_specific::<u8>(TagNumber(0), TagMode::Explicit)? != Some(VERSION_3) {
                return Err(CertError::NotVersion3);
            }
            let serial = read_serial(reader)?;
            // RFC 5280 §4.1.1.2: the algorithm is stated twice, equally.
            if reader.tlv_bytes()? != signature_algorithm {
                return Err(CertError::Malformed);
            }
            let issuer = Name::read(reader)?;
            let (not_before, not_after) =
                reader.sequence(|reader| Ok::<_, CertError>((read_time(reader)?, read_time(reader)?)))?;
            let subject = Name::read(reader)?;
            let point = read_key(reader)?;
            read_tail(reader)?;
            Ok(Self {
                der,
                tbs,
                serial,
                issuer,
                not_before,
                not_after,
                subject,
                point,
                signature_algorithm,
                signature,
            })
        })?;
        reader.finish()?;
        P::VerifyingKey::from_point(certificate.point)?;
        Ok(certificate)
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
        let (oid, parameters) = read_algorithm(&mut Reader::new(self.signature_algorithm)?)?;
        if oid != ECDSA_WITH_SHA256 || parameters.is_some() {
            return Err(CertError::UnsupportedSignature);
        }
        P::VerifyingKey::from_point(self.point)?
            .verify(self.tbs, self.signature)
            .map_err(|_| CertError::BadSignature)
    }
}

fn read_algorithm<'a>(reader: &mut Reader<'a>) -> Result<(ObjectIdentifier, Option<AnyRef<'a>>), CertError> {
    reader.sequence(|reader| {
        let oid = reader.decode()?;
        let parameters = if reader.is_finished() {
            None
        } else {
            Some(reader.decode()?)
        };
        Ok((oid, parameters))
    })
}

/// Zero and negative numbers are against the rules and in the world; only their encoding is judged.
fn read_serial<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], CertError> {
    let any: AnyRef<'a> = reader.decode()?;
    any.tag().assert_eq(Tag::Integer)?;
    if any.value().len() > SERIAL_LEN_MAX {
        return Err(CertError::Malformed);
    }
    match any.value() {
        [] => Err(CertError::Malformed),
        // Not the shortest form (X.690 §8.3.2).
        [0x00, 0x00..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => Err(CertError::Malformed),
        [0x00, rest @ ..] if !rest.is_empty() => Ok(rest),
        value => Ok(value),
    }
}

fn read_time(reader: &mut Reader<'_>) -> Result<UnixSeconds, CertError> {
    let since_1970 = match Tag::peek(reader)? {
        Tag::UtcTime => reader.decode::<UtcTime>()?.to_unix_duration(),
        Tag::GeneralizedTime => reader.decode::<GeneralizedTime>()?.to_unix_duration(),
        _ => return Err(CertError::Malformed),
    };
    i64::try_from(since_1970.as_secs())
        .map(UnixSeconds)
        .map_err(|_| CertError::Malformed)
}

/// SubjectPublicKeyInfo (RFC 5480 §2).
fn read_key<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8; POINT_LEN], CertError> {
    let (oid, parameters, key) = reader.sequence(|reader| {
        let (oid, parameters) = read_algorithm(reader)?;
        let key: BitStringRef<'a> = reader.decode()?;
        Ok::<_, CertError>((oid, parameters, key))
    })?;
    let unsupported = |found| Err(CertError::UnsupportedKey { found });
    if oid != EC_PUBLIC_KEY {
        return unsupported(key_algorithm(oid));
    }
    let curve = parameters
        .filter(|any| any.tag() == Tag::ObjectIdentifier)
        .and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    if curve != Some(SECP256R1) {
        return unsupported(curve.map_or(KeyAlgorithm::OtherCurve, curve_algorithm));
    }
    let bytes = key.as_bytes().ok_or(CertError::Malformed)?;
    match bytes {
        [0x02 | 0x03, rest @ ..] if rest.len() == 32 => unsupported(KeyAlgorithm::CompressedP256),
        _ => bytes.try_into().map_err(|_| CertError::BadPoint),
    }
}

fn key_algorithm(oid: ObjectIdentifier) -> KeyAlgorithm {
    const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
    const DSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");
    const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
    const ED448: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.113");
    match oid {
        RSA_ENCRYPTION | RSASSA_PSS => KeyAlgorithm::Rsa,
        DSA => KeyAlgorithm::Dsa,
        ED25519 => KeyAlgorithm::Ed25519,
        ED448 => KeyAlgorithm::Ed448,
        _ => KeyAlgorithm::Unknown,
    }
}

fn curve_algorithm(oid: ObjectIdentifier) -> KeyAlgorithm {
    const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
    const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
    const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
    match oid {
        SECP384R1 => KeyAlgorithm::P384,
        SECP521R1 => KeyAlgorithm::P521,
        SECP256K1 => KeyAlgorithm::Secp256k1,
        _ => KeyAlgorithm::OtherCurve,
    }
}

/// The unique identifiers and the extensions, each of which may be absent.
fn read_tail(reader: &mut Reader<'_>) -> Result<(), CertError> {
    let mut last = 0_u8;
    while !reader.is_finished() {
        let any: AnyRef<'_> = reader.decode()?;
        let number = match any.tag() {
            tag if tag == context(1, false) => 1,
            tag if tag == context(2, false) => 2,
            tag if tag == context(3, true) => 3,
            _ => return Err(CertError::Malformed),
        };
        // In this order, each at most once.
        if number <= last {
            return Err(CertError::Malformed);
        }
        last = number;
        if number == 3 {
            let mut reader = Reader::new(any.value())?;
            reader.sequence(read_extensions)?;
            reader.finish()?;
        } else if !matches!(any.value(), [0..=7, _, ..] | [0]) {
            return Err(CertError::Malformed);
        }
    }
    Ok(())
}

/// At least one, and none twice (RFC 5280 §4.2): two readers must not see two values of the same thing.
fn read_extensions(reader: &mut Reader<'_>) -> Result<(), CertError> {
    let start = reader.clone();
    let mut count = 0_usize;
    loop {
        let id = read_extension(reader)?;
        let mut earlier = start.clone();
        for _ in 0..count {
            if read_extension(&mut earlier)? == id {
                return Err(CertError::Malformed);
            }
        }
        count = count.saturating_add(1);
        if reader.is_finished() {
            return Ok(());
        }
    }
}

fn read_extension(reader: &mut Reader<'_>) -> Result<ObjectIdentifier, CertError> {
    reader.sequence(|reader| {
        let id = reader.decode::<ObjectIdentifier>()?;
        // DER: a default value is left out (X.690 §11.5), so this says TRUE or is absent.
        if Tag::peek(reader)? == Tag::Boolean && !reader.decode::<bool>()? {
            return Err(CertError::Malformed);
        }
        reader.decode::<&OctetStringRef>()?;
        Ok(id)
    })
}
