//! What a device keeps while certificates are replaced over connections (`docs/nvm.md`, `docs/appliance.md`).

use dbmirror_core::cert::Pin;
use dbmirror_core::crypto::{HASH_LEN, Hash};
use dbmirror_core::endpoint::SUCCESSOR_LEN_MAX;
use dbmirror_core::keys::WRAPPED_KEY_LEN_MAX;
use embedded_storage_async::nor_flash::NorFlash;

use super::settings::{Der, SettingsError, put_pin, read, take_pin, write};
use super::{Key, Kind, Store};

/// Most certificates that peers have handed over, together.
pub const HANDED_OVER_MAX: u8 = 4;

/// A certificate that a peer has handed over: one more pin of a login that was provisioned. Whether that login may connect, and where it is,
/// stands in what was provisioned for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOver {
    /// The device's number for the certificate.
    pub certificate_id: u32,
    /// The login that brought it, and whose it is.
    pub login_id: u32,
    /// Whether the peer has come with it.
    pub used: bool,
    /// What the peer must show.
    pub pin: Pin,
}

impl HandedOver {
    const fn key(number: u8) -> Key {
        Key::numbered(Kind::HandedOver, number)
    }

    /// Reads the one under that number, from 0; `None` when there is none.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read<H: Hash, F: NorFlash>(
        store: &mut Store<F>,
        number: u8,
    ) -> Result<Option<Self>, SettingsError> {
        read::<H, F, _>(store, Self::key(number), |from| {
            let malformed = from.malformed();
            Ok(Self {
                certificate_id: from.u32_le()?,
                login_id: from.u32_le()?,
                used: match from.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(malformed),
                },
                pin: take_pin(from)?,
            })
        })
    }

    /// Stores it under that number.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn write<H: Hash, F: NorFlash>(&self, store: &mut Store<F>, number: u8) -> Result<(), SettingsError> {
        write::<H, F>(store, Self::key(number), |to| {
            to.u32_le(self.certificate_id)?;
            to.u32_le(self.login_id)?;
            to.u8(self.used.into())?;
            put_pin(to, &self.pin)
        })
    }

    /// Takes the one under that number away.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn remove<H: Hash, F: NorFlash>(store: &mut Store<F>, number: u8) -> Result<(), SettingsError> {
        Ok(store.remove::<H>(Self::key(number))?)
    }
}

/// How far the rotation of the device's own certificate has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SuccessionStep {
    /// The successor is being handed out; the device proves itself by its predecessor.
    Distributing,
    /// The device proves itself by the successor.
    Switched,
}

/// The rotation of the device's own certificate that is under way.
#[derive(Clone, PartialEq, Eq)]
pub struct OwnSuccession {
    /// How far it has got.
    pub step: SuccessionStep,
    /// The successor's number: the predecessor's and one more.
    pub certificate_id: u32,
    /// SHA-256 of the predecessor, which is given up at the end.
    pub predecessor: [u8; HASH_LEN],
    /// The successor's private key, wrapped by the database master key of the identity.
    pub private_key: Der<WRAPPED_KEY_LEN_MAX>,
    /// The successor.
    pub certificate: Der<SUCCESSOR_LEN_MAX>,
}

impl OwnSuccession {
    const KEY: Key = Key::only(Kind::Succession);

    /// Reads it; `None` when no rotation is under way.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read<H: Hash, F: NorFlash>(store: &mut Store<F>) -> Result<Option<Self>, SettingsError> {
        read::<H, F, _>(store, Self::KEY, |from| {
            let malformed = from.malformed();
            Ok(Self {
                step: match from.u8()? {
                    0 => SuccessionStep::Distributing,
                    1 => SuccessionStep::Switched,
                    _ => return Err(malformed),
                },
                certificate_id: from.u32_le()?,
                predecessor: from.array()?,
                private_key: Der::take(from)?,
                certificate: Der::take(from)?,
            })
        })
    }

    /// Stores it.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn write<H: Hash, F: NorFlash>(&self, store: &mut Store<F>) -> Result<(), SettingsError> {
        write::<H, F>(store, Self::KEY, |to| {
            to.u8(match self.step {
                SuccessionStep::Distributing => 0,
                SuccessionStep::Switched => 1,
            })?;
            to.u32_le(self.certificate_id)?;
            to.bytes(&self.predecessor)?;
            self.private_key.put(to)?;
            self.certificate.put(to)
        })
    }

    /// The rotation is over.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn remove<H: Hash, F: NorFlash>(store: &mut Store<F>) -> Result<(), SettingsError> {
        Ok(store.remove::<H>(Self::KEY)?)
    }
}
