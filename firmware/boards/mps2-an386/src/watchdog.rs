//! The board's watchdog (CMSDK APB watchdog): a loop that does not come round in time is recorded and reset.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::registers::Block;

const WATCHDOG: Block = Block::at(0x4000_8000);
const LOAD: usize = 0x00;
const CONTROL: usize = 0x08;
const INTERRUPT_CLEAR: usize = 0x0c;
const LOCK: usize = 0xc00;

const UNLOCKED: u32 = 0x1acc_e551;
const CONTROL_INTERRUPT: u32 = 1;
const CONTROL_RESET: u32 = 1 << 1;

/// Four seconds of the 25 MHz clock: the first period without a sign of life raises the interrupt (it is wired to the
/// processor's NMI), the second one resets.
const PERIOD: u32 = 4 * 25_000_000;

/// Starts it; nothing stops it again.
pub fn start() {
    WATCHDOG.write(LOCK, UNLOCKED);
    WATCHDOG.write(LOAD, PERIOD);
    WATCHDOG.write(CONTROL, CONTROL_INTERRUPT | CONTROL_RESET);
    WATCHDOG.write(LOCK, 0);
}

/// How often reading or writing the memory counts as a sign of life: more than a start over a memory full of noise takes, and an end to one
/// that never comes round.
static OPERATIONS: AtomicU32 = AtomicU32::new(1 << 17);

/// The memory was asked for something, which takes long on a slow bus.
pub fn feed_for_memory() {
    let left = OPERATIONS.load(Ordering::Relaxed);
    if left > 0 {
        OPERATIONS.store(left - 1, Ordering::Relaxed);
        feed();
    }
}

/// The loop has come round.
pub fn feed() {
    WATCHDOG.write(LOCK, UNLOCKED);
    WATCHDOG.write(INTERRUPT_CLEAR, 1);
    WATCHDOG.write(LOCK, 0);
}
