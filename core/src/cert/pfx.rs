//! A certificate and its private key in one file: PFX, PKCS #12 (RFC 7292), as OpenSSL and others write it today.
//!
//! ```text
//! PFX ::= SEQUENCE { version 3, authSafe ContentInfo, macData MacData }
//!   authSafe        data: OCTET STRING with SEQUENCE OF ContentInfo, each either
//!                     data:           OCTET STRING with SafeContents, or
//!                     encryptedData:  SafeContents under PBES2
//!   SafeContents    SEQUENCE OF SafeBag { id, [0] value, attributes OPTIONAL }
//!                     keyBag:              PrivateKeyInfo
//!                     pkcs8ShroudedKeyBag: EncryptedPrivateKeyInfo
//!                     certBag:             SEQUENCE { x509Certificate, [0] OCTET STRING }
//!   macData         HMAC-SHA-256 over the content of authSafe, its key from RFC 7292 appendix B
//! ```
//!
//! Read: one private key, and the certificate that belongs to it, whatever else (a chain) lies beside them; strict DER. The
//! MAC has to be there and is checked before anything inside is looked at. The older encryptions (RC2, Triple DES) and the
//! SHA-1 MAC are refused: a password that is worth something should not be typed over them.

use core::cell::Cell;
use core::ops::ControlFlow;

use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use subtle::ConstantTimeEq;

use super::{CERTIFICATE_LEN_MAX, CertError, Certificate};
use crate::asn1::{Backwards, context};
use crate::crypto::hmac::Hmac;
use crate::crypto::{HASH_LEN, Hash, Provider};
use crate::entropy::Entropy;
use crate::keys::pbes2::{self, Pbes2, algorithm, read_algorithm};
use crate::keys::{Iterations, KeyError, PKCS8_LEN_MAX, PrivateKey, SALT_LEN};
use crate::secret::Secret;
use crate::wire;

/// Most bytes of a PFX that is written.
pub const PFX_LEN_MAX: usize = 2816;
/// Most bytes of one that is read, and so of the place that the caller lends for decrypting: a chain has room.
pub const PFX_IMPORT_LEN_MAX: usize = 32 << 10;

/// Room for what the MAC covers: certificate, key, and what is around them.
const SAFE_LEN_MAX: usize = 2624;
/// Most contents of an authenticated safe, and most bags altogether: more is no file of keys.
const SAFES_MAX: u8 = 8;
const BAGS_MAX: u8 = 64;
/// Most UTF-16 units of a password, its end mark included.
const UNITS_MAX: usize = 513;
const FOREIGN_SALT_LEN_MAX: usize = 64;
/// The block of SHA-256 (`v` of RFC 7292 appendix B.2).
const BLOCK_LEN: usize = 64;
/// "Purpose byte 3": a key for a MAC (RFC 7292 appendix B.3).
const MAC_KEY: [u8; BLOCK_LEN] = [3; BLOCK_LEN];

const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ENCRYPTED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.6");
const KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.1");
const SHROUDED_KEY_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.2");
const CERTIFICATE_BAG: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.12.10.1.3");
const X509_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.22.1");
const LOCAL_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.21");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// Why a PFX cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PfxError {
    /// More than [`PFX_IMPORT_LEN_MAX`] bytes, or than the lent place.
    TooLong,
    /// Not a PFX in strict DER, cut short, or with something behind its end.
    Malformed,
    /// Encrypted or authenticated by an older scheme: RC2, Triple DES, SHA-1.
    UnknownScheme,
    /// Nothing authenticates it.
    NoMac,
    /// A wrong password, or changed bytes.
    Rejected,
    /// It holds no private key.
    NoKey,
    /// It holds more than one private key.
    SeveralKeys,
    /// It holds no certificate that belongs to its private key.
    NoCertificate,
    /// Its private key cannot be used.
    Key(KeyError),
    /// Its only certificate cannot be used.
    Certificate(CertError),
    /// The entropy source failed.
    Entropy,
}

impl PfxError {
    /// A stable number for logs and counters; never reused.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::TooLong => 1,
            Self::Malformed => 2,
            Self::UnknownScheme => 3,
            Self::NoMac => 4,
            Self::Rejected => 5,
            Self::NoKey => 6,
            Self::SeveralKeys => 7,
            Self::NoCertificate => 8,
            Self::Key(_) => 9,
            Self::Certificate(_) => 10,
            Self::Entropy => 11,
        }
    }
}

impl From<der::Error> for PfxError {
    fn from(error: der::Error) -> Self {
        match error.kind() {
            der::ErrorKind::Overlength => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}

impl From<KeyError> for PfxError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Malformed => Self::Malformed,
            KeyError::UnknownScheme => Self::UnknownScheme,
            KeyError::Rejected => Self::Rejected,
            KeyError::NoRoom => Self::TooLong,
            KeyError::Entropy => Self::Entropy,
            other => Self::Key(other),
        }
    }
}

impl core::fmt::Display for PfxError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the PFX has more than 32,768 bytes",
            Self::Malformed => "not a PFX (PKCS #12) in DER, or damaged or cut short",
            Self::UnknownScheme => {
                "the PFX is protected by an older scheme (RC2, Triple DES or SHA-1) or an unknown one; AES-256 and SHA-256 are wanted (openssl pkcs12 -legacy -in old.pfx -nodes | openssl pkcs12 -export -out new.pfx converts it)"
            }
            Self::NoMac => "nothing authenticates the PFX: it was written without a MAC",
            Self::Rejected => "the password is wrong, or the PFX was changed",
            Self::NoKey => "the PFX holds no private key",
            Self::SeveralKeys => "the PFX holds more than one private key; give one with one",
            Self::NoCertificate => "the PFX holds no certificate that belongs to its private key",
            Self::Key(error) => return error.fmt(f),
            Self::Certificate(error) => return error.fmt(f),
            Self::Entropy => "the entropy source failed",
        })
    }
}

impl core::error::Error for PfxError {}

/// Reads `file` and returns its private key and the length of the certificate that belongs to it, which is written into
/// `certificate`. `scratch` is as long as the file, or longer: what is decrypted there is wiped.
///
/// # Errors
/// [`PfxError`].
pub fn read_pfx<P: Provider>(
    file: &[u8],
    password: &str,
    scratch: &mut [u8],
    certificate: &mut [u8; CERTIFICATE_LEN_MAX],
) -> Result<(PrivateKey, usize), PfxError> {
    let read = read_checked::<P>(file, password, scratch, certificate);
    zeroize::Zeroize::zeroize(scratch);
    read
}

/// What guesses at the password of a PFX cost altogether: to be asked before trying, where time matters.
///
/// # Errors
/// As [`read_pfx`], as far as they show without the password.
pub fn pfx_iterations(file: &[u8]) -> Result<u64, PfxError> {
    let pfx = Pfx::read(file)?;
    let mut total = u64::from(pfx.mac.iterations.get());
    let mut count = 0;
    each_safe(pfx.safe, |safe| {
        let mut add = |iterations: Iterations| total = total.saturating_add(u64::from(iterations.get()));
        match safe {
            // Once for the key, once for the certificate.
            Safe::Encrypted(scheme, _) => {
                add(scheme.iterations());
                add(scheme.iterations());
            }
            Safe::Plain(contents) => {
                let _to_the_end = read_bags(contents, &mut count, &mut |bag| {
                    if let Bag::ShroudedKey(info) = bag {
                        add(PrivateKey::encrypted_pkcs8_iterations(info)?);
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
            }
        }
        Ok(())
    })?;
    Ok(total)
}

fn read_checked<P: Provider>(
    file: &[u8],
    password: &str,
    scratch: &mut [u8],
    certificate: &mut [u8; CERTIFICATE_LEN_MAX],
) -> Result<(PrivateKey, usize), PfxError> {
    let pfx = Pfx::read(file)?;
    let budget = Budget::new();
    budget.spend(pfx.mac.iterations)?;
    if !pfx.mac.verify::<P::Sha256>(password, pfx.safe)? {
        return Err(PfxError::Rejected);
    }
    // Certificates come before their key in most files, so the key is looked for in a pass of its own.
    let mut key = None;
    each_bag(pfx.safe, password, scratch, &budget, |bag| {
        let found = match bag {
            Bag::Key(info) => PrivateKey::from_plain_pkcs8::<P>(info)?,
            Bag::ShroudedKey(info) => {
                budget.spend(PrivateKey::encrypted_pkcs8_iterations(info)?)?;
                PrivateKey::from_encrypted_pkcs8::<P>(info, password.as_bytes())?
            }
            Bag::Certificate(_) | Bag::Other => return Ok(ControlFlow::Continue(())),
        };
        if key.replace(found).is_some() {
            return Err(PfxError::SeveralKeys);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let key = key.ok_or(PfxError::NoKey)?;
    let mut found = None;
    let mut unusable = None;
    each_bag(pfx.safe, password, scratch, &budget, |bag| {
        let Bag::Certificate(der) = bag else {
            return Ok(ControlFlow::Continue(()));
        };
        match Certificate::parse::<P>(der) {
            Ok(parsed) if key.belongs_to::<P>(parsed.point()) => {
                found = wire::copy(certificate, der);
                Ok(ControlFlow::Break(()))
            }
            // Another's, as in a chain.
            Ok(_) => Ok(ControlFlow::Continue(())),
            Err(error) => {
                unusable = Some(error);
                Ok(ControlFlow::Continue(()))
            }
        }
    })?;
    match (found, unusable) {
        (Some(len), _) => Ok((key, len)),
        (None, Some(error)) => Err(PfxError::Certificate(error)),
        (None, None) => Err(PfxError::NoCertificate),
    }
}

/// Writes `key` (encrypted by `password`) and `certificate` into `out` and returns the length. The certificate, which
/// everybody may see, is authenticated and not encrypted.
///
/// # Errors
/// [`PfxError::TooLong`] for a certificate or password that has no room, [`PfxError::Entropy`].
pub fn write_pfx<P: Provider>(
    key: &PrivateKey,
    certificate: &[u8],
    password: &str,
    iterations: Iterations,
    entropy: &mut dyn Entropy,
    out: &mut [u8; PFX_LEN_MAX],
) -> Result<usize, PfxError> {
    if certificate.len() > CERTIFICATE_LEN_MAX {
        return Err(PfxError::TooLong);
    }
    let mut shrouded = [0; PKCS8_LEN_MAX];
    let len = key.to_encrypted_pkcs8::<P>(password.as_bytes(), iterations, entropy, &mut shrouded)?;
    let shrouded = shrouded.get(..len).ok_or(PfxError::TooLong)?;

    let mut safe = [0; SAFE_LEN_MAX];
    let mut writer = Backwards::new(&mut safe);
    writer.wrap::<der::Error>(Tag::Sequence, |out| {
        write_data(out, |out| {
            write_bag(out, SHROUDED_KEY_BAG, |out| Ok(out.raw(shrouded)?))
        })?;
        write_data(out, |out| {
            write_bag(out, CERTIFICATE_BAG, |out| {
                out.wrap::<der::Error>(Tag::Sequence, |out| {
                    out.wrap::<der::Error>(context(0, true), |out| {
                        out.put(&OctetStringRef::new(certificate)?)
                    })?;
                    out.put(&X509_CERTIFICATE)
                })
            })
        })
    })?;
    let safe = writer.written();

    let mut mac = Mac {
        salt: &[],
        iterations,
        digest: [0; HASH_LEN],
    };
    let mut salt = [0; SALT_LEN];
    entropy.fill_public(&mut salt).map_err(|_| PfxError::Entropy)?;
    mac.salt = &salt;
    mac.digest = mac.compute::<P::Sha256>(password, safe)?;

    let mut file = Backwards::new(out);
    file.wrap::<der::Error>(Tag::Sequence, |out| {
        out.wrap::<der::Error>(Tag::Sequence, |out| {
            out.put(&mac.iterations.get())?;
            out.put(&OctetStringRef::new(mac.salt)?)?;
            out.wrap::<der::Error>(Tag::Sequence, |out| {
                out.put(&OctetStringRef::new(&mac.digest)?)?;
                algorithm(out, SHA256, |out| out.put(&AnyRef::NULL))
            })
        })?;
        write_content(out, |out| Ok(out.raw(safe)?))?;
        out.put(&3_u8)
    })?;
    Ok(file.finish())
}

/// ContentInfo of type data around what `content` writes.
fn write_content(
    out: &mut Backwards<'_>,
    content: impl FnOnce(&mut Backwards<'_>) -> der::Result<()>,
) -> der::Result<()> {
    out.wrap::<der::Error>(Tag::Sequence, |out| {
        out.wrap::<der::Error>(context(0, true), |out| out.wrap(Tag::OctetString, content))?;
        out.put(&DATA)
    })
}

/// ContentInfo with the one bag that `bag` writes.
fn write_data(
    out: &mut Backwards<'_>,
    bag: impl FnOnce(&mut Backwards<'_>) -> der::Result<()>,
) -> der::Result<()> {
    write_content(out, |out| out.wrap(Tag::Sequence, bag))
}

/// A bag with the attribute that tells importers which certificate goes with which key.
fn write_bag(
    out: &mut Backwards<'_>,
    id: ObjectIdentifier,
    value: impl FnOnce(&mut Backwards<'_>) -> der::Result<()>,
) -> der::Result<()> {
    out.wrap::<der::Error>(Tag::Sequence, |out| {
        out.wrap::<der::Error>(Tag::Set, |out| {
            out.wrap::<der::Error>(Tag::Sequence, |out| {
                out.wrap::<der::Error>(Tag::Set, |out| out.put(&OctetStringRef::new(&[1])?))?;
                out.put(&LOCAL_KEY_ID)
            })
        })?;
        out.wrap(context(0, true), value)?;
        out.put(&id)
    })
}

/// A PFX taken apart, nothing of it checked yet.
struct Pfx<'a> {
    /// The AuthenticatedSafe.
    safe: &'a [u8],
    mac: Mac<'a>,
}

impl<'a> Pfx<'a> {
    fn read(file: &'a [u8]) -> Result<Self, PfxError> {
        if file.len() > PFX_IMPORT_LEN_MAX {
            return Err(PfxError::TooLong);
        }
        let mut reader = SliceReader::new(file)?;
        let pfx = reader.sequence(|reader| {
            // PFX of version 3, the only one there is.
            if reader.decode::<u8>()? != 3 {
                return Err(PfxError::Malformed);
            }
            let (kind, content) = read_content(reader)?;
            // Otherwise it is signed, by keys that nobody here knows.
            if kind != DATA {
                return Err(PfxError::UnknownScheme);
            }
            let safe: &OctetStringRef = content.decode_as()?;
            if reader.is_finished() {
                return Err(PfxError::NoMac);
            }
            Ok(Self {
                safe: safe.as_bytes(),
                mac: Mac::read(reader)?,
            })
        })?;
        reader.finish()?;
        Ok(pfx)
    }
}

/// MacData.
struct Mac<'a> {
    salt: &'a [u8],
    iterations: Iterations,
    digest: [u8; HASH_LEN],
}

impl<'a> Mac<'a> {
    fn read(reader: &mut SliceReader<'a>) -> Result<Self, PfxError> {
        reader.sequence(|reader| {
            let (hash, digest) = reader.sequence(|reader| {
                let (hash, parameters) = read_algorithm(reader)?;
                let digest: &OctetStringRef = reader.decode()?;
                if hash != SHA256 || !parameters.is_none_or(AnyRef::is_null) {
                    return Err(PfxError::UnknownScheme);
                }
                Ok((hash, digest.as_bytes()))
            })?;
            let _only_this_one = hash;
            let salt: &OctetStringRef = reader.decode()?;
            let salt = salt.as_bytes();
            if salt.is_empty() || salt.len() > FOREIGN_SALT_LEN_MAX {
                return Err(PfxError::Malformed);
            }
            // DEFAULT 1, which DER leaves out.
            let iterations = if reader.is_finished() {
                1
            } else {
                reader.decode::<u32>()?
            };
            Ok(Self {
                salt,
                iterations: Iterations::new(iterations)?,
                digest: digest.try_into().map_err(|_| PfxError::Malformed)?,
            })
        })
    }

    fn verify<H: Hash>(&self, password: &str, safe: &[u8]) -> Result<bool, PfxError> {
        Ok(self.compute::<H>(password, safe)?.ct_eq(&self.digest).into())
    }

    /// The MAC's key is 32 bytes, as many as one hash gives: of the derivation in RFC 7292 appendix B.2 the first round.
    fn compute<H: Hash>(&self, password: &str, safe: &[u8]) -> Result<[u8; HASH_LEN], PfxError> {
        let mut units = Secret::<{ UNITS_MAX * 2 }>::zero();
        let len = write_units(password, units.expose_mut()).ok_or(PfxError::Rejected)?;
        let units = units.expose().get(..len).ok_or(PfxError::Rejected)?;
        let mut state = H::new();
        state.update(&MAC_KEY);
        for part in [self.salt, units] {
            // Repeated up to a multiple of the block.
            let rest = part
                .len()
                .checked_next_multiple_of(BLOCK_LEN)
                .ok_or(PfxError::TooLong)?;
            for byte in part.iter().cycle().take(rest) {
                state.update(core::slice::from_ref(byte));
            }
        }
        let mut key = Secret::new(state.finish());
        for _ in 1..self.iterations.get() {
            let mut state = H::new();
            state.update(key.expose());
            *key.expose_mut() = state.finish();
        }
        Ok(Hmac::<H>::tag(key.expose(), &[safe]))
    }
}

/// UTF-16, big-endian, with an end mark (RFC 7292 appendix B.1).
fn write_units(password: &str, out: &mut [u8; UNITS_MAX * 2]) -> Option<usize> {
    let mut len = 0_usize;
    for unit in password.encode_utf16().chain([0]) {
        let end = len.checked_add(2)?;
        wire::copy(out.get_mut(len..end)?, &unit.to_be_bytes())?;
        len = end;
    }
    Some(len)
}

/// All passwords of a file together may cost as much as one.
struct Budget(Cell<u32>);

impl Budget {
    const fn new() -> Self {
        Self(Cell::new(Iterations::MAX))
    }

    fn spend(&self, iterations: Iterations) -> Result<(), PfxError> {
        let left = self.0.get().checked_sub(iterations.get());
        self.0.set(left.ok_or(PfxError::Key(KeyError::IterationCount))?);
        Ok(())
    }
}

/// One content of the authenticated safe.
enum Safe<'a> {
    Plain(&'a [u8]),
    Encrypted(Pbes2<'a>, &'a [u8]),
}

enum Bag<'a> {
    Key(&'a [u8]),
    ShroudedKey(&'a [u8]),
    Certificate(&'a [u8]),
    Other,
}

/// ContentInfo: its type, and what is in it.
fn read_content<'a>(reader: &mut SliceReader<'a>) -> Result<(ObjectIdentifier, AnyRef<'a>), PfxError> {
    reader.sequence(|reader| {
        let kind = reader.decode()?;
        Ok((kind, read_explicit(reader)?))
    })
}

/// `[0] EXPLICIT`
fn read_explicit<'a>(reader: &mut SliceReader<'a>) -> Result<AnyRef<'a>, PfxError> {
    let outer: AnyRef<'a> = reader.decode()?;
    if outer.tag() != context(0, true) {
        return Err(PfxError::Malformed);
    }
    Ok(AnyRef::from_der(outer.value())?)
}

fn each_safe<'a>(
    safes: &'a [u8],
    mut visit: impl FnMut(Safe<'a>) -> Result<(), PfxError>,
) -> Result<(), PfxError> {
    let mut reader = SliceReader::new(safes)?;
    reader.sequence(|reader| {
        let mut count = 0_u8;
        while !reader.is_finished() {
            count = count.saturating_add(1);
            if count > SAFES_MAX {
                return Err(PfxError::Malformed);
            }
            let (kind, content) = read_content(reader)?;
            let safe = match kind {
                DATA => {
                    let bytes: &OctetStringRef = content.decode_as()?;
                    Safe::Plain(bytes.as_bytes())
                }
                ENCRYPTED_DATA => content.sequence(read_encrypted)?,
                // Encrypted for a public key.
                _ => return Err(PfxError::UnknownScheme),
            };
            visit(safe)?;
        }
        Ok(())
    })?;
    Ok(reader.finish()?)
}

/// EncryptedData (RFC 5652 §8).
fn read_encrypted<'a>(reader: &mut SliceReader<'a>) -> Result<Safe<'a>, PfxError> {
    if reader.decode::<u8>()? != 0 {
        return Err(PfxError::Malformed);
    }
    reader.sequence(|reader| {
        if reader.decode::<ObjectIdentifier>()? != DATA {
            return Err(PfxError::Malformed);
        }
        let scheme = Pbes2::read(reader)?;
        let encrypted: AnyRef<'a> = reader.decode()?;
        if encrypted.tag() != context(0, false) {
            return Err(PfxError::Malformed);
        }
        pbes2::check_length(encrypted.value())?;
        Ok(Safe::Encrypted(scheme, encrypted.value()))
    })
}

/// Every bag of every safe, until `visit` breaks off.
fn each_bag(
    safes: &[u8],
    password: &str,
    scratch: &mut [u8],
    budget: &Budget,
    mut visit: impl FnMut(Bag<'_>) -> Result<ControlFlow<()>, PfxError>,
) -> Result<(), PfxError> {
    let mut count = 0_u8;
    let mut done = false;
    each_safe(safes, |safe| {
        if done {
            return Ok(());
        }
        let encrypted = matches!(safe, Safe::Encrypted(..));
        let contents = match safe {
            Safe::Plain(contents) => contents,
            Safe::Encrypted(scheme, bytes) => {
                budget.spend(scheme.iterations())?;
                let len = wire::copy(scratch, bytes).ok_or(PfxError::TooLong)?;
                let place = scratch.get_mut(..len).ok_or(PfxError::TooLong)?;
                scheme.decrypt(password.as_bytes(), place)?
            }
        };
        let read = read_bags(contents, &mut count, &mut visit);
        match read {
            Ok(ControlFlow::Break(())) => {
                done = true;
                Ok(())
            }
            Ok(ControlFlow::Continue(())) => Ok(()),
            // The MAC fitted, so this is no wrong password: an encryption by another one.
            Err(PfxError::Malformed) if encrypted => Err(PfxError::Rejected),
            Err(error) => Err(error),
        }
    })
}

fn read_bags(
    contents: &[u8],
    count: &mut u8,
    visit: &mut impl FnMut(Bag<'_>) -> Result<ControlFlow<()>, PfxError>,
) -> Result<ControlFlow<()>, PfxError> {
    let mut reader = SliceReader::new(contents)?;
    let end = reader.sequence(|reader| {
        let mut end = ControlFlow::Continue(());
        while !reader.is_finished() {
            *count = count.saturating_add(1);
            if *count > BAGS_MAX {
                return Err(PfxError::Malformed);
            }
            let bag = reader.sequence(read_bag)?;
            if end.is_continue() {
                end = visit(bag)?;
            }
        }
        Ok(end)
    })?;
    reader.finish()?;
    Ok(end)
}

fn read_bag<'a>(reader: &mut SliceReader<'a>) -> Result<Bag<'a>, PfxError> {
    let id: ObjectIdentifier = reader.decode()?;
    let outer: AnyRef<'a> = reader.decode()?;
    if outer.tag() != context(0, true) {
        return Err(PfxError::Malformed);
    }
    let bag = match id {
        KEY_BAG => Bag::Key(outer.value()),
        SHROUDED_KEY_BAG => Bag::ShroudedKey(outer.value()),
        CERTIFICATE_BAG => {
            let mut value = SliceReader::new(outer.value())?;
            let (kind, content) = read_content(&mut value)?;
            value.finish()?;
            if kind == X509_CERTIFICATE {
                let der: &OctetStringRef = content.decode_as()?;
                Bag::Certificate(der.as_bytes())
            } else {
                Bag::Other
            }
        }
        _ => Bag::Other,
    };
    // Names and the like.
    if !reader.is_finished() {
        reader.decode::<AnyRef<'a>>()?.tag().assert_eq(Tag::Set)?;
    }
    Ok(bag)
}

#[cfg(test)]
mod tests;
