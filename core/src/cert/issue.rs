//! Issuing: one profile, the one of `docs/keys.md`.

use core::time::Duration;

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, ObjectIdentifier, OctetStringRef, UintRef, UtcTime};
use der::{DateTime, Tag};

use super::{CERTIFICATE_LEN_MAX, CertError, Certificate, EC_PUBLIC_KEY, ECDSA_WITH_SHA256, SECP256R1, name};
use crate::asn1::{Backwards, context};
use crate::crypto::{Hash, POINT_LEN, Provider, SIGNATURE_LEN_MAX, SigningKey, VerifyingKey};
use crate::entropy::Entropy;
use crate::time::UnixSeconds;

const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

const VERSION_3: u8 = 2;
const SERIAL_LEN: usize = 16;
/// Bit 0 of KeyUsage, digitalSignature: the only one set, so that seven bits are unused.
const DIGITAL_SIGNATURE: (u8, [u8; 1]) = (7, [0x80]);
/// RFC 7093 §2 method 1: the leftmost 160 bits of SHA-256.
const KEY_IDENTIFIER_LEN: usize = 20;

/// What a certificate is to say.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Plain text, which becomes the common name, or a distinguished name such as `CN=HOST_A,O=Example`.
    pub subject: &'a str,
    /// The first second of validity.
    pub not_before: UnixSeconds,
    /// The last second of validity. That it lies after the first is for the caller to see to: the statement that asks
    /// for the opposite is documented to succeed with a warning.
    pub not_after: UnixSeconds,
}

/// Issues a self-signed certificate for `key` into `out` and returns its length.
///
/// # Errors
/// The `Subject…` refusals, [`CertError::Date`], [`CertError::Entropy`], [`CertError::Signer`]; what `out` holds then is
/// worthless.
pub fn issue<P: Provider>(
    request: &Request<'_>,
    key: &P::SigningKey,
    entropy: &mut dyn Entropy,
    out: &mut [u8; CERTIFICATE_LEN_MAX],
) -> Result<usize, CertError> {
    let name = name::encode(request.subject)?;
    write::<P>(&name, (request.not_before, request.not_after), key, entropy, out)
}

/// Issues the certificate that follows `predecessor`: the same subject, another key, and this validity. Where nobody types a subject.
///
/// # Errors
/// [`CertError::TooLong`], [`CertError::Date`], [`CertError::Entropy`], [`CertError::Signer`]; what `out` holds then is
/// worthless.
pub fn succeed<P: Provider>(
    predecessor: &Certificate<'_>,
    (not_before, not_after): (UnixSeconds, UnixSeconds),
    key: &P::SigningKey,
    entropy: &mut dyn Entropy,
    out: &mut [u8; CERTIFICATE_LEN_MAX],
) -> Result<usize, CertError> {
    let name = predecessor.subject().as_der();
    if name.len() > name::NAME_LEN_MAX {
        return Err(CertError::TooLong);
    }
    write::<P>(name, (not_before, not_after), key, entropy, out)
}

/// Issues for the content of an RDNSequence.
fn write<P: Provider>(
    name: &[u8],
    (not_before, not_after): (UnixSeconds, UnixSeconds),
    key: &P::SigningKey,
    entropy: &mut dyn Entropy,
    out: &mut [u8; CERTIFICATE_LEN_MAX],
) -> Result<usize, CertError> {
    let mut serial = [0; SERIAL_LEN];
    entropy.fill_public(&mut serial)?;
    let [first, ..] = &mut serial;
    // Positive and without leading zeros, so that it is 16 bytes long in every certificate; 126 bits are random.
    *first = (*first & 0x7f) | 0x40;

    let mut tbs_buf = [0; CERTIFICATE_LEN_MAX];
    let mut tbs = Backwards::new(&mut tbs_buf);
    let point = key.public_point();
    tbs.wrap::<CertError>(Tag::Sequence, |tbs| {
        tbs.wrap(context(3, true), |tbs| {
            tbs.wrap(Tag::Sequence, |tbs| extensions::<P>(tbs, &point))
        })?;
        tbs.wrap::<CertError>(Tag::Sequence, |tbs| {
            tbs.put(&BitStringRef::from_bytes(&point)?)?;
            tbs.wrap(Tag::Sequence, |tbs| {
                tbs.put(&SECP256R1)?;
                Ok(tbs.put(&EC_PUBLIC_KEY)?)
            })
        })?;
        tbs.wrap::<CertError>(Tag::Sequence, |tbs| Ok(tbs.raw(name)?))?;
        tbs.wrap(Tag::Sequence, |tbs| {
            put_time(tbs, not_after)?;
            put_time(tbs, not_before)
        })?;
        tbs.wrap::<CertError>(Tag::Sequence, |tbs| Ok(tbs.raw(name)?))?;
        signature_algorithm(tbs)?;
        tbs.put(&UintRef::new(&serial)?)?;
        tbs.wrap(context(0, true), |tbs| Ok(tbs.put(&VERSION_3)?))
    })?;

    let mut signature = [0; SIGNATURE_LEN_MAX];
    let len = key.sign(tbs.written(), entropy, &mut signature)?;
    let signature = signature.get(..len).ok_or(CertError::Signer)?;
    // A signer with a fault must not put a signature into the world that gives its key away.
    P::VerifyingKey::from_point(&point)?.verify(tbs.written(), signature)?;

    let mut certificate = Backwards::new(out);
    certificate.wrap::<CertError>(Tag::Sequence, |certificate| {
        certificate.put(&BitStringRef::from_bytes(signature)?)?;
        signature_algorithm(certificate)?;
        Ok(certificate.raw(tbs.written())?)
    })?;
    Ok(certificate.finish())
}

/// ECDSA has no parameters, not even NULL (RFC 5758 §3.2).
fn signature_algorithm(out: &mut Backwards<'_>) -> Result<(), CertError> {
    out.wrap(Tag::Sequence, |out| Ok(out.put(&ECDSA_WITH_SHA256)?))
}

fn extensions<P: Provider>(out: &mut Backwards<'_>, point: &[u8; POINT_LEN]) -> Result<(), CertError> {
    extension(out, SUBJECT_KEY_IDENTIFIER, false, |out| {
        let digest = P::Sha256::digest(point);
        let identifier = digest.get(..KEY_IDENTIFIER_LEN).unwrap_or_default();
        out.put(&OctetStringRef::new(identifier)?)
    })?;
    extension(out, EXTENDED_KEY_USAGE, false, |out| {
        out.wrap(Tag::Sequence, |out| {
            out.put(&CLIENT_AUTH)?;
            out.put(&SERVER_AUTH)
        })
    })?;
    extension(out, KEY_USAGE, true, |out| {
        let (unused, bits) = DIGITAL_SIGNATURE;
        out.put(&BitStringRef::new(unused, &bits)?)
    })?;
    // CA:FALSE is the default, so the sequence is empty.
    extension(out, BASIC_CONSTRAINTS, true, |out| {
        out.put(&AnyRef::new(Tag::Sequence, &[])?)
    })
}

fn extension(
    out: &mut Backwards<'_>,
    oid: ObjectIdentifier,
    critical: bool,
    value: impl FnOnce(&mut Backwards<'_>) -> der::Result<()>,
) -> Result<(), CertError> {
    out.wrap(Tag::Sequence, |out| {
        out.wrap(Tag::OctetString, value)?;
        if critical {
            out.put(&true)?;
        }
        Ok(out.put(&oid)?)
    })
}

/// UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5).
fn put_time(out: &mut Backwards<'_>, at: UnixSeconds) -> Result<(), CertError> {
    let seconds = u64::try_from(at.0).map_err(|_| CertError::Date)?;
    let at = DateTime::from_unix_duration(Duration::from_secs(seconds)).map_err(|_| CertError::Date)?;
    if at.year() <= UtcTime::MAX_YEAR {
        Ok(out.put(&UtcTime::from_date_time(at)?)?)
    } else {
        Ok(out.put(&GeneralizedTime::from_date_time(at))?)
    }
}
