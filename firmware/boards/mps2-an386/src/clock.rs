//! Monotonic time from SysTick: an interrupt every ten milliseconds, microseconds between by the counter.

use core::cell::Cell;

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use critical_section::Mutex;
use dbmirror_core::time::Instant;

/// Cycles in a microsecond: the board's system clock is 25 MHz.
const CYCLES: u32 = 25;
/// Microseconds of a tick.
const TICK: u32 = 10_000;

static TICKS: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

/// Starts the clock at zero.
pub fn start(syst: &mut SYST) {
    syst.set_clock_source(SystClkSource::Core);
    syst.set_reload(TICK * CYCLES - 1);
    syst.clear_current();
    syst.enable_interrupt();
    syst.enable_counter();
}

/// Microseconds since the start.
pub fn now() -> Instant {
    critical_section::with(|cs| {
        let mut left = SYST::get_current();
        let mut ticks = TICKS.borrow(cs).get();
        if SCB::is_pendst_pending() {
            // The counter has started anew and its interrupt waits for this critical section.
            left = SYST::get_current();
            ticks = ticks.saturating_add(1);
        }
        let passed = (TICK * CYCLES).saturating_sub(1).saturating_sub(left) / CYCLES;
        Instant::from_micros(ticks.saturating_mul(TICK.into()).saturating_add(passed.into()))
    })
}

#[cortex_m_rt::exception]
fn SysTick() {
    critical_section::with(|cs| {
        let ticks = TICKS.borrow(cs);
        ticks.set(ticks.get().saturating_add(1));
    });
}

defmt::timestamp!("{=u64:us}", now().as_micros());
