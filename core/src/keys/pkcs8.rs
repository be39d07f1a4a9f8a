//! Private keys on their way out and in: PKCS #8 EncryptedPrivateKeyInfo (RFC 5958 §3) under PBES2 (RFC 8018 §6.2),
//! which OpenSSL reads and writes.
//!
//! CBC authenticates nothing, so what comes out is judged as strictly as what comes in: padding, DER, the range of the
//! scalar, the public point beside it. The file serves transport; at rest a key is a [`super::WrappedKey`].
//!
//! Without encryption a key is read only when the caller says so: as PrivateKeyInfo, or as the older ECPrivateKey
//! (RFC 5915, `EC PRIVATE KEY` in PEM). It is never written so.

use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Reader, SliceReader, Tag, Tagged};

use super::pbes2::{self, FreshPbes2, Pbes2, algorithm, read_algorithm};
use super::{Iterations, KeyError, PrivateKey};
use crate::asn1::{Backwards, context};
use crate::crypto::{POINT_LEN, Provider, SigningKey};
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::wire;

/// Most bytes of a private key file that is written.
pub const PKCS8_LEN_MAX: usize = 320;

/// Most bytes of one that is read: enough for an RSA key, so that it can be refused by name.
const IMPORT_LEN_MAX: usize = 2560;

/// Room for a PrivateKeyInfo that is written: 138 bytes and padding.
const PLAIN_LEN_MAX: usize = 160;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");

/// How PEM begins (RFC 7468 §2).
const PEM_START: &[u8] = b"-----BEGIN ";
/// How the PVK files of other systems begin.
const PVK_START: &[u8] = &[0x1e, 0xf1, 0xb5, 0xb0];

impl PrivateKey {
    /// Writes the key as EncryptedPrivateKeyInfo into `out` and returns its length.
    ///
    /// # Errors
    /// [`KeyError::Entropy`].
    pub fn to_encrypted_pkcs8<P: Provider>(
        &self,
        password: &[u8],
        iterations: Iterations,
        entropy: &mut dyn Entropy,
        out: &mut [u8; PKCS8_LEN_MAX],
    ) -> Result<usize, KeyError> {
        let scheme = FreshPbes2::draw(iterations, entropy)?;
        let mut buf = Secret::<PLAIN_LEN_MAX>::zero();
        let len = self.write_info::<P>(buf.expose_mut())?;
        let encrypted = scheme.encrypt(password, buf.expose_mut(), len)?;

        let mut file = Backwards::new(out);
        file.wrap::<der::Error>(Tag::Sequence, |file| {
            file.put(&OctetStringRef::new(encrypted)?)?;
            scheme.write(file)
        })?;
        Ok(file.finish())
    }

    /// Reads an EncryptedPrivateKeyInfo.
    ///
    /// # Errors
    /// [`KeyError::Pem`]; [`KeyError::Malformed`] for anything else that is not one; [`KeyError::UnknownScheme`] when it
    /// is protected in another way; [`KeyError::IterationCount`]; [`KeyError::Rejected`] for a wrong password or a
    /// damaged key; [`KeyError::BadKey`] when a key comes out that is not one of P-256.
    pub fn from_encrypted_pkcs8<P: Provider>(file: &[u8], password: &[u8]) -> Result<Self, KeyError> {
        let sealed = Sealed::read(file)?;
        let mut buf = Secret::<IMPORT_LEN_MAX>::zero();
        let len = wire::copy(buf.expose_mut(), sealed.encrypted).ok_or(KeyError::Malformed)?;
        let buf = buf.expose_mut().get_mut(..len).ok_or(KeyError::Malformed)?;
        let plain = sealed.scheme.decrypt(password, buf)?;
        Self::from_plain_pkcs8::<P>(plain).map_err(|error| match error {
            // By chance the padding of garbage is right in one case of 256.
            KeyError::Malformed | KeyError::Pem | KeyError::UnknownScheme | KeyError::Encrypted => {
                KeyError::Rejected
            }
            error => error,
        })
    }

    /// What a guess at the password of an EncryptedPrivateKeyInfo costs: to be asked before trying, where time matters.
    ///
    /// # Errors
    /// As [`PrivateKey::from_encrypted_pkcs8`], as far as they show without the password.
    pub fn encrypted_pkcs8_iterations(file: &[u8]) -> Result<Iterations, KeyError> {
        Sealed::read(file).map(|sealed| sealed.scheme.iterations())
    }

    /// Reads a PrivateKeyInfo that nothing protects (RFC 5958 §2, RFC 5915 §3).
    ///
    /// # Errors
    /// [`KeyError::Pem`], [`KeyError::Malformed`]; [`KeyError::Encrypted`] when it is encrypted after all;
    /// [`KeyError::BadKey`] for a key that is not one of P-256, or whose public point is another one's.
    pub fn from_plain_pkcs8<P: Provider>(file: &[u8]) -> Result<Self, KeyError> {
        refuse_other_formats(file)?;
        if is_encrypted(file) {
            return Err(KeyError::Encrypted);
        }
        let mut reader = SliceReader::new(file)?;
        let key = reader.sequence(|reader| {
            if reader.decode::<u8>()? != 0 {
                return Err(KeyError::Malformed);
            }
            let (oid, parameters) = read_algorithm(reader)?;
            let key: &OctetStringRef = reader.decode()?;
            // Attributes say nothing about the key.
            while !reader.is_finished() {
                reader.decode::<AnyRef<'_>>()?.tag().assert_eq(context(0, true))?;
            }
            let curve = parameters.and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            if oid != EC_PUBLIC_KEY || curve != Some(SECP256R1) {
                return Err(KeyError::BadKey);
            }
            read_ec_private_key::<P>(key.as_bytes(), false)
        })?;
        reader.finish()?;
        Ok(key)
    }

    /// Reads an ECPrivateKey that nothing protects (RFC 5915 §3): what older tools write. It has to name its curve.
    ///
    /// # Errors
    /// As [`PrivateKey::from_plain_pkcs8`].
    pub fn from_plain_sec1<P: Provider>(file: &[u8]) -> Result<Self, KeyError> {
        refuse_other_formats(file)?;
        read_ec_private_key::<P>(file, true)
    }

    /// Reads a private key that nothing protects in either form.
    ///
    /// # Errors
    /// As [`PrivateKey::from_plain_pkcs8`].
    pub fn from_plain<P: Provider>(file: &[u8]) -> Result<Self, KeyError> {
        match Self::from_plain_pkcs8::<P>(file) {
            Err(KeyError::Malformed) => Self::from_plain_sec1::<P>(file),
            read => read,
        }
    }

    /// Writes a PrivateKeyInfo with the public point, as OpenSSL does.
    fn write_info<P: Provider>(&self, out: &mut [u8]) -> Result<usize, KeyError> {
        let point = self.signing_key::<P>()?.public_point();
        let mut info = Backwards::new(out);
        info.wrap::<der::Error>(Tag::Sequence, |info| {
            info.wrap::<der::Error>(Tag::OctetString, |info| {
                info.wrap(Tag::Sequence, |info| {
                    info.wrap::<der::Error>(context(1, true), |info| {
                        info.put(&BitStringRef::from_bytes(&point)?)
                    })?;
                    info.put(&OctetStringRef::new(self.scalar().expose())?)?;
                    info.put(&1_u8)
                })
            })?;
            algorithm(info, EC_PUBLIC_KEY, |info| info.put(&SECP256R1))?;
            info.put(&0_u8)
        })?;
        Ok(info.finish())
    }
}

/// An EncryptedPrivateKeyInfo taken apart.
struct Sealed<'a> {
    scheme: Pbes2<'a>,
    encrypted: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn read(file: &'a [u8]) -> Result<Self, KeyError> {
        refuse_other_formats(file)?;
        if file.len() > IMPORT_LEN_MAX {
            return Err(KeyError::Malformed);
        }
        let mut reader = SliceReader::new(file)?;
        let sealed = reader.sequence(|reader| {
            let scheme = Pbes2::read(reader)?;
            let encrypted: &OctetStringRef = reader.decode()?;
            Ok::<_, KeyError>(Self {
                scheme,
                encrypted: encrypted.as_bytes(),
            })
        })?;
        reader.finish()?;
        pbes2::check_length(sealed.encrypted)?;
        Ok(sealed)
    }
}

/// ECPrivateKey; outside of a PrivateKeyInfo it `names_curve` itself.
fn read_ec_private_key<P: Provider>(bytes: &[u8], names_curve: bool) -> Result<PrivateKey, KeyError> {
    let mut reader = SliceReader::new(bytes)?;
    let (scalar, point) = reader.sequence(|reader| {
        if reader.decode::<u8>()? != 1 {
            return Err(KeyError::Malformed);
        }
        let scalar: &OctetStringRef = reader.decode()?;
        let mut point = None;
        let (mut first, mut last) = (None, None);
        while !reader.is_finished() {
            let any: AnyRef<'_> = reader.decode()?;
            let mut reader = SliceReader::new(any.value())?;
            let number = if any.tag() == context(0, true) {
                if reader.decode::<ObjectIdentifier>()? != SECP256R1 {
                    return Err(KeyError::BadKey);
                }
                0
            } else if any.tag() == context(1, true) {
                let bits: BitStringRef<'_> = reader.decode()?;
                point = Some(bits.as_bytes().ok_or(KeyError::Malformed)?);
                1
            } else {
                return Err(KeyError::Malformed);
            };
            reader.finish()?;
            if last.is_some_and(|last| number <= last) {
                return Err(KeyError::Malformed);
            }
            first = first.or(Some(number));
            last = Some(number);
        }
        if names_curve && first != Some(0) {
            return Err(KeyError::BadKey);
        }
        Ok((scalar.as_bytes(), point))
    })?;
    reader.finish()?;
    let mut secret = Secret::zero();
    *secret.expose_mut() = *<&[u8; 32]>::try_from(scalar).map_err(|_| KeyError::BadKey)?;
    let key = PrivateKey::from_scalar::<P>(secret)?;
    if let Some(point) = point {
        let point: &[u8; POINT_LEN] = point.try_into().map_err(|_| KeyError::BadKey)?;
        if !key.belongs_to::<P>(point) {
            return Err(KeyError::BadKey);
        }
    }
    Ok(key)
}

/// Whether this is an EncryptedPrivateKeyInfo of any scheme: an algorithm, and bytes under it.
fn is_encrypted(file: &[u8]) -> bool {
    let read = || {
        let mut reader = SliceReader::new(file)?;
        reader.sequence(|reader| {
            read_algorithm(reader)?;
            reader.decode::<&OctetStringRef>()?;
            Ok::<_, KeyError>(())
        })
    };
    read().is_ok()
}

fn refuse_other_formats(file: &[u8]) -> Result<(), KeyError> {
    if file.starts_with(PEM_START) {
        Err(KeyError::Pem)
    } else if file.starts_with(PVK_START) {
        Err(KeyError::UnknownScheme)
    } else {
        Ok(())
    }
}
