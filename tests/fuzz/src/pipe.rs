//! An honest pair with somebody in the pipe who changes what he likes, in whole records or in bytes.
//!
//! The first two bytes are the settings of client and server, then come changes of four bytes each: what (modulo 6), where (two bytes,
//! big-endian, in what both directions carry together), and with what.
//!
//! | what | |
//! | --- | --- |
//! | 0 | mixes the byte in |
//! | 1 | drops so many bytes, and one more |
//! | 2 | says so many bytes, and one more, twice |
//! | 3 | puts one byte in |
//! | 4 | exchanges the record with that number and the next one of the same flight |
//! | 5 | says the record with that number again at the end of the flight |
//!
//! After the handshake both sides talk, change their keys and close.

use dbmirror_core::channel::{CipherSuite, Encryption, HEAD_ROOM};

use crate::side::{Settings, Side};

/// Who is in the pipe.
struct Pipe<'c> {
    changes: &'c [u8],
    /// Bytes that came by before.
    position: usize,
    /// Records that came by before.
    records: usize,
    /// He has changed something.
    touched: bool,
}

impl Pipe<'_> {
    fn carry(&mut self, bytes: Vec<u8>) -> Vec<u8> {
        let honest = bytes.len();
        let mut list = records(&bytes);
        let numbers = self.records..self.records + list.len();
        let mut out = bytes.clone();
        for change in self.changes.chunks_exact(4) {
            let at = usize::from(u16::from_be_bytes([change[1], change[2]]));
            let [what, .., with] = *change else { continue };
            if what % 6 >= 4 {
                if !numbers.contains(&at) {
                    continue;
                }
                let n = at - self.records;
                if what % 6 == 4 && n + 1 < list.len() {
                    list.swap(n, n + 1);
                } else if let Some(record) = list.get(n).filter(|_| what % 6 == 5).cloned() {
                    list.push(record);
                }
                out = list.concat();
                continue;
            }
            let Some(at) = at.checked_sub(self.position).filter(|at| *at < out.len()) else {
                continue;
            };
            let end = out.len().min(at + 1 + usize::from(with));
            match what % 6 {
                0 => out[at] ^= with,
                1 => drop(out.drain(at..end)),
                2 => {
                    let again = out[at..end].to_vec();
                    out.splice(end..end, again);
                }
                _ => out.insert(at, with),
            }
        }
        self.touched |= out != bytes;
        self.position += honest;
        self.records = numbers.end;
        out
    }
}

/// `bytes` cut into records, as their headers say.
fn records(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let [_, _, _, high, low, ..] = rest {
        let len = rest
            .len()
            .min(HEAD_ROOM + usize::from(u16::from_be_bytes([*high, *low])));
        let (record, after) = rest.split_at(len);
        out.push(record.to_vec());
        rest = after;
    }
    out
}

/// The suite that two honest sides agree on: encryption wherever both can.
fn agreed(client: Settings, server: Settings) -> Option<CipherSuite> {
    use Encryption::{Disabled, Required};
    match (client.encryption, server.encryption) {
        (Disabled, Required) | (Required, Disabled) => None,
        (Disabled, _) | (_, Disabled) => Some(CipherSuite::Sha256Sha256),
        _ => Some(CipherSuite::Aes128GcmSha256),
    }
}

/// The body of the target.
pub(crate) fn pair(data: &[u8]) {
    let [ours, theirs, changes @ ..] = data else {
        return;
    };
    let settings = (Settings::from_byte(*ours), Settings::from_byte(*theirs));
    let (mut client, mut server) = (Side::client(settings.0), Side::server(settings.1));
    let mut pipe = Pipe {
        changes,
        position: 0,
        records: 0,
        touched: false,
    };
    let (mut from_client, mut from_server) = (Vec::new(), Vec::new());
    let mut turn = |client: &mut Side, server: &mut Side| {
        for _ in 0..6 {
            let bytes = pipe.carry(client.post());
            // An error is kept by the channel.
            let _ = server.take(&bytes);
            let bytes = pipe.carry(server.post());
            let _ = client.take(&bytes);
        }
        pipe.touched
    };
    turn(&mut client, &mut server);
    let suite = agreed(settings.0, settings.1);
    let mut exports = [[0; 32]; 2];
    let mut exported = 0;
    for (side, out) in [&client, &server].into_iter().zip(&mut exports) {
        exported += usize::from(side.channel.export(b"x", &[], out).is_ok());
    }
    for side in [&client, &server] {
        if let Some(established) = side.channel.established() {
            assert_eq!(Some(established.suite), suite, "nobody in the pipe chooses");
        }
    }
    assert!(
        exported < 2 || exports[0] == exports[1],
        "both stand, over different handshakes"
    );

    from_client.extend(client.say(b"from the client, in more than one record where records are small, as they are when a device asks for that"));
    from_server.extend(server.say(b"from the server"));
    turn(&mut client, &mut server);
    client.channel.update_keys();
    turn(&mut client, &mut server);
    from_client.extend(client.say(b"under the next keys"));
    server.channel.update_keys();
    from_server.extend(server.say(b"and these too"));
    turn(&mut client, &mut server);
    client.channel.close();
    turn(&mut client, &mut server);
    from_server.extend(server.say(b"last words"));
    server.channel.close();
    let touched = turn(&mut client, &mut server);

    // Without encryption the tag is a real one here, so what arrives is what was said, up to where it was changed.
    if suite == Some(CipherSuite::Sha256Sha256) {
        assert!(from_client.starts_with(&server.data) && from_server.starts_with(&client.data));
        assert!(
            !server.closed || server.data == from_client,
            "an end that was not the end"
        );
        assert!(
            !client.closed || client.data == from_server,
            "an end that was not the end"
        );
    }
    if !touched {
        assert_eq!(exported, if suite.is_some() { 2 } else { 0 });
        assert_eq!((&server.data, &client.data), (&from_client, &from_server));
        assert!(suite.is_none() || client.closed && server.closed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without an enemy every pair of settings stands and talks, or both sides know why not; the body asserts it.
    #[test]
    fn honest_pairs_of_all_settings() {
        for ours in 0..18 {
            for theirs in 0..18 {
                pair(&[ours, theirs]);
            }
        }
    }

    /// A byte that is changed after the handshake of a pair without encryption is noticed: the target tests something.
    #[test]
    fn a_change_is_noticed() {
        let settings = Settings::from_byte(2);
        let (mut client, mut server) = (Side::client(settings), Side::server(settings));
        crate::side::shake_hands(&mut client, &mut server);
        let _ = client.say(b"hello");
        let mut bytes = client.post();
        bytes[7] ^= 1;
        assert!(server.take(&bytes).is_err() && server.data.is_empty());
    }
}
