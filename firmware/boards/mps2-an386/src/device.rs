//! The start of the device and its loop.

use core::mem::MaybeUninit;

use cortex_m::peripheral::NVIC;
use cortex_m_rt::entry;
use dbmirror_adapters::nvm::DeviceKey;
use dbmirror_core::time::{Duration, Instant};
use dbmirror_firmware::appliance::{Place, Provisioned};
use dbmirror_firmware::{Appliance, Memory, Sha256};

use crate::eeprom::Eeprom;
use crate::lan9118::Nic;
use crate::log::Lines;
use crate::{clock, fault, stack, uart, watchdog};

/// Where the device key lies: the start of the second memory (`docs/appliance.md`).
const DEVICE_KEY: *const u8 = 0x2100_0000 as *const u8;
/// Its length (`docs/keys.md`, service master key file).
const DEVICE_KEY_LEN: usize = 48;
/// How often the stack is looked at; more use of it than ever before is told.
const STACK_EVERY: Duration = Duration::from_secs(1);
/// How often a device that does not serve says why.
const IDLE_EVERY: Duration = Duration::from_secs(60);
/// Before the restart after a memory that failed.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

static mut MEMORY: Memory<'static> = Memory::new();
/// What is read from the EEPROM, and the appliance itself: too large for a stack.
static mut PLACE: MaybeUninit<Place<Eeprom>> = MaybeUninit::uninit();
static mut APPLIANCE: MaybeUninit<Appliance<'static, Eeprom, Lines>> = MaybeUninit::uninit();

/// Sets the appliance up, in a frame that is gone when the loop begins.
#[inline(never)]
fn start(
    provisioned: Provisioned<'static, Eeprom>,
    card: &mut Nic,
) -> &'static mut Appliance<'static, Eeprom, Lines> {
    // SAFETY: `main` runs once and calls this once, and this is the only place that names the two statics.
    unsafe {
        let memory = &mut *core::ptr::addr_of_mut!(MEMORY);
        let appliance = Appliance::start(memory, provisioned, card, clock::now(), Lines);
        (*core::ptr::addr_of_mut!(APPLIANCE)).write(appliance)
    }
}

/// Makes the place for what is read. In a frame of its own too: some compilers make it on the stack first, and `main` would keep that.
#[inline(never)]
fn empty_place() -> &'static mut Place<Eeprom> {
    // SAFETY: `main` runs once and calls this once, and this is the only place that names it.
    unsafe { (*core::ptr::addr_of_mut!(PLACE)).write(Place::new()) }
}

#[entry]
fn main() -> ! {
    let before = fault::take();
    uart::start();
    // There is one start, and `entry` calls this once.
    let Some(mut core) = cortex_m::Peripherals::take() else {
        fault::reset()
    };
    stack::guard(&mut core.MPU);
    clock::start(&mut core.SYST);
    watchdog::start();
    defmt::info!("dbmirror appliance {=str} starts", env!("CARGO_PKG_VERSION"));
    if let Some(record) = before {
        let kind = match record.kind() {
            Some(fault::Kind::Panic) => "panic",
            Some(fault::Kind::Fault) => "fault",
            Some(fault::Kind::Watchdog) => "watchdog",
            None => "unknown",
        };
        defmt::error!(
            "reset by {=str} at {=u32:#x} < {=u32:#x} < {=u32:#x} < {=u32:#x} < {=u32:#x} < {=u32:#x}, status {=u32:#x}, {=u32} since power-on",
            kind,
            record.trace[0],
            record.trace[1],
            record.trace[2],
            record.trace[3],
            record.trace[4],
            record.trace[5],
            record.status,
            record.count
        );
    }

    // SAFETY: the board's second memory is always there; whatever lies in it are bytes.
    let key = unsafe { core::ptr::read_volatile(DEVICE_KEY.cast::<[u8; DEVICE_KEY_LEN]>()) };
    let Ok(key) = DeviceKey::from_file::<Sha256>(&key) else {
        idle("no device key")
    };
    let place = empty_place();
    // The cycle counter's low bits at this point: worth little on real parts, and nothing in an emulator.
    let jitter = clock::now().as_micros().to_le_bytes();
    let provisioned = match Provisioned::read(place, Eeprom::start(), &key, &jitter) {
        Ok(provisioned) => provisioned,
        Err(refusal) => idle(refusal.text()),
    };
    let mut card = match Nic::start(provisioned.mac()) {
        Ok(card) => card,
        Err(broken) => {
            defmt::error!("network card {=u32:x} does not come up", broken.id);
            idle("no network card")
        }
    };
    let appliance = start(provisioned, &mut card);
    // SAFETY: the handler touches nothing but the interrupt controller.
    unsafe { NVIC::unmask(Ethernet) };

    let mut look_at_stack = clock::now();
    let mut told = 0;
    let (mut work, mut tally) = (0_u64, appliance.tally());
    loop {
        watchdog::feed();
        let now = clock::now();
        let next = appliance.poll(now, &mut card);
        let turn = clock::now().since(now).as_micros();
        work = work.saturating_add(turn);
        if tally != appliance.tally() {
            tally = appliance.tally();
            defmt::info!(
                "worked {=u64} us, {=u64} of them in this turn; {=u32} logins, {=u32} votes",
                work,
                turn,
                tally.logins,
                tally.votes
            );
        }
        if look_at_stack <= now {
            look_at_stack = now.after(STACK_EVERY);
            let peak = stack::peak();
            if peak > told {
                told = peak;
                defmt::info!("stack: {=usize} bytes at most", peak);
            }
        }
        if appliance.has_failed() {
            // A restart reads the memory again; slowly, so that a broken part does not spin.
            pause(FAILED_PAUSE);
            fault::reset();
        }
        if next.is_some_and(|next| next <= clock::now()) {
            continue;
        }
        sleep(&card);
    }
}

fn pause(span: Duration) {
    let end = clock::now().after(span);
    while clock::now() < end {
        watchdog::feed();
        cortex_m::asm::wfi();
    }
}

/// Sleeps until a frame comes, or a tick of the clock at which something may be due.
fn sleep(card: &Nic) {
    cortex_m::interrupt::disable();
    card.acknowledge();
    // SAFETY: as in `main`.
    unsafe { NVIC::unmask(Ethernet) };
    // A frame that came since the last look has raised its interrupt before it was cleared.
    if !card.pending() {
        cortex_m::asm::wfi();
    }
    // SAFETY: no critical section is open here.
    unsafe { cortex_m::interrupt::enable() };
}

/// The device must not serve: it says so, again and again, and waits; what to do is in `docs/appliance.md`. It never votes.
fn idle(why: &'static str) -> ! {
    let mut tell = Instant::ZERO;
    loop {
        watchdog::feed();
        let now = clock::now();
        if tell <= now {
            tell = now.after(IDLE_EVERY);
            defmt::error!("not in service: {=str}", why);
        }
        cortex_m::asm::wfi();
    }
}

/// The network card's interrupt (AN386, IRQ 13).
#[derive(Clone, Copy)]
struct Ethernet;

// SAFETY: a valid number of the board.
unsafe impl cortex_m::interrupt::InterruptNumber for Ethernet {
    fn number(self) -> u16 {
        ETHERNET_NUMBER as u16
    }
}

const ETHERNET_NUMBER: usize = 13;

/// The level stays until frames are read: masked here, unmasked before the loop sleeps.
#[unsafe(export_name = "ETHERNET")]
extern "C" fn ethernet() {
    NVIC::mask(Ethernet);
}

unsafe extern "C" {
    fn DefaultHandler();
}

/// The vector table behind the processor's own exceptions.
#[used]
#[unsafe(link_section = ".vector_table.interrupts")]
#[unsafe(no_mangle)]
static __INTERRUPTS: [unsafe extern "C" fn(); 32] = {
    let mut table: [unsafe extern "C" fn(); 32] = [DefaultHandler; 32];
    table[ETHERNET_NUMBER] = ethernet;
    table
};
