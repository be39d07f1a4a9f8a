//! What went wrong, kept over the reset that follows: the next start tells it in its log.
//!
//! RAM that no start touches holds one record; a check over it tells a record from what is there after power-on.

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

/// One record.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Record {
    magic: u32,
    kind: u32,
    /// Where: the line of a panic, the address of a fault.
    pub place: u32,
    /// The configurable fault status register; 0 where it says nothing.
    pub status: u32,
    /// Resets of this kind since power-on.
    pub count: u32,
    /// The panic's file, in flash.
    file: u32,
    file_len: u32,
    check: u32,
}

const MAGIC: u32 = 0xfa17_ed01;

#[unsafe(link_section = ".uninit.fault")]
static mut RECORD: MaybeUninit<Record> = MaybeUninit::uninit();

impl Record {
    fn sum(&self) -> u32 {
        [
            self.magic,
            self.kind,
            self.place,
            self.status,
            self.count,
            self.file,
            self.file_len,
        ]
        .iter()
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

    /// The file of a panic.
    pub fn file(&self) -> &'static str {
        unsafe extern "C" {
            static __srodata: u32;
            static __erodata: u32;
        }
        let start = core::ptr::addr_of!(__srodata) as u32;
        let end = core::ptr::addr_of!(__erodata) as u32;
        let inside = self.file >= start
            && self
                .file
                .checked_add(self.file_len)
                .is_some_and(|last| last <= end);
        if !inside {
            return "";
        }
        // SAFETY: the range lies within constants of this image, which are never written; any bytes there are initialised.
        let bytes = unsafe { core::slice::from_raw_parts(self.file as *const u8, self.file_len as usize) };
        core::str::from_utf8(bytes).unwrap_or("")
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

fn write(kind: Kind, place: u32, status: u32, file: &'static str) {
    // SAFETY: nothing else runs any more: this is the panic or fault handler of a machine with one core.
    unsafe {
        let at = core::ptr::addr_of_mut!(RECORD).cast::<Record>();
        let before = core::ptr::read_volatile(at);
        let counted = before.magic == MAGIC && before.check == before.sum();
        let mut record = Record {
            magic: MAGIC,
            kind: kind as u32,
            place,
            status,
            count: if counted {
                before.count.saturating_add(1)
            } else {
                1
            },
            file: file.as_ptr() as u32,
            file_len: file.len() as u32,
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

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    cortex_m::interrupt::disable();
    let (file, line) = info
        .location()
        .map_or(("", 0), |at| (at.file_as_c_str_free(), at.line()));
    write(Kind::Panic, line, 0, file);
    reset()
}

/// The file of a location outlives everything: the compiler puts it among the constants.
trait StaticFile {
    fn file_as_c_str_free(&self) -> &'static str;
}

impl StaticFile for core::panic::Location<'_> {
    fn file_as_c_str_free(&self) -> &'static str {
        // SAFETY: `Location` values are made by the compiler alone; their file names are constants of the image.
        unsafe { core::mem::transmute::<&str, &'static str>(self.file()) }
    }
}

#[cortex_m_rt::exception]
unsafe fn HardFault(frame: &ExceptionFrame) -> ! {
    // SAFETY: reading a status register.
    let status = unsafe { (*SCB::PTR).cfsr.read() };
    // A stack that ran into its guard has no frame on it: the address is worth nothing then, and may not be readable.
    let place = if status & STACKING != 0 { 0 } else { frame.pc() };
    write(Kind::Fault, place, status, "");
    reset()
}

/// MSTKERR and STKERR: the frame could not be written.
const STACKING: u32 = 1 << 4 | 1 << 12;

#[cortex_m_rt::exception]
unsafe fn NonMaskableInt() {
    write(Kind::Watchdog, 0, 0, "");
    reset()
}
