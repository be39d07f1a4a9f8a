//! CRC32C (Castagnoli, RFC 3720 §12.1): finds transport and storage damage, proves nothing.
//!
//! The tables are the `crc` crate's; the loop over them is ours, because it must be seen that it cannot panic
//! (`tests/no-panic`).

/// Sixteen tables, for sixteen bytes a step.
#[cfg(feature = "partner")]
static CRC32C: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&crc::CRC_32_ISCSI);
/// One, for a device, which has only short records to check.
#[cfg(not(feature = "partner"))]
static CRC32C: crc::Crc<u32, crc::Table<1>> = crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISCSI);

/// CRC32C of bytes that are all there.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.finish()
}

/// Running CRC32C.
#[derive(Clone, Copy)]
pub(crate) struct Crc(u32);

impl Crc {
    pub(crate) const fn new() -> Self {
        Self(u32::MAX)
    }

    #[cfg(not(feature = "partner"))]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let [table] = CRC32C.table();
        self.bytewise(table, bytes);
    }

    #[cfg(feature = "partner")]
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let tables: &[[u32; 256]; 16] = CRC32C.table();
        let (chunks, rest) = bytes.as_chunks::<16>();
        for chunk in chunks {
            let mut chunk = *chunk;
            for (byte, state) in chunk.iter_mut().zip(self.0.to_le_bytes()) {
                *byte ^= state;
            }
            // The first byte is the farthest from the end of the step.
            self.0 = tables
                .iter()
                .rev()
                .zip(chunk)
                .fold(0, |next, (table, byte)| next ^ entry(table, byte));
        }
        let [table, ..] = tables;
        self.bytewise(table, rest);
    }

    fn bytewise(&mut self, table: &[u32; 256], bytes: &[u8]) {
        for byte in bytes {
            let [low, ..] = self.0.to_le_bytes();
            self.0 = entry(table, low ^ byte) ^ (self.0 >> 8);
        }
    }

    pub(crate) const fn finish(&self) -> u32 {
        !self.0
    }
}

/// There is one for every byte.
fn entry(table: &[u32; 256], byte: u8) -> u32 {
    table.get(usize::from(byte)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{CRC32C, Crc, crc32c};

    /// RFC 3720 appendix B.4, and the check value of CRC-32/ISCSI.
    #[test]
    fn published_values() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: [u8; 32] = core::array::from_fn(|n| n as u8);
        assert_eq!(crc32c(&rising), 0x46dd_794e);
    }

    /// The crate's own loop says the same, for every length and however the bytes come.
    #[test]
    fn as_the_crate_has_it_in_any_pieces() {
        let bytes: [u8; 100] = core::array::from_fn(|n| (n * 37) as u8);
        for len in 0..=bytes.len() {
            let expected = CRC32C.checksum(&bytes[..len]);
            for cut in 0..=len {
                let mut crc = Crc::new();
                crc.update(&bytes[..cut]);
                crc.update(&bytes[cut..len]);
                assert_eq!(crc.finish(), expected, "{cut} of {len}");
            }
        }
    }
}
