//! Server network addresses as operators type them: `TCP://host:port`.

use core::net::{IpAddr, SocketAddr};

use dbmirror_core::endpoint::DialError;

/// A server network address in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerAddress<'a> {
    /// Host name or numeric address, without the brackets of IPv6.
    pub host: &'a str,
    /// Port, from 1.
    pub port: u16,
}

impl<'a> ServerAddress<'a> {
    /// Takes `TCP://host:port`; `TCP` in any case, the port mandatory, an IPv6 address in brackets.
    ///
    /// # Errors
    /// [`DialError::BadAddress`] (1449).
    pub fn parse(text: &'a str) -> Result<Self, DialError> {
        let bad = DialError::BadAddress;
        let scheme = text
            .get(..6)
            .filter(|s| s.eq_ignore_ascii_case("tcp://"))
            .ok_or(bad)?;
        let rest = text.get(scheme.len()..).ok_or(bad)?;
        let (host, port) = match rest.strip_prefix('[') {
            Some(v6) => {
                let (host, port) = v6.split_once("]:").ok_or(bad)?;
                host.parse::<core::net::Ipv6Addr>().map_err(|_| bad)?;
                (host, port)
            }
            None => rest.split_once(':').ok_or(bad)?,
        };
        let fits = !host.is_empty()
            && host.len() <= 255
            && host
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._:%".contains(&b));
        let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let port = port.parse().ok().filter(|p: &u16| *p > 0).ok_or(bad)?;
        if fits && digits {
            Ok(Self { host, port })
        } else {
            Err(bad)
        }
    }

    /// The address, when the host is numeric.
    #[must_use]
    pub fn numeric(&self) -> Option<SocketAddr> {
        self.host
            .parse::<IpAddr>()
            .ok()
            .map(|ip| SocketAddr::new(ip, self.port))
    }

    /// The first address of the host. Asks the resolver, which may take its time.
    ///
    /// # Errors
    /// [`DialError::NoName`].
    #[cfg(feature = "std")]
    pub fn resolve(&self) -> Result<SocketAddr, DialError> {
        use std::net::ToSocketAddrs;
        let mut all = (self.host, self.port)
            .to_socket_addrs()
            .map_err(|_| DialError::NoName)?;
        all.next().ok_or(DialError::NoName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_operators() {
        let good = [
            ("TCP://HOST_A.example:7024", "HOST_A.example", 7024),
            ("tcp://127.0.0.1:1", "127.0.0.1", 1),
            ("Tcp://[::1]:65535", "::1", 65535),
        ];
        for (text, host, port) in good {
            assert_eq!(
                ServerAddress::parse(text).ok(),
                Some(ServerAddress { host, port }),
                "{text}"
            );
        }
        for bad in [
            "",
            "TCP://",
            "TCP://host",
            "TCP://host:",
            "TCP://:7024",
            "TCP://host:0",
            "TCP://host:65536",
            "TCP://host:+7",
            "UDP://host:1",
            "host:7024",
            "TCP://ho st:1",
            "TCP://host:7024/",
            "TCP://::1:7024",
            "TCP://[x]:1",
            "tcp:é//x:1",
        ] {
            assert_eq!(ServerAddress::parse(bad), Err(DialError::BadAddress), "{bad}");
        }
    }
}
