//! Issuing: one profile, the one of `docs/keys.md`.

use super::{CERTIFICATE_LEN_MAX, CertError, Certificate, name};
use crate::asn1::Backwards;
use crate::asn1::dates::{self, DATE_LEN_MAX};
use crate::asn1::elements::tag;
use crate::crypto::{Hash, Provider, SIGNATURE_LEN_MAX, SigningKey, VerifyingKey};
use crate::entropy::Entropy;
use crate::time::UnixSeconds;

/// `[0] { INTEGER 2 }`: version 3.
const VERSION_3: &[u8] = b"\xa0\x03\x02\x01\x02";
/// `SEQUENCE { ecdsa-with-SHA256 }`: ECDSA has no parameters, not even NULL (RFC 5758 §3.2).
const SIGNATURE_ALGORITHM: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// A SubjectPublicKeyInfo up to its point: `SEQUENCE { SEQUENCE { id-ecPublicKey, secp256r1 }, BIT STRING 00` (RFC 5480 §2).
const PUBLIC_KEY: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
/// The extensions that are the same in every certificate (RFC 5280 §4.2.1).
const EXTENSIONS: &[&[u8]] = &[
    // basicConstraints, critical: CA:FALSE is the default, so the sequence is empty.
    b"\x30\x0c\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x02\x30\x00",
    // keyUsage, critical: digitalSignature, bit 0 and the only one, so that seven bits are unused.
    b"\x30\x0e\x06\x03\x55\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80",
    // extKeyUsage: serverAuth and clientAuth.
    b"\x30\x1d\x06\x03\x55\x1d\x25\x04\x16\x30\x14",
    b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02",
];
/// subjectKeyIdentifier up to its 20 bytes.
const SUBJECT_KEY_IDENTIFIER: &[u8] = b"\x30\x1d\x06\x03\x55\x1d\x0e\x04\x16\x04\x14";

const SERIAL_LEN: usize = 16;
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
    let end = tbs.end();
    let point = key.public_point();
    let digest = P::Sha256::digest(&point);
    let identifier = digest.get(..KEY_IDENTIFIER_LEN).unwrap_or_default();
    tbs.raw(identifier)?;
    tbs.raw(SUBJECT_KEY_IDENTIFIER)?;
    for extension in EXTENSIONS.iter().rev() {
        tbs.raw(extension)?;
    }
    tbs.close(tag::SEQUENCE, end)?;
    tbs.close(tag::structure(3), end)?;
    tbs.raw(&point)?;
    tbs.raw(PUBLIC_KEY)?;
    tbs.element(tag::SEQUENCE, name)?;
    let validity = tbs.end();
    put_time(&mut tbs, not_after)?;
    put_time(&mut tbs, not_before)?;
    tbs.close(tag::SEQUENCE, validity)?;
    tbs.element(tag::SEQUENCE, name)?;
    tbs.raw(SIGNATURE_ALGORITHM)?;
    tbs.element(tag::INTEGER, &serial)?;
    tbs.raw(VERSION_3)?;
    tbs.close(tag::SEQUENCE, end)?;

    let mut signature = [0; SIGNATURE_LEN_MAX];
    let len = key.sign(tbs.written(), entropy, &mut signature)?;
    let signature = signature.get(..len).ok_or(CertError::Signer)?;
    // A signer with a fault must not put a signature into the world that gives its key away.
    P::VerifyingKey::from_point(&point)?.verify(tbs.written(), signature)?;

    let mut certificate = Backwards::new(out);
    let end = certificate.end();
    certificate.raw(signature)?;
    // All bits of its last byte are used.
    certificate.raw(&[0])?;
    certificate.close(tag::BIT_STRING, end)?;
    certificate.raw(SIGNATURE_ALGORITHM)?;
    certificate.raw(tbs.written())?;
    certificate.close(tag::SEQUENCE, end)?;
    Ok(certificate.finish())
}

fn put_time(out: &mut Backwards<'_>, at: UnixSeconds) -> Result<(), CertError> {
    let mut buf = [0; DATE_LEN_MAX];
    let (form, content) = dates::write(at, &mut buf).ok_or(CertError::Date)?;
    Ok(out.element(form, content)?)
}
