//! The secure channel under bytes from an enemy, without cryptography, so that they get far.
//!
//! The first byte chooses who is attacked and the second the size of the pieces; the rest is what arrives:
//!
//! | first byte modulo 5 | under attack |
//! | --- | --- |
//! | 0 | a server that waits for a ClientHello |
//! | 1 | a client that has sent one |
//! | 2, 3 | an established server, client |
//! | 4 | an honest pair with a pipe that changes bytes: position (two bytes, big-endian), then what to mix in |

use crate::side::{Settings, Side, all_at_once_or_in_pieces};

/// A handshake between two honest sides over a pipe that changes bytes as `changes` say.
fn pair(changes: &[u8]) -> (Side, Side) {
    let settings = Settings::default();
    let (mut client, mut server) = (Side::client(settings), Side::server(settings));
    let mut position = 0;
    for _ in 0..20 {
        for client_speaks in [true, false] {
            let (from, to) = if client_speaks {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            let mut bytes = from.post();
            for change in changes.chunks_exact(3) {
                let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
                if let Some(byte) = at.checked_sub(position).and_then(|at| bytes.get_mut(at)) {
                    *byte ^= change[2];
                }
            }
            position += bytes.len();
            // An error is kept by the channel.
            let _ = to.take(&bytes);
        }
    }
    (client, server)
}

/// The body of the target.
pub fn record(data: &[u8]) {
    let [kind, piece, bytes @ ..] = data else { return };
    let victim = || match kind % 5 {
        0 => Side::server(Settings::default()),
        1 => {
            let mut client = Side::client(Settings::default());
            client.flush();
            client
        }
        2 => pair(&[]).1,
        _ => pair(&[]).0,
    };
    if kind % 5 == 4 {
        let (client, server) = pair(bytes);
        // Whoever is established has seen every byte of the other's as it was sent, or changed where nobody looks: so
        // both ends export the same, or one of them died.
        let (mut ours, mut theirs) = ([0; 32], [0; 32]);
        let exported = client
            .channel
            .export(b"x", &[], &mut ours)
            .and(server.channel.export(b"x", &[], &mut theirs));
        assert!(
            exported.is_err() || ours == theirs,
            "both stand, over different handshakes"
        );
        return;
    }
    all_at_once_or_in_pieces(victim, *piece, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without an enemy the pair stands: the target tests something.
    #[test]
    fn an_honest_pair_stands() {
        let (client, server) = pair(&[]);
        assert_eq!((client.channel.error(), server.channel.error()), (None, None));
        assert!(client.channel.established().is_some() && server.channel.established().is_some());
    }
}
