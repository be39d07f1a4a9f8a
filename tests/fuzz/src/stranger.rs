//! A server and a client that hear whatever a stranger says: with every setting, before the handshake and after it.
//!
//! The first byte is the settings ([`Settings::from_byte`]), with 18 added for one that has shaken hands already; the second the size of
//! the pieces; the rest is what arrives.

use crate::side::{Settings, Side, all_at_once_or_in_pieces, shake_hands};

/// Settings that one byte can name; the next as many are established.
const SETTINGS: u8 = 18;

/// The body of the target `server`.
pub(crate) fn server(data: &[u8]) {
    let [settings, piece, bytes @ ..] = data else {
        return;
    };
    let victim = || {
        let mut server = Side::server(Settings::from_byte(*settings));
        if settings / SETTINGS % 2 == 1 {
            shake_hands(&mut Side::client(Settings::from_byte(*settings)), &mut server);
        }
        server
    };
    all_at_once_or_in_pieces(victim, *piece, bytes);
}

/// The body of the target `client`.
pub(crate) fn client(data: &[u8]) {
    let [settings, piece, bytes @ ..] = data else {
        return;
    };
    let victim = || {
        let mut client = Side::client(Settings::from_byte(*settings));
        client.flush();
        if settings / SETTINGS % 2 == 1 {
            shake_hands(&mut client, &mut Side::server(Settings::from_byte(*settings)));
        }
        client
    };
    all_at_once_or_in_pieces(victim, *piece, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_shakes_hands_with_itself() {
        for byte in 0..SETTINGS {
            let settings = Settings::from_byte(byte);
            let (mut client, mut server) = (Side::client(settings), Side::server(settings));
            shake_hands(&mut client, &mut server);
            let suite = settings.encryption.suites()[0];
            for side in [&client, &server] {
                let established = side.channel.established().expect("it stands");
                assert_eq!(established.suite, suite);
            }
        }
    }
}
