//! Registers of a device as words at an address.

/// A block of 32-bit registers.
#[derive(Clone, Copy)]
pub struct Block(usize);

impl Block {
    /// The registers from `address` on. Only addresses of the board's memory map may be given.
    pub const fn at(address: usize) -> Self {
        Self(address)
    }

    /// The register at the byte `offset`.
    pub fn read(self, offset: usize) -> u32 {
        // SAFETY: `Block`s are made in this package alone, from addresses at which the board has word registers; reading
        // one touches no memory of the program.
        unsafe { core::ptr::read_volatile(self.0.wrapping_add(offset) as *const u32) }
    }

    /// Sets the register at the byte `offset`.
    pub fn write(self, offset: usize, value: u32) {
        // SAFETY: as in `read`; none of these devices writes to memory by itself.
        unsafe { core::ptr::write_volatile(self.0.wrapping_add(offset) as *mut u32, value) }
    }
}
