//! The log's way out: the first UART of the board (CMSDK APB UART), written to and never read.

use core::sync::atomic::{AtomicBool, Ordering};

use critical_section::RestoreState;

use crate::registers::Block;

/// CMSDK APB UART 0, Application Note AN386 §3.
const UART: Block = Block::at(0x4000_4000);
const DATA: usize = 0x00;
const STATE: usize = 0x04;
const CONTROL: usize = 0x08;
const BAUD_DIVIDER: usize = 0x10;

const STATE_TX_FULL: u32 = 1;
const CONTROL_TX: u32 = 1;
/// 25 MHz over 115,200 Bd.
const DIVIDER: u32 = 217;

/// Turns the transmitter on.
pub fn start() {
    UART.write(BAUD_DIVIDER, DIVIDER);
    UART.write(CONTROL, CONTROL_TX);
}

fn put(bytes: &[u8]) {
    for byte in bytes {
        while UART.read(STATE) & STATE_TX_FULL != 0 {}
        UART.write(DATA, u32::from(*byte));
    }
}

/// defmt's frames on the UART.
#[defmt::global_logger]
struct Log;

static TAKEN: AtomicBool = AtomicBool::new(false);
static mut RESTORE: RestoreState = RestoreState::invalid();
static mut ENCODER: defmt::Encoder = defmt::Encoder::new();

// SAFETY: `acquire` and `release` hold a critical section around everything that touches the two statics, on a machine
// with one core; a nested `acquire`, from a fault handler that logs while a frame is open, is refused.
unsafe impl defmt::Logger for Log {
    fn acquire() {
        // SAFETY: ended by `release` in the same context.
        let restore = unsafe { critical_section::acquire() };
        if TAKEN.swap(true, Ordering::Relaxed) {
            // A fault within a frame: the frame is lost, the fault's record is not (`fault`).
            crate::fault::reset();
        }
        // SAFETY: the critical section is held, and nobody else holds the logger.
        unsafe {
            RESTORE = restore;
            let encoder = &mut *core::ptr::addr_of_mut!(ENCODER);
            encoder.start_frame(put);
        }
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: as in `acquire`, which the caller has been through.
        unsafe {
            let encoder = &mut *core::ptr::addr_of_mut!(ENCODER);
            encoder.end_frame(put);
            TAKEN.store(false, Ordering::Relaxed);
            critical_section::release(RESTORE);
        }
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: as in `acquire`, which the caller has been through.
        unsafe {
            let encoder = &mut *core::ptr::addr_of_mut!(ENCODER);
            encoder.write(bytes, put);
        }
    }
}
