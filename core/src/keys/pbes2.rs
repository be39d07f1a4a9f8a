//! Encryption by a password as files have it: PBES2 (RFC 8018 §6.2), in PKCS #8 and in PKCS #12.
//!
//! Written: PBKDF2-HMAC-SHA256 and AES-256-CBC. Read: the same, AES-128-CBC too. The older schemes (PBES1, the ones of
//! PKCS #12, Triple DES, RC2, SHA-1) and scrypt are refused.

use aes::{Aes128, Aes256};
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use der::{Reader, SliceReader, Tag, Tagged};

use super::password::derive_into;
use super::{Iterations, KeyError, SALT_LEN};
use crate::asn1::Backwards;
use crate::entropy::Entropy;
use crate::secret::Secret;

const IV_LEN: usize = 16;
const BLOCK_LEN: usize = 16;
const FOREIGN_SALT_LEN_MAX: usize = 64;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const HMAC_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const AES128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

enum Cipher {
    Aes128Cbc,
    Aes256Cbc,
}

impl Cipher {
    const fn key_len(&self) -> u8 {
        match self {
            Self::Aes128Cbc => 16,
            Self::Aes256Cbc => 32,
        }
    }
}

/// A scheme as it was read, with its parameters.
pub(crate) struct Pbes2<'a> {
    salt: &'a [u8],
    iterations: Iterations,
    cipher: Cipher,
    iv: &'a [u8; IV_LEN],
}

impl<'a> Pbes2<'a> {
    /// Reads an AlgorithmIdentifier.
    pub(crate) fn read(reader: &mut SliceReader<'a>) -> Result<Self, KeyError> {
        let (scheme, parameters) = read_algorithm(reader)?;
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
        Ok(Self {
            salt,
            iterations,
            cipher,
            iv,
        })
    }

    /// What a guess costs.
    pub(crate) const fn iterations(&self) -> Iterations {
        self.iterations
    }

    /// Decrypts `buf` in place and returns what was inside the padding.
    ///
    /// # Errors
    /// [`KeyError::Rejected`]: a wrong password or changed bytes, in 255 of 256 cases. The rest comes out as garbage.
    pub(crate) fn decrypt<'b>(&self, password: &[u8], buf: &'b mut [u8]) -> Result<&'b [u8], KeyError> {
        check_length(buf)?;
        let mut kek = Secret::<32>::zero();
        match self.cipher {
            Cipher::Aes128Cbc => {
                let (kek, _) = kek
                    .expose_mut()
                    .split_first_chunk_mut::<16>()
                    .ok_or(KeyError::NoRoom)?;
                derive_into(password, self.salt, self.iterations, kek);
                cbc::Decryptor::<Aes128>::new((&*kek).into(), self.iv.into()).decrypt_padded::<Pkcs7>(buf)
            }
            Cipher::Aes256Cbc => {
                derive_into(password, self.salt, self.iterations, kek.expose_mut());
                cbc::Decryptor::<Aes256>::new(kek.expose().into(), self.iv.into())
                    .decrypt_padded::<Pkcs7>(buf)
            }
        }
        .map_err(|_| KeyError::Rejected)
    }
}

/// Ciphertext of CBC is whole blocks, at least one.
pub(crate) const fn check_length(encrypted: &[u8]) -> Result<(), KeyError> {
    if encrypted.is_empty() || !encrypted.len().is_multiple_of(BLOCK_LEN) {
        Err(KeyError::Malformed)
    } else {
        Ok(())
    }
}

/// The scheme that is written, with fresh parameters.
pub(crate) struct FreshPbes2 {
    salt: [u8; SALT_LEN],
    iterations: Iterations,
    iv: [u8; IV_LEN],
}

impl FreshPbes2 {
    /// Draws salt and initialisation vector.
    pub(crate) fn draw(iterations: Iterations, entropy: &mut dyn Entropy) -> Result<Self, KeyError> {
        let mut fresh = Self {
            salt: [0; SALT_LEN],
            iterations,
            iv: [0; IV_LEN],
        };
        entropy.fill_public(&mut fresh.salt)?;
        entropy.fill_public(&mut fresh.iv)?;
        Ok(fresh)
    }

    /// Encrypts the first `len` bytes of `buf`, which has room for the padding.
    pub(crate) fn encrypt<'b>(
        &self,
        password: &[u8],
        buf: &'b mut [u8],
        len: usize,
    ) -> Result<&'b [u8], KeyError> {
        let mut kek = Secret::<32>::zero();
        derive_into(password, &self.salt, self.iterations, kek.expose_mut());
        cbc::Encryptor::<Aes256>::new(kek.expose().into(), &self.iv.into())
            .encrypt_padded::<Pkcs7>(buf, len)
            .map_err(|_| KeyError::NoRoom)
    }

    /// Writes the AlgorithmIdentifier.
    pub(crate) fn write(&self, out: &mut Backwards<'_>) -> der::Result<()> {
        algorithm(out, PBES2, |out| {
            out.wrap(Tag::Sequence, |out| {
                algorithm(out, AES256_CBC, |out| out.put(&OctetStringRef::new(&self.iv)?))?;
                algorithm(out, PBKDF2, |out| {
                    out.wrap(Tag::Sequence, |out| {
                        algorithm(out, HMAC_WITH_SHA256, |out| out.put(&AnyRef::NULL))?;
                        out.put(&self.iterations.get())?;
                        out.put(&OctetStringRef::new(&self.salt)?)
                    })
                })
            })
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
    if !reader.is_finished()
        && Tag::peek(reader)? == Tag::Integer
        && reader.decode::<u8>()? != cipher.key_len()
    {
        return Err(KeyError::Malformed);
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

/// AlgorithmIdentifier (RFC 5280 §4.1.1.2).
pub(crate) fn read_algorithm<'a>(
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

/// Writes an AlgorithmIdentifier.
pub(crate) fn algorithm(
    out: &mut Backwards<'_>,
    oid: ObjectIdentifier,
    parameters: impl FnOnce(&mut Backwards<'_>) -> der::Result<()>,
) -> der::Result<()> {
    out.wrap(Tag::Sequence, |out| {
        parameters(out)?;
        out.put(&oid)
    })
}
