//! The appliance on an Arm MPS2 board with the Cortex-M4 image AN386, which QEMU has as `mps2-an386`.
//!
//! What is here is the board alone; what the device does is in `dbmirror-firmware`. The device key comes from 48 bytes in the
//! board's second memory, where a debugger, a boot loader or QEMU's `-device loader` puts it: a real part has a place for
//! it that nobody can read. `docs/appliance.md` tells how to build, provision and run it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod clock;
#[cfg(target_os = "none")]
mod device;
#[cfg(target_os = "none")]
mod eeprom;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
mod lan9118;
#[cfg(target_os = "none")]
mod log;
#[cfg(target_os = "none")]
mod registers;
#[cfg(target_os = "none")]
mod stack;
#[cfg(target_os = "none")]
mod uart;
#[cfg(target_os = "none")]
mod watchdog;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!(
        "This program is an image for a Cortex-M4 board. `firmware/build` builds it, and docs/appliance.md tells how to run it."
    );
    std::process::exit(2);
}
