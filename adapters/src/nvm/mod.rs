//! A device's non-volatile memory: what it is, whom it knows, what it has promised (`docs/nvm.md`).
//!
//! [`Store`] keeps small values under keys in a flash or EEPROM so that a power cut at any write leaves every value as it was
//! or as it was to be, and so that damage is *found*, never taken for an older state. [`settings`] says what is kept, byte by
//! byte, and [`succession`] what is kept while certificates are replaced; [`seed`] makes randomness out of a stored seed. The server's tool writes the same bytes that the device reads.

pub mod floor;
pub mod seed;
pub mod settings;
mod store;
pub mod succession;

pub use store::{Key, Kind, NvmError, Store, VALUE_LEN_MAX};

use dbmirror_core::crypto::hmac::Hkdf;
use dbmirror_core::crypto::{HASH_LEN, Hash};
use dbmirror_core::keys::{KeyError, SERVICE_KEY_FILE_LEN, ServiceMasterKey};
use dbmirror_core::secret::Secret;

/// Bytes of the memory that this layout is made for.
pub const NVM_LEN: u32 = 64 * 1024;
/// Bytes that are erased together.
pub const ERASE_LEN: u32 = 4 * 1024;
/// Pages of it.
const PAGES: usize = 16;

/// The key that is the device's own and does not lie in its memory: burnt into the part, held by a secure element, or given
/// beside the image. Without it the memory tells nothing and proves nothing.
pub struct DeviceKey {
    file: Secret<SERVICE_KEY_FILE_LEN>,
}

impl DeviceKey {
    /// Reads the form of a service master key's file (`docs/keys.md`).
    ///
    /// # Errors
    /// [`KeyError`] when it is none, or damaged.
    pub fn from_file<H: Hash>(bytes: &[u8]) -> Result<Self, KeyError> {
        ServiceMasterKey::from_file::<H>(bytes)?;
        let mut file = Secret::zero();
        *file.expose_mut() =
            *<&[u8; SERVICE_KEY_FILE_LEN]>::try_from(bytes).map_err(|_| KeyError::Malformed)?;
        Ok(Self { file })
    }

    /// What the device's keys are wrapped by.
    ///
    /// # Errors
    /// None in practice: it was read once.
    pub fn service_master_key<H: Hash>(&self) -> Result<ServiceMasterKey, KeyError> {
        ServiceMasterKey::from_file::<H>(self.file.expose())
    }

    /// A key for one purpose.
    fn derive<H: Hash>(&self, purpose: &[u8]) -> Secret<HASH_LEN> {
        let root = Hkdf::<H>::extract(b"dbmirror device 1", self.file.expose());
        let mut key = Secret::zero();
        // 32 bytes are always to be had.
        let _ = Hkdf::<H>::expand(&root, &[purpose], key.expose_mut());
        key
    }
}

#[cfg(all(test, feature = "std"))]
mod tests;
