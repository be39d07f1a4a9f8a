//! The stack: a guard below it, and how much of it was ever used.

use cortex_m::peripheral::MPU;

/// What the start paints the stack with (`cortex-m-rt`, feature `paint-stack`).
const PAINT: u32 = 0xcccc_cccc;
/// Bytes of the guard.
const GUARD: usize = 256;

unsafe extern "C" {
    static _guard_start: u32;
    static _stack_start: u32;
}

/// From now on a stack that grows into the guard is a fault, and not silent damage.
pub fn guard(mpu: &mut MPU) {
    const REGION_0: u32 = 0;
    /// No access at all, never executed, 2^(7+1) bytes, on.
    const ATTRIBUTES: u32 = 1 << 28 | 7 << 1 | 1;
    /// The MPU on, the default map behind its regions, off in the fault handlers themselves.
    const ON: u32 = 1 << 2 | 1;
    let start = core::ptr::addr_of!(_guard_start) as u32;
    // SAFETY: nothing of the program lies in the guard (`memory.x`).
    unsafe {
        mpu.rnr.write(REGION_0);
        mpu.rbar.write(start);
        mpu.rasr.write(ATTRIBUTES);
        mpu.ctrl.write(ON);
    }
    cortex_m::asm::dsb();
    cortex_m::asm::isb();
}

/// Most bytes of stack in use at any time since the start.
pub fn peak() -> usize {
    let low = (core::ptr::addr_of!(_guard_start) as usize).wrapping_add(GUARD);
    let high = core::ptr::addr_of!(_stack_start) as usize;
    let mut at = low;
    while at < high {
        // SAFETY: between the guard and the end of RAM there is the stack, painted or used: initialised words.
        if unsafe { core::ptr::read_volatile(at as *const u32) } != PAINT {
            break;
        }
        at = at.wrapping_add(4);
    }
    high.saturating_sub(at)
}
