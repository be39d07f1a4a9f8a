//! Randomness from a stored seed, for a device without a generator of its own.
//!
//! The stored seed is used once: a start derives from it (with the device's key, the count of starts and whatever jitter the
//! board offers) the generator's key *and* the next seed, and the next seed is durable before the first byte is drawn. So
//! two starts never draw the same bytes, also when the power fails at any moment between; and whoever reads a memory later
//! learns nothing of what was drawn before. A device without a seed, or whose memory does not take the next one, draws
//! nothing at all: [`SeededEntropy`] fails closed, and with it every handshake.
//!
//! What it rests on: the provisioning host's own randomness, and a memory of which nobody brings back an old copy.

use core::marker::PhantomData;

use dbmirror_core::crypto::Hash;
use dbmirror_core::crypto::hmac::{Hkdf, Hmac};
use dbmirror_core::entropy::{Entropy, EntropyError};
use dbmirror_core::secret::Secret;
use embedded_storage_async::nor_flash::NorFlash;

use super::settings::{SettingsError, Start};
use super::{DeviceKey, NvmError, Store};

/// A generator that draws from a stored seed, or from nothing.
pub struct SeededEntropy<H> {
    /// The keys of the two kinds of draws; none when the device has no seed.
    keys: Option<[Secret<32>; 2]>,
    hash: PhantomData<H>,
}

impl<H: Hash> SeededEntropy<H> {
    /// A generator that gives nothing.
    #[must_use]
    pub const fn broken() -> Self {
        Self {
            keys: None,
            hash: PhantomData,
        }
    }

    /// Begins a start of the device: raises the count of starts, stores the next seed, and only then makes the generator.
    /// `jitter` is what the board has measured, of any quality. Returns the count of this start as well.
    ///
    /// # Errors
    /// [`SettingsError`]: there is no seed, or the next one could not be stored.
    pub fn start<F: NorFlash>(
        store: &mut Store<F>,
        device: &DeviceKey,
        jitter: &[u8],
    ) -> Result<(Self, u64), SettingsError> {
        let stored = Start::read::<H, F>(store)?;
        let count = stored.count.checked_add(1).ok_or(NvmError::WornOut)?;
        let own = device.derive::<H>(b"seed");
        let root = Hkdf::<H>::extract(own.expose(), stored.seed.expose());
        let expand = |purpose: &[u8]| {
            let mut key = Secret::zero();
            Hkdf::<H>::expand(&root, &[purpose, &count.to_le_bytes(), jitter], key.expose_mut())
                .map(|()| key)
                .map_err(|_| SettingsError::Nvm(NvmError::Failed))
        };
        let next = Start {
            count,
            seed: expand(b"dbmirror next seed 1")?,
        };
        next.write::<H, F>(store)?;
        let keys = [
            expand(b"dbmirror secret draws 1")?,
            expand(b"dbmirror public draws 1")?,
        ];
        let generator = Self {
            keys: Some(keys),
            hash: PhantomData,
        };
        Ok((generator, count))
    }

    /// Output blocks are HMAC(key, 1 ‖ index); afterwards the key is replaced by HMAC(key, 2).
    fn draw(&mut self, which: usize, out: &mut [u8]) -> Result<(), EntropyError> {
        let key = self
            .keys
            .as_mut()
            .and_then(|keys| keys.get_mut(which))
            .ok_or(EntropyError)?;
        for (index, block) in out.chunks_mut(32).enumerate() {
            let index = u32::try_from(index).map_err(|_| EntropyError)?;
            let bytes = Secret::new(Hmac::<H>::tag(key.expose(), &[&[1], &index.to_le_bytes()]));
            for (to, from) in block.iter_mut().zip(bytes.expose()) {
                *to = *from;
            }
        }
        *key.expose_mut() = Hmac::<H>::tag(key.expose(), &[&[2]]);
        Ok(())
    }
}

impl<H: Hash> Entropy for SeededEntropy<H> {
    fn fill_secret(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.draw(0, out)
    }

    fn fill_public(&mut self, out: &mut [u8]) -> Result<(), EntropyError> {
        self.draw(1, out)
    }
}
