//! The messages that prove who is there: CertificateRequest, Certificate, CertificateVerify, Finished (RFC 8446 §4.3.2,
//! §4.4).

use super::{
    ECDSA_SECP256R1_SHA256, Extensions, Kind, expect, extension, extension_type, message, message_type,
};
use crate::channel::CERTIFICATE_LEN_MAX;
use crate::channel::error::ChannelError;
use crate::wire::{Full, Reader, Writer};

/// Bytes of a Certificate message before the certificate: header, empty context, two lengths.
const CERTIFICATE_PREFIX_LEN: u32 = 4 + 1 + 3 + 3;
/// What follows the certificate: no extensions.
pub(crate) const CERTIFICATE_SUFFIX: [u8; 2] = [0, 0];

/// Writes a CertificateRequest.
pub(crate) fn emit_certificate_request(w: &mut Writer<'_>) -> Result<(), Full> {
    message(w, message_type::CERTIFICATE_REQUEST, |w| {
        w.vec8(|_| Ok(()))?;
        w.vec16_be(|w| {
            extension(w, extension_type::SIGNATURE_ALGORITHMS, |w| {
                w.vec16_be(|w| w.u16_be(ECDSA_SECP256R1_SHA256))
            })
        })
    })
}

/// Checks a CertificateRequest. The context is for requests after the handshake (§4.3.2); extensions that have no
/// meaning here are passed over, as the RFC has it; those that have one in another message only are refused (§4.2).
pub(crate) fn check_certificate_request(message: &[u8]) -> Result<(), ChannelError> {
    let kind = Kind(message_type::CERTIFICATE_REQUEST);
    let mut r = expect(message, message_type::CERTIFICATE_REQUEST)?;
    let context = r.vec8().map_err(|m| kind.malformed(m))?;
    let extensions = Extensions::parse(kind, &mut r)?;
    kind.finish(r)?;
    if !context.is_empty() {
        return Err(kind.illegal());
    }
    let mut algorithms = None;
    for e in extensions {
        match e.extension_type {
            extension_type::SIGNATURE_ALGORITHMS => algorithms = Some(e.body),
            extension_type @ (extension_type::SUPPORTED_GROUPS
            | extension_type::ALPN
            | extension_type::PADDING
            | extension_type::RECORD_SIZE_LIMIT
            | extension_type::PRE_SHARED_KEY
            | extension_type::EARLY_DATA
            | extension_type::SUPPORTED_VERSIONS
            | extension_type::COOKIE
            | extension_type::PSK_KEY_EXCHANGE_MODES
            | extension_type::KEY_SHARE) => return Err(ChannelError::MisplacedExtension { extension_type }),
            _ => {}
        }
    }
    let extension_type = extension_type::SIGNATURE_ALGORITHMS;
    let mut body = algorithms.ok_or(ChannelError::MissingExtension { extension_type })?;
    let list = body.vec16_be().map_err(|m| kind.malformed(m))?;
    kind.finish(body)?;
    if kind.contains(list, ECDSA_SECP256R1_SHA256)? {
        Ok(())
    } else {
        Err(ChannelError::NoCommonSignature)
    }
}

/// Writes what comes before the certificate in a Certificate message; [`CERTIFICATE_SUFFIX`] comes behind it.
pub(crate) fn emit_certificate_prefix(w: &mut Writer<'_>, certificate_len: usize) -> Result<(), Full> {
    let len = u32::try_from(certificate_len).map_err(|_| Full)?;
    let u24 = |w: &mut Writer<'_>, value: u32| match value.to_be_bytes() {
        [0, a, b, c] => w.bytes(&[a, b, c]),
        _ => Err(Full),
    };
    let entry_len = len.checked_add(3 + 2).ok_or(Full)?;
    w.u8(message_type::CERTIFICATE)?;
    u24(
        w,
        entry_len
            .checked_add(CERTIFICATE_PREFIX_LEN - 4 - 3)
            .ok_or(Full)?,
    )?;
    w.u8(0)?;
    u24(w, entry_len)?;
    u24(w, len)
}

/// Takes a Certificate message apart: the one certificate in it, or `None` for an empty list.
pub(crate) fn parse_certificate(message: &[u8]) -> Result<Option<&[u8]>, ChannelError> {
    let kind = Kind(message_type::CERTIFICATE);
    let bad = |m| kind.malformed(m);
    let mut r = expect(message, message_type::CERTIFICATE)?;
    let context = r.vec8().map_err(bad)?;
    let mut list = r.vec24_be().map_err(bad)?;
    kind.finish(r)?;
    if !context.is_empty() {
        return Err(kind.illegal());
    }
    if list.is_empty() {
        return Ok(None);
    }
    let certificate = kind.non_empty(list.vec24_be().map_err(bad)?)?;
    let extensions = list.vec16_be().map_err(bad)?;
    // A second entry, extensions that we did not ask for, a certificate beyond the bound.
    if !list.is_empty() || !extensions.is_empty() || certificate.remaining() > CERTIFICATE_LEN_MAX {
        return Err(ChannelError::CertificateForm);
    }
    Ok(Some(certificate.peek()))
}

/// Writes a CertificateVerify.
pub(crate) fn emit_certificate_verify(w: &mut Writer<'_>, signature: &[u8]) -> Result<(), Full> {
    message(w, message_type::CERTIFICATE_VERIFY, |w| {
        w.u16_be(ECDSA_SECP256R1_SHA256)?;
        w.vec16_be(|w| w.bytes(signature))
    })
}

/// Takes a CertificateVerify apart: the signature.
pub(crate) fn parse_certificate_verify(message: &[u8]) -> Result<&[u8], ChannelError> {
    let kind = Kind(message_type::CERTIFICATE_VERIFY);
    let mut r = expect(message, message_type::CERTIFICATE_VERIFY)?;
    let algorithm = r.u16_be().map_err(|m| kind.malformed(m))?;
    let signature = r.vec16_be().map_err(|m| kind.malformed(m))?;
    kind.finish(r)?;
    if algorithm == ECDSA_SECP256R1_SHA256 {
        Ok(signature.peek())
    } else {
        Err(ChannelError::SignatureAlgorithm)
    }
}

/// Writes a Finished.
pub(crate) fn emit_finished(w: &mut Writer<'_>, verify_data: &[u8]) -> Result<(), Full> {
    message(w, message_type::FINISHED, |w| w.bytes(verify_data))
}

/// Takes a Finished apart: `verify_data` of `len` bytes, not yet compared.
pub(crate) fn parse_finished(message: &[u8], len: usize) -> Result<&[u8], ChannelError> {
    let kind = Kind(message_type::FINISHED);
    let mut r: Reader<'_> = expect(message, message_type::FINISHED)?;
    let verify_data = r.bytes(len).map_err(|m| kind.malformed(m))?;
    kind.finish(r)?;
    Ok(verify_data)
}
