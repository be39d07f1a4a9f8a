//! Private keys on their way out and in: PKCS #8 EncryptedPrivateKeyInfo (RFC 5958 §3) under PBES2 (RFC 8018 §6.2),
//! which OpenSSL reads and writes.
//!
//! Written: PBKDF2-HMAC-SHA256 and AES-256-CBC. Read: the same, AES-128-CBC too. CBC authenticates nothing, so what
//! comes out is judged as strictly as what comes in: padding, DER, the range of the scalar, the public point beside it.
//! The file serves transport; at rest a key is a [`super::WrappedKey`].

use aes::{Aes128, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use der::{Reader, SliceReader, Tag, Tagged};

use super::password::derive_into;
use super::{Iterations, KeyError, PrivateKey, SALT_LEN};
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
const IV_LEN: usize = 16;
const BLOCK_LEN: usize = 16;
const FOREIGN_SALT_LEN_MAX: usize = 64;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const HMAC_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const AES128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");
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
        let mut salt = [0; SALT_LEN];
        entropy.fill_public(&mut salt)?;
        let mut iv = [0; IV_LEN];
        entropy.fill_public(&mut iv)?;
        let mut kek = Secret::<32>::zero();
        derive_into(password, &salt, iterations, kek.expose_mut());

        let mut buf = Secret::<PLAIN_LEN_MAX>::zero();
        let len = self.write_info::<P>(buf.expose_mut())?;
        let cipher = cbc::Encryptor::<Aes256>::new(kek.expose().into(), &iv.into());
        let encrypted = cipher
            .encrypt_padded::<Pkcs7>(buf.expose_mut(), len)
            .map_err(|_| KeyError::NoRoom)?;

        let mut file = Backwards::new(out);
        file.wrap::<der::Error>(Tag::Sequence, |file| {
            file.put(&OctetStringRef::new(encrypted)?)?;
            algorithm(file, PBES2, |file| {
                file.wrap(Tag::Sequence, |file| {
                    algorithm(file, AES256_CBC, |file| file.put(&OctetStringRef::new(&iv)?))?;
                    algorithm(file, PBKDF2, |file| {
                        file.wrap(Tag::Sequence, |file| {
                            algorithm(file, HMAC_WITH_SHA256, |file| file.put(&AnyRef::NULL))?;
                            file.put(&iterations.get())?;
                            file.put(&OctetStringRef::new(&salt)?)
                        })
                    })
                })
            })
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
        let mut kek = Secret::<32>::zero();
        let plain = match sealed.cipher {
            Cipher::Aes128Cbc => {
                let (kek, _) = kek
                    .expose_mut()
                    .split_first_chunk_mut::<16>()
                    .ok_or(KeyError::NoRoom)?;
                derive_into(password, sealed.salt, sealed.iterations, kek);
                cbc::Decryptor::<Aes128>::new((&*kek).into(), sealed.iv.into()).decrypt_padded::<Pkcs7>(buf)
            }
            Cipher::Aes256Cbc => {
                derive_into(password, sealed.salt, sealed.iterations, kek.expose_mut());
                cbc::Decryptor::<Aes256>::new(kek.expose().into(), sealed.iv.into())
                    .decrypt_padded::<Pkcs7>(buf)
            }
        }
        .map_err(|_| KeyError::Rejected)?;
        Self::from_plain_pkcs8::<P>(plain).map_err(|error| match error {
            // By chance the padding of garbage is right in one case of 256.
            KeyError::Malformed | KeyError::Pem | KeyError::UnknownScheme => KeyError::Rejected,
            error => error,
        })
    }

    /// What a guess at the password of an EncryptedPrivateKeyInfo costs: to be asked before trying, where time matters.
    ///
    /// # Errors
    /// As [`PrivateKey::from_encrypted_pkcs8`], as far as they show without the password.
    pub fn encrypted_pkcs8_iterations(file: &[u8]) -> Result<Iterations, KeyError> {
        Sealed::read(file).map(|sealed| sealed.iterations)
    }

    /// Reads a PrivateKeyInfo that nothing protects (RFC 5958 §2, RFC 5915 §3).
    ///
    /// # Errors
    /// [`KeyError::Pem`], [`KeyError::Malformed`]; [`KeyError::UnknownScheme`] when it is encrypted after all;
    /// [`KeyError::BadKey`] for a key that is not one of P-256, or whose public point is another one's.
    pub fn from_plain_pkcs8<P: Provider>(file: &[u8]) -> Result<Self, KeyError> {
        refuse_other_formats(file)?;
        if Sealed::read(file).is_ok() {
            return Err(KeyError::UnknownScheme);
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
            read_ec_private_key::<P>(key.as_bytes())
        })?;
        reader.finish()?;
        Ok(key)
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

enum Cipher {
    Aes128Cbc,
    Aes256Cbc,
}

/// An EncryptedPrivateKeyInfo taken apart.
struct Sealed<'a> {
    salt: &'a [u8],
    iterations: Iterations,
    cipher: Cipher,
    iv: &'a [u8; IV_LEN],
    encrypted: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn read(file: &'a [u8]) -> Result<Self, KeyError> {
        refuse_other_formats(file)?;
        if file.len() > IMPORT_LEN_MAX {
            return Err(KeyError::Malformed);
        }
        let mut reader = SliceReader::new(file)?;
        let (scheme, parameters, encrypted) = reader.sequence(|reader| {
            let (scheme, parameters) = read_algorithm(reader)?;
            let encrypted: &OctetStringRef = reader.decode()?;
            Ok::<_, KeyError>((scheme, parameters, encrypted.as_bytes()))
        })?;
        reader.finish()?;
        if scheme != PBES2 {
            return Err(KeyError::UnknownScheme);
        }
        let parameters = parameters.ok_or(KeyError::Malformed)?;
        let (kdf, encryption) = parameters
            .sequence(|reader| Ok::<_, KeyError>((read_algorithm(reader)?, read_algorithm(reader)?)))?;
        let cipher = match encryption.0 {
            AES128_CBC => Cipher::Aes128Cbc,
            AES256_CBC => Cipher::Aes256Cbc,
            _ => return Err(KeyError::UnknownScheme),
        };
        let iv = encryption.1.ok_or(KeyError::Malformed)?;
        let iv: &OctetStringRef = iv.decode_as()?;
        let iv = iv.as_bytes().try_into().map_err(|_| KeyError::Malformed)?;
        if kdf.0 != PBKDF2 {
            return Err(KeyError::UnknownScheme);
        }
        let (salt, iterations) = kdf
            .1
            .ok_or(KeyError::Malformed)?
            .sequence(|reader| read_pbkdf2(reader, &cipher))?;
        if encrypted.is_empty() || !encrypted.len().is_multiple_of(BLOCK_LEN) {
            return Err(KeyError::Malformed);
        }
        Ok(Self {
            salt,
            iterations,
            cipher,
            iv,
            encrypted,
        })
    }
}

/// PBKDF2-params (RFC 8018 appendix A.2).
fn read_pbkdf2<'a>(
    reader: &mut SliceReader<'a>,
    cipher: &Cipher,
) -> Result<(&'a [u8], Iterations), KeyError> {
    let salt: AnyRef<'a> = reader.decode()?;
    // A salt from elsewhere, which nobody uses.
    if salt.tag() != Tag::OctetString {
        return Err(KeyError::UnknownScheme);
    }
    if salt.value().is_empty() || salt.value().len() > FOREIGN_SALT_LEN_MAX {
        return Err(KeyError::Malformed);
    }
    let iterations = Iterations::new(reader.decode::<u32>()?)?;
    if !reader.is_finished() && Tag::peek(reader)? == Tag::Integer {
        let expected = match cipher {
            Cipher::Aes128Cbc => 16,
            Cipher::Aes256Cbc => 32,
        };
        if reader.decode::<u8>()? != expected {
            return Err(KeyError::Malformed);
        }
    }
    // The default is SHA-1, so it has to be there.
    if reader.is_finished() {
        return Err(KeyError::UnknownScheme);
    }
    let (prf, parameters) = read_algorithm(reader)?;
    if prf != HMAC_WITH_SHA256 || !parameters.is_none_or(AnyRef::is_null) {
        return Err(KeyError::UnknownScheme);
    }
    Ok((salt.value(), iterations))
}

fn read_ec_private_key<P: Provider>(bytes: &[u8]) -> Result<PrivateKey, KeyError> {
    let mut reader = SliceReader::new(bytes)?;
    let (scalar, point) = reader.sequence(|reader| {
        if reader.decode::<u8>()? != 1 {
            return Err(KeyError::Malformed);
        }
        let scalar: &OctetStringRef = reader.decode()?;
        let mut point = None;
        let mut last = None;
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
            last = Some(number);
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

fn refuse_other_formats(file: &[u8]) -> Result<(), KeyError> {
    if file.starts_with(PEM_START) {
        Err(KeyError::Pem)
    } else if file.starts_with(PVK_START) {
        Err(KeyError::UnknownScheme)
    } else {
        Ok(())
    }
}

fn read_algorithm<'a>(
    reader: &mut SliceReader<'a>,
) -> Result<(ObjectIdentifier, Option<AnyRef<'a>>), KeyError> {
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

fn algorithm(
    out: &mut Backwards<'_>,
    oid: ObjectIdentifier,
    parameters: impl FnOnce(&mut Backwards<'_>) -> der::Result<()>,
) -> der::Result<()> {
    out.wrap(Tag::Sequence, |out| {
        parameters(out)?;
        out.put(&oid)
    })
}
