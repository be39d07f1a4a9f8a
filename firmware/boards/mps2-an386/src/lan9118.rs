//! Ethernet: SMSC LAN9118 (as QEMU has it) or LAN9220 (as the board has it), polled, one frame at a time.
//!
//! What is special here, all of it seen with the device:
//! - The receive FIFO holds 10,560 bytes; what does not fit is dropped without a sign. The stack above must not advertise more
//!   than that over all its sockets together, which its small buffers see to.
//! - Frames are drained by reading them: the fast-forward register leaves counters wrong.
//! - Every sent frame leaves a word in the status FIFO, which must be drained too.
//! - The interrupt is a level: its handler masks it, and the loop unmasks it before it sleeps.
//! - The MAC pads nothing that it sends: frames below 60 bytes are padded here.

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

use crate::registers::Block;

const NIC: Block = Block::at(0x4020_0000);

const RX_DATA: usize = 0x00;
const TX_DATA: usize = 0x20;
const RX_STATUS: usize = 0x40;
const TX_STATUS: usize = 0x48;
const ID_REV: usize = 0x50;
const IRQ_CFG: usize = 0x54;
const INT_STS: usize = 0x58;
const INT_EN: usize = 0x5c;
const BYTE_TEST: usize = 0x64;
const FIFO_INT: usize = 0x68;
const RX_CFG: usize = 0x6c;
const TX_CFG: usize = 0x70;
const HW_CFG: usize = 0x74;
const RX_FIFO_INF: usize = 0x7c;
const TX_FIFO_INF: usize = 0x80;
const MAC_CSR_CMD: usize = 0xa4;
const MAC_CSR_DATA: usize = 0xa8;

const ENDIAN: u32 = 0x8765_4321;
const SOFT_RESET: u32 = 1;
/// A transmit FIFO of 5 KiB, and the bit that must be one.
const FIFO_SPLIT: u32 = 5 << 16 | 1 << 20;
const TX_ON: u32 = 1 << 1;
/// Active high, push-pull, on; deassertion interval 0.
const IRQ_ON: u32 = 0x111;
/// Frames have been received.
const RX_STATUS_LEVEL: u32 = 1 << 3;

const MAC_BUSY: u32 = 1 << 31;
const MAC_READ: u32 = 1 << 30;
const MAC_CONTROL: u32 = 1;
const MAC_ADDRESS_HIGH: u32 = 2;
const MAC_ADDRESS_LOW: u32 = 3;
/// Receiver and transmitter on, full duplex.
const MAC_ON: u32 = 1 << 2 | 1 << 3 | 1 << 20;

/// The whole frame in one buffer.
const FIRST_AND_LAST: u32 = 1 << 13 | 1 << 12;
/// Error summary in a receive status word.
const RX_ERROR: u32 = 1 << 15;

/// Longest frame without its check sequence.
pub const FRAME_LEN: usize = 1514;
/// Shortest frame without its check sequence.
const FRAME_LEN_MIN: usize = 60;
/// How often a register is asked before the device counts as broken.
const PATIENCE: u32 = 100_000;

/// The device has not come up.
#[derive(Clone, Copy)]
pub struct Broken {
    /// What it said it is.
    pub id: u32,
}

/// The network interface.
pub struct Nic {
    frame: [u8; FRAME_LEN],
    /// Frames that were not received whole and right.
    pub damaged: u32,
}

impl Nic {
    /// Resets the device and turns it on, with `address` as its own.
    ///
    /// # Errors
    /// [`Broken`] when there is none, or it does not come out of its reset.
    pub fn start(address: [u8; 6]) -> Result<Self, Broken> {
        let id = NIC.read(ID_REV) >> 16;
        let broken = Broken { id };
        if NIC.read(BYTE_TEST) != ENDIAN || !matches!(id, 0x0118 | 0x9220) {
            return Err(broken);
        }
        NIC.write(HW_CFG, SOFT_RESET);
        wait(|| NIC.read(HW_CFG) & SOFT_RESET == 0).ok_or(broken)?;
        NIC.write(HW_CFG, FIFO_SPLIT);
        NIC.write(INT_EN, 0);
        NIC.write(INT_STS, u32::MAX);
        NIC.write(RX_CFG, 0);
        let [a, b, c, d, e, f] = address;
        mac_write(MAC_ADDRESS_LOW, u32::from_le_bytes([a, b, c, d])).ok_or(broken)?;
        mac_write(MAC_ADDRESS_HIGH, u32::from_le_bytes([e, f, 0, 0])).ok_or(broken)?;
        NIC.write(TX_CFG, TX_ON);
        mac_write(MAC_CONTROL, MAC_ON).ok_or(broken)?;
        // An interrupt from the first frame on.
        NIC.write(FIFO_INT, 0);
        NIC.write(IRQ_CFG, IRQ_ON);
        NIC.write(INT_EN, RX_STATUS_LEVEL);
        Ok(Self {
            frame: [0; FRAME_LEN],
            damaged: 0,
        })
    }

    /// Whether a frame waits.
    pub fn pending(&self) -> bool {
        NIC.read(RX_FIFO_INF) >> 16 & 0xff != 0
    }

    /// Takes the interrupt back, so that the next frame raises it again.
    pub fn acknowledge(&self) {
        NIC.write(INT_STS, RX_STATUS_LEVEL);
    }

    /// Reads the next good frame into the buffer.
    fn fetch(&mut self) -> Option<usize> {
        while self.pending() {
            let status = NIC.read(RX_STATUS);
            let whole = (status >> 16 & 0x3fff) as usize;
            // The check sequence is part of what lies in the FIFO.
            let len = whole.saturating_sub(4);
            let fits = len <= FRAME_LEN && len > 0 && status & RX_ERROR == 0;
            for word in 0..whole.div_ceil(4) {
                let bytes = NIC.read(RX_DATA).to_le_bytes();
                let at = word * 4;
                if fits && at < len {
                    let end = len.min(at + 4);
                    if let Some(to) = self.frame.get_mut(at..end) {
                        to.copy_from_slice(bytes.get(..end - at).unwrap_or_default());
                    }
                }
            }
            if fits {
                return Some(len);
            }
            self.damaged = self.damaged.saturating_add(1);
        }
        None
    }
}

fn wait(mut done: impl FnMut() -> bool) -> Option<()> {
    (0..PATIENCE).any(|_| done()).then_some(())
}

fn mac_write(register: u32, value: u32) -> Option<()> {
    wait(|| NIC.read(MAC_CSR_CMD) & MAC_BUSY == 0)?;
    NIC.write(MAC_CSR_DATA, value);
    NIC.write(MAC_CSR_CMD, MAC_BUSY | register & !MAC_READ);
    wait(|| NIC.read(MAC_CSR_CMD) & MAC_BUSY == 0)
}

/// Whether a whole frame has room; also drains the status words of those sent.
fn can_send() -> bool {
    let state = NIC.read(TX_FIFO_INF);
    for _ in 0..state >> 16 & 0xff {
        let _ = NIC.read(TX_STATUS);
    }
    // Two command words and the rounding come on top.
    (state & 0xffff) as usize >= FRAME_LEN + 16
}

fn send(frame: &[u8]) {
    let len = frame.len().max(FRAME_LEN_MIN);
    NIC.write(TX_DATA, FIRST_AND_LAST | len as u32);
    NIC.write(TX_DATA, (len as u32) << 16 | len as u32);
    for word in 0..len.div_ceil(4) {
        let mut bytes = [0; 4];
        for (to, from) in bytes.iter_mut().zip(frame.iter().skip(word * 4)) {
            *to = *from;
        }
        NIC.write(TX_DATA, u32::from_le_bytes(bytes));
    }
}

/// A frame that was received.
pub struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Room for a frame.
pub struct Room;

impl TxToken for Room {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = [0; FRAME_LEN];
        let (frame, _) = frame.split_at_mut(len.min(FRAME_LEN));
        let result = f(frame);
        send(frame);
        result
    }
}

impl Device for Nic {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Room;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Room)> {
        if !can_send() {
            return None;
        }
        let len = self.fetch()?;
        Some((Received(self.frame.get(..len)?), Room))
    }

    fn transmit(&mut self, _: Instant) -> Option<Room> {
        can_send().then_some(Room)
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_LEN;
        capabilities.max_burst_size = Some(2);
        capabilities
    }
}
