//! What went wrong, kept over the reset that follows: the next start tells it in its log.
//!
//! RAM that no start touches holds one record; a check over it tells a record from what is there after power-on.
//!
//! A record names addresses and no files: who reads the log has the ELF, without which it cannot be decoded, and `addr2line` makes lines of
//! them. Files and lines in the image itself would be a twentieth of its flash.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m::peripheral::SCB;
use cortex_m_rt::ExceptionFrame;

/// Why the device was reset.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A panic: a defect of this program.
    Panic = 1,
    /// A fault of the processor, the stack's guard included.
    Fault = 2,
    /// The loop did not come round.
    Watchdog = 3,
}

/// How many addresses are kept.
pub const TRACE: usize = 6;

/// One record.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Record {
    magic: u32,
    kind: u32,
    /// Where, in the code: of a panic the places that led to it, the nearest first; of a fault the instruction and where its function
    /// returns to. 0 where there is none.
    pub trace: [u32; TRACE],
    /// The configurable fault status register; 0 where it says nothing.
    pub status: u32,
    /// Resets since power-on.
    pub count: u32,
    check: u32,
}

const MAGIC: u32 = 0xfa17_ed01;

#[unsafe(link_section = ".uninit.fault")]
static mut RECORD: MaybeUninit<Record> = MaybeUninit::uninit();

impl Record {
    fn sum(&self) -> u32 {
        let words = [self.magic, self.kind, self.status, self.count];
        words
            .iter()
            .chain(&self.trace)
            .fold(0x9e37_79b9, |sum: u32, word| {
                (sum ^ word).rotate_left(5).wrapping_mul(0x85eb_ca6b)
            })
    }

    /// What it was.
    pub fn kind(&self) -> Option<Kind> {
        match self.kind {
            1 => Some(Kind::Panic),
            2 => Some(Kind::Fault),
            3 => Some(Kind::Watchdog),
            _ => None,
        }
    }
}

/// The record of the reset before this start, once.
pub fn take() -> Option<Record> {
    // SAFETY: called from `main` before anything else runs; every bit pattern is a `Record`, and the check tells whether
    // it was written as one. Volatile, since the compiler sees no write before this read.
    unsafe {
        let place = core::ptr::addr_of_mut!(RECORD).cast::<Record>();
        let record = core::ptr::read_volatile(place);
        let valid = record.magic == MAGIC && record.check == record.sum();
        if valid {
            // The count stays for the next one, the kind goes.
            let mut rest = Record { kind: 0, ..record };
            rest.check = rest.sum();
            core::ptr::write_volatile(place, rest);
        }
        (valid && record.kind != 0).then_some(record)
    }
}

fn write(kind: Kind, trace: [u32; TRACE], status: u32) {
    // SAFETY: nothing else runs any more: this is the panic or fault handler of a machine with one core.
    unsafe {
        let at = core::ptr::addr_of_mut!(RECORD).cast::<Record>();
        let before = core::ptr::read_volatile(at);
        let counted = before.magic == MAGIC && before.check == before.sum();
        let mut record = Record {
            magic: MAGIC,
            kind: kind as u32,
            trace,
            status,
            count: if counted {
                before.count.saturating_add(1)
            } else {
                1
            },
            check: 0,
        };
        record.check = record.sum();
        core::ptr::write_volatile(at, record);
    }
}

/// Resets the processor; RAM stays.
pub fn reset() -> ! {
    SCB::sys_reset()
}

/// What is panicked with is left alone, so that none of it is in the image.
#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    write(Kind::Panic, callers(), 0);
    reset()
}

/// Where the functions that are being called return to, from their frames: the compiler keeps a chain of them in `r7` on this target.
#[inline(always)]
fn callers() -> [u32; TRACE] {
    unsafe extern "C" {
        static _stack_start: u32;
    }
    let top = core::ptr::addr_of!(_stack_start) as u32;
    let mut frame: u32;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, r7", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    let mut lowest = frame;
    let mut trace = [0; TRACE];
    for place in &mut trace {
        // Upwards only, and within the stack: what is read may be anything after a defect.
        let whole = frame.checked_add(8).is_some_and(|end| end <= top);
        if frame < lowest || !whole || !frame.is_multiple_of(4) {
            break;
        }
        // SAFETY: two words of the stack, which is RAM.
        let (above, back) = unsafe {
            (
                core::ptr::read_volatile(frame as *const u32),
                core::ptr::read_volatile((frame + 4) as *const u32),
            )
        };
        *place = called_from(back);
        lowest = frame + 4;
        frame = above;
    }
    trace
}

/// An address within the call that returns to `back`: what follows a call that never returns is another function. Bit 0 says Thumb.
const fn called_from(back: u32) -> u32 {
    (back & !1).saturating_sub(2)
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    // SAFETY: reading a status register.
    let status = unsafe { (*SCB::PTR).cfsr.read() };
    // A stack that ran into its guard has no frame on it: the address is worth nothing then, and may not be readable.
    let trace = if status & STACKING != 0 {
        [0; TRACE]
    } else {
        [frame.pc(), called_from(frame.lr()), 0, 0, 0, 0]
    };
    write(Kind::Fault, trace, status);
    reset()
}

/// MSTKERR and STKERR: the frame could not be written.
const STACKING: u32 = 1 << 4 | 1 << 12;

#[cortex_m_rt::exception]
unsafe fn NonMaskableInt() {
    write(Kind::Watchdog, [0; TRACE], 0);
    reset()
}
