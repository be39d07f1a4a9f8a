//! A device's memory in the hands of a test, while the device is off.

use std::fs;

use dbmirror_adapters::nvm::{DeviceKey, ERASE_LEN, Store};
use dbmirror_core::crypto::Provider;
use dbmirror_core::crypto::rustcrypto::RustCrypto;
use dbmirror_firmware_tests::group::Group;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

pub type Sha256 = <RustCrypto as Provider>::Sha256;

/// A device's memory on the host.
pub struct Image(Vec<u8>);

impl ErrorType for Image {
    type Error = NorFlashErrorKind;
}
impl ReadNorFlash for Image {
    const READ_SIZE: usize = 1;
    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.0.len()
    }
}
impl NorFlash for Image {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = ERASE_LEN as usize;
    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }
    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.0[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// The memory of the group's device.
pub fn open(group: &Group) -> Store<Image> {
    let key = fs::read(group.path("device.key")).unwrap();
    let key = DeviceKey::from_file::<Sha256>(&key).unwrap();
    let image = Image(fs::read(group.path("nvm.img")).unwrap());
    Store::open::<Sha256>(image, &key).unwrap()
}

/// Puts it back, changed.
pub fn close(group: &Group, store: Store<Image>) {
    fs::write(group.path("nvm.img"), store.into_flash().0).unwrap();
}
