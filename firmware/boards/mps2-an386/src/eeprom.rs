//! Non-volatile memory: a 64 KiB EEPROM (AT24C512 and alike) on the shield's I2C bus, which the board drives by single bits.

use embedded_storage_async::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use crate::registers::Block;
use crate::watchdog;

/// The second shield's bus (ARM SBCon: one register to set lines, one to clear them).
const BUS: Block = Block::at(0x4002_a000);
/// Reads the lines; set bits are let go.
const LINES: usize = 0;
/// Set bits are pulled down.
const PULL: usize = 4;
const CLOCK: u32 = 1;
const DATA: u32 = 1 << 1;

/// The device's address on the bus.
const ADDRESS: u8 = 0x50;
/// Bytes of the device.
pub const CAPACITY: usize = 64 * 1024;
/// Bytes that the device writes at one stroke.
const PAGE: usize = 128;
/// What the storage above takes for a block that is erased: an EEPROM needs none.
pub const ERASE: usize = 4 * 1024;
/// Half a clock of the bus in processor cycles: below 400 kHz at 25 MHz.
const HALF: u32 = 32;
/// How often the device is asked whether it has finished a write (5 ms by its data sheet; each time takes about 30 us).
const PATIENCE: u32 = 2_000;

/// The device does not answer, or not in time.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl NorFlashError for Silent {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// The memory.
pub struct Eeprom(());

impl Eeprom {
    /// Takes the bus and brings it to rest, whatever a reset has cut off.
    pub fn start() -> Self {
        release(DATA);
        // A device that was read when the reset came holds the line until its byte is out.
        for _ in 0..9 {
            pull(CLOCK);
            release(CLOCK);
        }
        stop();
        Self(())
    }
}

fn pull(line: u32) {
    BUS.write(PULL, line);
    cortex_m::asm::delay(HALF);
}

fn release(line: u32) {
    BUS.write(LINES, line);
    cortex_m::asm::delay(HALF);
}

fn start() {
    release(DATA);
    release(CLOCK);
    pull(DATA);
    pull(CLOCK);
}

fn stop() {
    pull(DATA);
    release(CLOCK);
    release(DATA);
}

/// Sends a byte; whether it was acknowledged.
fn put(byte: u8) -> bool {
    for bit in (0..8).rev() {
        if byte >> bit & 1 == 1 {
            release(DATA);
        } else {
            pull(DATA);
        }
        release(CLOCK);
        pull(CLOCK);
    }
    release(DATA);
    release(CLOCK);
    let acknowledged = BUS.read(LINES) & DATA == 0;
    pull(CLOCK);
    acknowledged
}

/// Takes a byte and says whether another one is wanted.
fn take(more: bool) -> u8 {
    release(DATA);
    let mut byte = 0;
    for _ in 0..8 {
        release(CLOCK);
        byte = byte << 1 | u8::from(BUS.read(LINES) & DATA != 0);
        pull(CLOCK);
    }
    if more {
        pull(DATA);
    }
    release(CLOCK);
    pull(CLOCK);
    release(DATA);
    byte
}

/// Addresses the device for a write at `offset`, once it has finished the one before.
fn address(offset: u32) -> Result<(), Silent> {
    watchdog::feed_for_memory();
    for _ in 0..PATIENCE {
        start();
        if put(ADDRESS << 1) {
            let [.., high, low] = offset.to_be_bytes();
            return if put(high) && put(low) {
                Ok(())
            } else {
                Err(Silent)
            };
        }
        stop();
    }
    Err(Silent)
}

fn within(offset: u32, len: usize) -> Result<(), Silent> {
    usize::try_from(offset)
        .ok()
        .and_then(|offset| offset.checked_add(len))
        .filter(|end| *end <= CAPACITY)
        .map(|_| ())
        .ok_or(Silent)
}

/// Writes within one page of the device.
fn write_page(offset: u32, bytes: impl Iterator<Item = u8>) -> Result<(), Silent> {
    let result = address(offset).and_then(|()| {
        for byte in bytes {
            if !put(byte) {
                return Err(Silent);
            }
        }
        Ok(())
    });
    stop();
    result
}

/// Waits until the last write is done: what returns before is not durable.
fn settle() -> Result<(), Silent> {
    let result = address(0);
    stop();
    result
}

impl ErrorType for Eeprom {
    type Error = Silent;
}

impl ReadNorFlash for Eeprom {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Silent> {
        within(offset, bytes.len())?;
        let result = address(offset).and_then(|()| {
            start();
            if !put(ADDRESS << 1 | 1) {
                return Err(Silent);
            }
            let last = bytes.len().saturating_sub(1);
            for (at, byte) in bytes.iter_mut().enumerate() {
                *byte = take(at != last);
            }
            Ok(())
        });
        stop();
        result
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl NorFlash for Eeprom {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = ERASE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Silent> {
        let len = usize::try_from(to.saturating_sub(from)).map_err(|_| Silent)?;
        within(from, len)?;
        let mut at = from;
        while at < to {
            write_page(at, core::iter::repeat_n(0xff, PAGE))?;
            at = at.saturating_add(PAGE as u32);
        }
        settle()
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Silent> {
        within(offset, bytes.len())?;
        let mut at = offset as usize;
        let mut rest = bytes;
        while !rest.is_empty() {
            let (page, behind) = rest.split_at(rest.len().min(PAGE - at % PAGE));
            write_page(at as u32, page.iter().copied())?;
            at += page.len();
            rest = behind;
        }
        settle()
    }
}
