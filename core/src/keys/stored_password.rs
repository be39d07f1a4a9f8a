//! The password of a database's master key, kept for the moment when this instance has to open that database.
//!
//! ```text
//! StoredPassword ::= SEQUENCE {
//!   version     INTEGER (1),
//!   kind        INTEGER { masterKeyPassword (4) },
//!   protection  serviceMasterKey [1] IMPLICIT NULL,
//!   wrapped     OCTET STRING (SIZE (32..544)) }  -- RFC 5649 over: kind (1 byte) ‖ family guid (16) ‖ password (1 to 512, UTF-8)
//! ```
//!
//! The family stands inside, so that a stored password cannot be handed to another database's master key by somebody who
//! can write the catalog.

use der::asn1::{AnyRef, OctetStringRef};
use der::{Reader, SliceReader, Tag, Tagged};
use heapless::Vec;

use super::{KeyError, ServiceMasterKey, kwp_unwrap, kwp_wrap};
use crate::asn1::{Backwards, context};
use crate::secret::Secret;
use crate::wire;

/// Most bytes of a password that can be kept.
pub const STORED_PASSWORD_MAX: usize = 512;
/// Most bytes of a kept password in DER.
pub const STORED_PASSWORD_LEN_MAX: usize = 560;

const VERSION: u8 = 1;
const KIND: u8 = 4;
/// The kind, the family.
const HEAD_LEN: usize = 17;
/// Head and password, rounded up to semiblocks.
const PADDED_MAX: usize = 536;
const CIPHER_MAX: usize = 544;

/// A password that was opened; wiped when it goes.
pub struct OpenedPassword {
    plain: Secret<PADDED_MAX>,
    len: usize,
}

impl OpenedPassword {
    /// Its bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.plain.expose().get(HEAD_LEN..self.len).unwrap_or_default()
    }
}

impl ServiceMasterKey {
    /// Wraps `password` for the databases of `family`.
    ///
    /// # Errors
    /// [`KeyError::NoRoom`] for a password of more than [`STORED_PASSWORD_MAX`] bytes, [`KeyError::Malformed`] for an
    /// empty one.
    pub fn wrap_stored_password(
        &self,
        password: &[u8],
        family: &[u8; 16],
    ) -> Result<Vec<u8, STORED_PASSWORD_LEN_MAX>, KeyError> {
        if password.is_empty() {
            return Err(KeyError::Malformed);
        }
        let mut plain = Secret::<PADDED_MAX>::zero();
        let [kind, rest @ ..] = plain.expose_mut();
        *kind = KIND;
        wire::copy(rest, family).ok_or(KeyError::NoRoom)?;
        let len = HEAD_LEN.saturating_add(password.len());
        let place = plain
            .expose_mut()
            .get_mut(HEAD_LEN..len)
            .ok_or(KeyError::NoRoom)?;
        wire::copy(place, password).ok_or(KeyError::NoRoom)?;
        if password.len() > STORED_PASSWORD_MAX {
            return Err(KeyError::NoRoom);
        }
        let mut wrapped = [0; CIPHER_MAX];
        let plain = plain.expose().get(..len).ok_or(KeyError::NoRoom)?;
        let wrapped_len = kwp_wrap(self.secret(), plain, &mut wrapped)?;
        let wrapped = wrapped.get(..wrapped_len).ok_or(KeyError::NoRoom)?;

        let mut buf = [0; STORED_PASSWORD_LEN_MAX];
        let mut out = Backwards::new(&mut buf);
        out.wrap::<der::Error>(Tag::Sequence, |out| {
            out.put(&OctetStringRef::new(wrapped)?)?;
            out.put(&AnyRef::new(context(1, false), &[])?)?;
            out.put(&KIND)?;
            out.put(&VERSION)
        })?;
        Vec::from_slice(out.written()).map_err(|_| KeyError::NoRoom)
    }

    /// Opens what [`ServiceMasterKey::wrap_stored_password`] made for the same family.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], [`KeyError::UnknownVersion`]; [`KeyError::Rejected`] when it was wrapped by another key,
    /// for another family, or changed.
    pub fn unwrap_stored_password(&self, der: &[u8], family: &[u8; 16]) -> Result<OpenedPassword, KeyError> {
        if der.len() > STORED_PASSWORD_LEN_MAX {
            return Err(KeyError::Malformed);
        }
        let mut reader = SliceReader::new(der)?;
        let wrapped = reader.sequence(|reader| {
            if reader.decode::<u8>()? != VERSION {
                return Err(KeyError::UnknownVersion);
            }
            if reader.decode::<u8>()? != KIND {
                return Err(KeyError::Malformed);
            }
            let protection: AnyRef<'_> = reader.decode()?;
            if protection.tag() != context(1, false) || !protection.value().is_empty() {
                return Err(KeyError::Malformed);
            }
            let wrapped: &OctetStringRef = reader.decode()?;
            Ok(wrapped.as_bytes())
        })?;
        reader.finish()?;
        let mut plain = Secret::<PADDED_MAX>::zero();
        let len = kwp_unwrap(self.secret(), wrapped, plain.expose_mut()).map_err(|error| match error {
            KeyError::NoRoom => KeyError::Malformed,
            other => other,
        })?;
        match plain.expose().get(..len) {
            Some([kind, rest @ ..]) if *kind == KIND && rest.len() > 16 && rest.starts_with(family) => {}
            _ => return Err(KeyError::Rejected),
        }
        Ok(OpenedPassword { plain, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILY: [u8; 16] = [5; 16];

    fn key(seed: u8) -> ServiceMasterKey {
        ServiceMasterKey::from_secret(Secret::new([seed; 32]))
    }

    #[test]
    fn there_and_back_at_every_length() {
        for len in [1, 7, 8, 15, 64, STORED_PASSWORD_MAX] {
            let password = std::vec![b'x'; len];
            let der = key(1).wrap_stored_password(&password, &FAMILY).unwrap();
            assert!(der.len() <= STORED_PASSWORD_LEN_MAX);
            let opened = key(1).unwrap_stored_password(&der, &FAMILY).unwrap();
            assert_eq!(opened.expose(), password);
            for (above, family) in [(2, FAMILY), (1, [6; 16])] {
                assert_eq!(
                    key(above).unwrap_stored_password(&der, &family).err(),
                    Some(KeyError::Rejected)
                );
            }
        }
        assert_eq!(
            key(1).wrap_stored_password(&[], &FAMILY),
            Err(KeyError::Malformed)
        );
        assert_eq!(
            key(1).wrap_stored_password(&[1; STORED_PASSWORD_MAX + 1], &FAMILY),
            Err(KeyError::NoRoom)
        );
    }

    #[test]
    fn every_bit_and_every_length_counts() {
        let der = key(1).wrap_stored_password(b"secret", &FAMILY).unwrap();
        for len in 0..der.len() {
            assert!(key(1).unwrap_stored_password(&der[..len], &FAMILY).is_err());
        }
        for bit in 0..der.len() * 8 {
            let mut changed = der.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(key(1).unwrap_stored_password(&changed, &FAMILY).is_err(), "{bit}");
        }
    }

    /// A stored password and a wrapped key are never taken for each other.
    #[test]
    fn it_is_no_wrapped_key() {
        let der = key(1).wrap_stored_password(&[b'x'; 15], &FAMILY).unwrap();
        assert!(super::super::WrappedKey::from_der(&der).is_err());
    }
}
