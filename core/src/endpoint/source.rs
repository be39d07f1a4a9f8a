//! Where connections come from, to tell one host's flood from many hosts' connections.

/// Where an accepted connection comes from, as far as the driver knows: equal for connections of one host, so that one host's
/// flood is told from many hosts' connections. An IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source(pub u64);

impl Source {
    /// The host with that address.
    #[must_use]
    pub fn of(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => Self(v4.to_bits().into()),
            core::net::IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}
