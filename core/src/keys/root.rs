//! Where the service master key lives: nothing stands above it in the hierarchy, so each world has a place of its own.
//!
//! A server keeps it in a file, behind a passphrase, or gets it from its service manager; a device derives or reads it
//! from its own root key. The key and what is wrapped by it lie in different places and cannot change at one stroke, so a
//! new key is first *staged* beside the current one, then the catalog is rewritten (with the new key's
//! [`ServiceMasterKey::guid`]), then the staged key is *promoted*. [`settle`] finds, after a stop at any moment between,
//! which of the two the catalog belongs to.

use super::ServiceMasterKey;
use crate::crypto::Hash;

/// A place for the service master key.
pub trait RootKey {
    /// Why the place does not give or take a key.
    type Error;

    /// The current key; nothing when the place is empty.
    ///
    /// # Errors
    /// The place's own: a key is there and cannot be had.
    fn current(&mut self) -> Result<Option<ServiceMasterKey>, Self::Error>;

    /// The staged key; nothing when there is none, or what is there was not wholly written.
    ///
    /// # Errors
    /// The place's own.
    fn staged(&mut self) -> Result<Option<ServiceMasterKey>, Self::Error>;

    /// Puts `key` beside the current one, in place of an earlier staged one. It is durable when this returns.
    ///
    /// # Errors
    /// The place's own; nothing has changed then.
    fn stage(&mut self, key: &ServiceMasterKey) -> Result<(), Self::Error>;

    /// The staged key becomes the current one, at one stroke; it is durable when this returns.
    ///
    /// # Errors
    /// The place's own; one of the two is current then.
    fn promote(&mut self) -> Result<(), Self::Error>;
}

/// The key whose [`ServiceMasterKey::guid`] is `catalog`, the one that the catalog is wrapped by; a staged one is promoted
/// when it is that, also when the current one cannot be had. Without such a key, the current one: what to do about it is for
/// the caller to say.
///
/// # Errors
/// The place's own; of two keys that cannot be had the current one's.
pub fn settle<H: Hash, R: RootKey>(
    root: &mut R,
    catalog: Option<&[u8; 16]>,
) -> Result<Option<ServiceMasterKey>, R::Error> {
    let current = root.current();
    let Some(catalog) = catalog else {
        return current;
    };
    if let Ok(Some(key)) = &current
        && key.guid::<H>() == *catalog
    {
        return current;
    }
    match root.staged() {
        Ok(Some(key)) if key.guid::<H>() == *catalog => {
            root.promote()?;
            Ok(Some(key))
        }
        Ok(_) => current,
        Err(why) => current.and(Err(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Provider;
    use crate::crypto::rustcrypto::RustCrypto;
    use crate::secret::Secret;

    type Sha256 = <RustCrypto as Provider>::Sha256;

    /// A device's two slots of flash, under a power supply that fails after so many writes.
    struct Device {
        slots: [Option<u8>; 2],
        writes_left: usize,
    }

    #[derive(Debug, PartialEq)]
    struct PowerLost;

    impl Device {
        fn write(&mut self, slot: usize, value: Option<u8>) -> Result<(), PowerLost> {
            self.writes_left = self.writes_left.checked_sub(1).ok_or(PowerLost)?;
            self.slots[slot] = value;
            Ok(())
        }
    }

    fn key(seed: u8) -> ServiceMasterKey {
        ServiceMasterKey::from_secret(Secret::new([seed; 32]))
    }

    impl RootKey for Device {
        type Error = PowerLost;
        fn current(&mut self) -> Result<Option<ServiceMasterKey>, PowerLost> {
            Ok(self.slots[0].map(key))
        }
        fn staged(&mut self) -> Result<Option<ServiceMasterKey>, PowerLost> {
            Ok(self.slots[1].map(key))
        }
        fn stage(&mut self, new: &ServiceMasterKey) -> Result<(), PowerLost> {
            let seed = new.secret().expose()[0];
            self.write(1, Some(seed))
        }
        fn promote(&mut self) -> Result<(), PowerLost> {
            let staged = self.slots[1];
            self.write(0, staged)
        }
    }

    /// A change of the key, cut off after every number of writes: the catalog's key is found each time.
    #[test]
    fn a_change_that_stops_anywhere_is_settled() {
        let (old, new) = (key(1), key(2));
        for writes in 0..4 {
            let mut device = Device {
                slots: [Some(1), None],
                writes_left: writes,
            };
            let mut catalog = old.guid::<Sha256>();
            let changed = device.stage(&new).and_then(|()| {
                catalog = new.guid::<Sha256>();
                device.promote()
            });
            assert_eq!(changed.is_ok(), writes >= 2);
            device.writes_left = 9;
            let settled = settle::<Sha256, _>(&mut device, Some(&catalog)).unwrap().unwrap();
            assert_eq!(settled.guid::<Sha256>(), catalog, "after {writes} writes");
            let current = device.current().unwrap().unwrap();
            assert_eq!(current.guid::<Sha256>(), catalog);
        }
    }

    /// A place one of whose keys cannot be had: damaged, or behind another passphrase.
    struct Broken {
        device: Device,
        unreadable: usize,
        promoted: bool,
    }

    impl RootKey for Broken {
        type Error = PowerLost;
        fn current(&mut self) -> Result<Option<ServiceMasterKey>, PowerLost> {
            if self.unreadable == 0 {
                return Err(PowerLost);
            }
            self.device.current()
        }
        fn staged(&mut self) -> Result<Option<ServiceMasterKey>, PowerLost> {
            if self.unreadable == 1 {
                return Err(PowerLost);
            }
            self.device.staged()
        }
        fn stage(&mut self, new: &ServiceMasterKey) -> Result<(), PowerLost> {
            self.device.stage(new)
        }
        fn promote(&mut self) -> Result<(), PowerLost> {
            self.promoted = true;
            self.device.promote()
        }
    }

    #[test]
    fn a_key_that_cannot_be_had_does_not_hide_the_catalogs() {
        let (current, staged, other) = (key(1), key(2), key(3));
        let settled = |unreadable, catalog: Option<&ServiceMasterKey>| {
            let mut place = Broken {
                device: Device {
                    slots: [Some(1), Some(2)],
                    writes_left: 1,
                },
                unreadable,
                promoted: false,
            };
            let catalog = catalog.map(ServiceMasterKey::guid::<Sha256>);
            let found = settle::<Sha256, _>(&mut place, catalog.as_ref());
            (
                found.map(|key| key.map(|key| key.guid::<Sha256>())),
                place.promoted,
            )
        };
        let guid = |key: &ServiceMasterKey| Ok(Some(key.guid::<Sha256>()));
        // The current one cannot be had, and the staged one is the catalog's: it is found, and takes the other's place.
        assert_eq!(settled(0, Some(&staged)), (guid(&staged), true));
        // The staged one cannot be had, and is not wanted.
        assert_eq!(settled(1, Some(&current)), (guid(&current), false));
        // Which of the two the catalog's is cannot be told: nothing is promoted, and nothing else is taken for it.
        assert_eq!(settled(0, Some(&current)), (Err(PowerLost), false));
        assert_eq!(settled(0, Some(&other)), (Err(PowerLost), false));
        assert_eq!(settled(1, Some(&staged)), (Err(PowerLost), false));
        assert_eq!(settled(1, Some(&other)), (Err(PowerLost), false));
        // A catalog that does not know yet: a staged key is nothing to it.
        assert_eq!(settled(0, None), (Err(PowerLost), false));
        assert_eq!(settled(1, None), (guid(&current), false));
    }

    #[test]
    fn a_key_that_is_nobodys_is_left_to_the_caller() {
        let mut device = Device {
            slots: [Some(1), Some(2)],
            writes_left: 0,
        };
        let found = settle::<Sha256, _>(&mut device, Some(&key(3).guid::<Sha256>())).unwrap();
        assert_eq!(found.unwrap().guid::<Sha256>(), key(1).guid::<Sha256>());
        let found = settle::<Sha256, _>(&mut device, None).unwrap();
        assert_eq!(found.unwrap().guid::<Sha256>(), key(1).guid::<Sha256>());
    }
}
