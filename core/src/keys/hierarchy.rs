//! The three kinds of key, each a type of its own, and who may wrap whom.

use super::{Iterations, KeyError, KeyKind, Protection, WrappedKey};
use crate::crypto::{Hash, POINT_LEN, Provider, SigningKey};
use crate::entropy::Entropy;
use crate::secret::Secret;

/// Length of a service master key's file in bytes.
pub const SERVICE_KEY_FILE_LEN: usize = 48;

const FILE_MAGIC: [u8; 8] = *b"DBMSMK\0\x01";
/// Tells the guid apart from every other hash of the key.
const GUID_LABEL: &[u8] = b"dbmirror service master key guid 1";
const CHECK_LABEL: &[u8] = b"dbmirror service master key check 1";
/// How often a scalar is drawn before the source counts as broken. One draw fails with a chance of 2^-32.
const SCALAR_TRIES: usize = 4;

/// The instance's own key: AES-256, above every other.
pub struct ServiceMasterKey(Secret<32>);

impl ServiceMasterKey {
    /// Draws a key.
    ///
    /// # Errors
    /// [`KeyError::Entropy`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, KeyError> {
        draw(entropy).map(Self)
    }

    /// Takes over a key, as a device's root key may give it.
    #[must_use]
    pub const fn from_secret(key: Secret<32>) -> Self {
        Self(key)
    }

    /// The file's content, to be kept where only the instance may read it: the key itself stands in it.
    #[must_use]
    pub fn to_file<H: Hash>(&self) -> Secret<SERVICE_KEY_FILE_LEN> {
        let mut file = Secret::zero();
        let check = self.check::<H>();
        let parts = FILE_MAGIC.iter().chain(self.0.expose()).chain(&check);
        for (to, from) in file.expose_mut().iter_mut().zip(parts) {
            *to = *from;
        }
        file
    }

    /// Reads what [`ServiceMasterKey::to_file`] wrote. A damaged file is found here, and not by keys that will not open.
    ///
    /// # Errors
    /// [`KeyError::Malformed`] for another length or beginning, [`KeyError::Rejected`] when the check does not fit.
    pub fn from_file<H: Hash>(bytes: &[u8]) -> Result<Self, KeyError> {
        let rest = bytes.strip_prefix(&FILE_MAGIC).ok_or(KeyError::Malformed)?;
        let (bytes, check) = rest.split_first_chunk::<32>().ok_or(KeyError::Malformed)?;
        let check: &[u8; 8] = check.try_into().map_err(|_| KeyError::Malformed)?;
        let mut key = Self(Secret::zero());
        *key.0.expose_mut() = *bytes;
        if key.check::<H>() == *check {
            Ok(key)
        } else {
            Err(KeyError::Rejected)
        }
    }

    /// Wraps the key by a password, for a backup file.
    ///
    /// # Errors
    /// [`KeyError::Entropy`].
    pub fn wrap_by_password(
        &self,
        password: &[u8],
        iterations: Iterations,
        entropy: &mut dyn Entropy,
    ) -> Result<WrappedKey, KeyError> {
        WrappedKey::seal_by_password(KeyKind::ServiceMasterKey, &self.0, password, iterations, entropy)
    }

    /// Opens a key that a password protects.
    ///
    /// # Errors
    /// [`KeyError::WrongKind`], [`KeyError::WrongProtection`], [`KeyError::Rejected`].
    pub fn unwrap_by_password(wrapped: &WrappedKey, password: &[u8]) -> Result<Self, KeyError> {
        wrapped
            .open_by_password(KeyKind::ServiceMasterKey, password)
            .map(Self)
    }

    /// Which key this is, for people and for the catalog: the first 16 bytes of a hash of it.
    #[must_use]
    pub fn guid<H: Hash>(&self) -> [u8; 16] {
        let mut state = H::new();
        state.update(GUID_LABEL);
        state.update(self.0.expose());
        let hash = state.finish();
        hash.first_chunk().copied().unwrap_or_default()
    }

    /// The key itself, for what is wrapped by it.
    pub(super) const fn secret(&self) -> &Secret<32> {
        &self.0
    }

    /// Tells a damaged file from a good one. It gives nothing away: the input has 256 bits that nobody can guess.
    fn check<H: Hash>(&self) -> [u8; 8] {
        let mut state = H::new();
        state.update(CHECK_LABEL);
        state.update(self.0.expose());
        let [a, b, c, d, e, f, g, h, ..] = state.finish();
        [a, b, c, d, e, f, g, h]
    }
}

/// A database's master key: AES-256, above the private keys of its certificates.
pub struct DatabaseMasterKey(Secret<32>);

impl DatabaseMasterKey {
    /// Draws a key.
    ///
    /// # Errors
    /// [`KeyError::Entropy`].
    pub fn generate(entropy: &mut dyn Entropy) -> Result<Self, KeyError> {
        draw(entropy).map(Self)
    }

    /// Wraps the key by a password.
    ///
    /// # Errors
    /// [`KeyError::Entropy`].
    pub fn wrap_by_password(
        &self,
        password: &[u8],
        iterations: Iterations,
        entropy: &mut dyn Entropy,
    ) -> Result<WrappedKey, KeyError> {
        WrappedKey::seal_by_password(KeyKind::DatabaseMasterKey, &self.0, password, iterations, entropy)
    }

    /// Opens a key that a password protects.
    ///
    /// # Errors
    /// [`KeyError::WrongKind`], [`KeyError::WrongProtection`], [`KeyError::Rejected`].
    pub fn unwrap_by_password(wrapped: &WrappedKey, password: &[u8]) -> Result<Self, KeyError> {
        wrapped
            .open_by_password(KeyKind::DatabaseMasterKey, password)
            .map(Self)
    }

    /// Wraps the key by the service master key, so that the instance opens it by itself.
    ///
    /// # Errors
    /// None in practice: every key of this type fits.
    pub fn wrap_by_service_master_key(&self, above: &ServiceMasterKey) -> Result<WrappedKey, KeyError> {
        WrappedKey::seal_by_key(
            KeyKind::DatabaseMasterKey,
            &self.0,
            &above.0,
            Protection::ServiceMasterKey,
        )
    }

    /// Opens a key that the service master key protects.
    ///
    /// # Errors
    /// [`KeyError::WrongKind`], [`KeyError::WrongProtection`], [`KeyError::Rejected`].
    pub fn unwrap_by_service_master_key(
        wrapped: &WrappedKey,
        above: &ServiceMasterKey,
    ) -> Result<Self, KeyError> {
        wrapped
            .open_by_key(KeyKind::DatabaseMasterKey, &above.0, Protection::ServiceMasterKey)
            .map(Self)
    }

    /// Whether both are the same key, in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0)
    }
}

/// The private key of a certificate: a scalar of P-256, big-endian.
pub struct PrivateKey(Secret<32>);

impl PrivateKey {
    /// Draws a key.
    ///
    /// # Errors
    /// [`KeyError::Entropy`], also when the source repeats values that are no scalars.
    pub fn generate<P: Provider>(entropy: &mut dyn Entropy) -> Result<Self, KeyError> {
        for _ in 0..SCALAR_TRIES {
            let scalar = draw(entropy)?;
            if P::SigningKey::from_scalar(&scalar).is_ok() {
                return Ok(Self(scalar));
            }
        }
        Err(KeyError::Entropy)
    }

    /// Takes over a scalar.
    ///
    /// # Errors
    /// [`KeyError::BadKey`] for zero, or a value not below the order of the group.
    pub fn from_scalar<P: Provider>(scalar: Secret<32>) -> Result<Self, KeyError> {
        P::SigningKey::from_scalar(&scalar)?;
        Ok(Self(scalar))
    }

    /// The scalar.
    #[must_use]
    pub const fn scalar(&self) -> &Secret<32> {
        &self.0
    }

    /// What the channel signs with.
    ///
    /// # Errors
    /// [`KeyError::BadKey`]; not in practice, since a value of this type was checked.
    pub fn signing_key<P: Provider>(&self) -> Result<P::SigningKey, KeyError> {
        Ok(P::SigningKey::from_scalar(&self.0)?)
    }

    /// Whether this is the key of a certificate with public `point`.
    #[must_use]
    pub fn belongs_to<P: Provider>(&self, point: &[u8; POINT_LEN]) -> bool {
        P::SigningKey::from_scalar(&self.0).is_ok_and(|key| key.public_point() == *point)
    }

    /// Wraps the key by the master key of its database.
    ///
    /// # Errors
    /// None in practice: every key of this type fits.
    pub fn wrap_by_database_master_key(&self, above: &DatabaseMasterKey) -> Result<WrappedKey, KeyError> {
        WrappedKey::seal_by_key(
            KeyKind::PrivateKey,
            &self.0,
            &above.0,
            Protection::DatabaseMasterKey,
        )
    }

    /// Opens a key that a database master key protects.
    ///
    /// # Errors
    /// [`KeyError::WrongKind`], [`KeyError::WrongProtection`], [`KeyError::Rejected`], [`KeyError::BadKey`].
    pub fn unwrap_by_database_master_key<P: Provider>(
        wrapped: &WrappedKey,
        above: &DatabaseMasterKey,
    ) -> Result<Self, KeyError> {
        let scalar = wrapped.open_by_key(KeyKind::PrivateKey, &above.0, Protection::DatabaseMasterKey)?;
        Self::from_scalar::<P>(scalar)
    }

    /// Wraps the key by a password. An endpoint cannot use it then: nobody is there to type it.
    ///
    /// # Errors
    /// [`KeyError::Entropy`].
    pub fn wrap_by_password(
        &self,
        password: &[u8],
        iterations: Iterations,
        entropy: &mut dyn Entropy,
    ) -> Result<WrappedKey, KeyError> {
        WrappedKey::seal_by_password(KeyKind::PrivateKey, &self.0, password, iterations, entropy)
    }

    /// Opens a key that a password protects.
    ///
    /// # Errors
    /// [`KeyError::WrongKind`], [`KeyError::WrongProtection`], [`KeyError::Rejected`], [`KeyError::BadKey`].
    pub fn unwrap_by_password<P: Provider>(wrapped: &WrappedKey, password: &[u8]) -> Result<Self, KeyError> {
        Self::from_scalar::<P>(wrapped.open_by_password(KeyKind::PrivateKey, password)?)
    }
}

fn draw(entropy: &mut dyn Entropy) -> Result<Secret<32>, KeyError> {
    let mut key = Secret::zero();
    entropy.fill_secret(key.expose_mut())?;
    // A source that answers without filling has given no key.
    if key.ct_eq(&Secret::zero()) {
        Err(KeyError::Entropy)
    } else {
        Ok(key)
    }
}
