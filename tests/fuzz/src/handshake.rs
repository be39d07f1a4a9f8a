//! The handshake's messages, one by one: a peer that knows all secrets says what it likes, in good records.
//!
//! The first byte is the settings of the victim ([`Settings::from_byte`]), which is a client, with 18 added a server; the second the size
//! of the records that messages are cut into. Then come items: what (modulo 8), a length (two bytes, big-endian), and as much payload.
//!
//! | what | |
//! | --- | --- |
//! | 0 | the next message of an honest handshake, its Finished made right |
//! | 1 | the same, changed: each three bytes are a position (two bytes, big-endian) and what to mix in |
//! | 2 | a message of the type of the first byte, with the rest as its body |
//! | 3 | handshake bytes as they are |
//! | 4 | a record of the type of the first byte, with the rest as its content |
//! | 5 | the same in clear, whatever the keys |
//! | 6 | a Finished that is right for all that was said |
//! | 7 | the next message of an honest handshake is left out |

use dbmirror_core::channel::ChannelError;

use crate::puppet::{FINISHED, Puppet, honest, message};
use crate::side::Settings;

/// How many records in a row may carry nothing (docs/channel.md).
const IDLE_RECORDS_MAX: usize = 32;
/// Settings that one byte can name; the next as many are for a server.
const SETTINGS: u8 = 18;
/// Types of the messages that a client has to hear, and a server.
const TO_CLIENT: [u8; 6] = [2, 8, 13, 11, 15, 20];
const TO_SERVER: [u8; 4] = [1, 11, 15, 20];

/// Whether the victim is a client.
const fn faces_client(settings: u8) -> bool {
    (settings / SETTINGS).is_multiple_of(2)
}

/// Plays the items; the peer, and whether something was said that was no message.
fn play(settings: u8, piece: usize, items: &[u8]) -> (Puppet, bool) {
    let is_client = faces_client(settings);
    let settings = Settings::from_byte(settings);
    let (from_client, from_server) = honest(settings);
    let mut next = if is_client { from_server } else { from_client }.into_iter();
    let mut puppet = Puppet::facing(is_client, settings, piece);
    let mut odd = false;
    let mut rest = items;
    while let [what, high, low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (payload, after) = after.split_at(len);
        rest = after;
        match (what % 8, payload) {
            (0, _) => match next.next() {
                Some(message) if message.first() == Some(&FINISHED) => puppet.say_finished(),
                Some(message) => puppet.say(&message),
                None => {}
            },
            (1, changes) => {
                if let Some(mut message) = next.next() {
                    for change in changes.chunks_exact(3) {
                        let at = usize::from(u16::from_be_bytes([change[0], change[1]]));
                        if let Some(byte) = message.get_mut(at) {
                            *byte ^= change[2];
                        }
                    }
                    // Its type and its length may be others now: then it is bytes.
                    let len = message.len() - 4;
                    let whole = message[1..4] == u32::try_from(len).expect("24 bits").to_be_bytes()[1..];
                    odd |= !whole;
                    if whole {
                        puppet.say(&message);
                    } else {
                        puppet.say_bytes(&message);
                    }
                }
            }
            (2, [message_type, body @ ..]) => puppet.say(&message(*message_type, body)),
            (3, bytes) => {
                odd = true;
                puppet.say_bytes(bytes);
            }
            (4, [content_type, content @ ..]) => {
                odd |= *content_type == 22;
                puppet.send(*content_type, content);
            }
            (5, [content_type, content @ ..]) => {
                odd |= *content_type == 22;
                puppet.send_plain(*content_type, content);
            }
            (6, _) => puppet.say_finished(),
            (7, _) => drop(next.next()),
            _ => {}
        }
    }
    (puppet, odd)
}

/// The body of the target.
pub(crate) fn handshake(data: &[u8]) {
    let [settings, piece, items @ ..] = data else {
        return;
    };
    let (mut whole, odd) = play(*settings, usize::MAX, items);
    let (mut pieces, _) = play(*settings, usize::from(*piece), items);
    if pieces.victim.channel.error() == Some(ChannelError::Flood) {
        // Behind the handshake records that carry no data are counted, and a message in many pieces is many of them.
        assert!(
            pieces.records > IDLE_RECORDS_MAX || odd || whole.victim.seen() == pieces.victim.seen(),
            "a flood of {} records",
            pieces.records
        );
    } else if !odd {
        // The records that a message comes in make no difference.
        assert_eq!(whole.victim.seen(), pieces.victim.seen());
    }
    for puppet in [&mut whole, &mut pieces] {
        if puppet.victim.channel.established().is_none() {
            continue;
        }
        // Who stands has heard every message once and in order, and agrees with its peer on all that was said.
        let (mut ours, mut theirs) = ([0; 32], [0; 32]);
        puppet
            .victim
            .channel
            .export(b"x", &[], &mut ours)
            .expect("it stands");
        let exported = puppet.export(b"x", &mut theirs);
        if !odd {
            assert_eq!(
                exported.map(|()| theirs),
                Some(ours),
                "it stands over what was not said"
            );
            let (again, expected) = if faces_client(*settings) {
                (TO_CLIENT[0], &TO_CLIENT[..])
            } else {
                (TO_SERVER[0], &TO_SERVER[..])
            };
            let said = match puppet.said.as_slice() {
                [first, second, ..] if [*first, *second] == [again; 2] => &puppet.said[1..],
                said => said,
            };
            assert_eq!(said, expected);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::side::Side;

    fn stands(settings: u8, piece: usize, items: &[u8]) -> bool {
        play(settings, piece, items)
            .0
            .victim
            .channel
            .established()
            .is_some()
    }

    /// With what an honest peer says, and nothing else, the victim stands: the target gets behind every message.
    #[test]
    fn honest_messages_make_the_victim_stand() {
        for settings in 0..2 * SETTINGS {
            let count = if settings < SETTINGS {
                TO_CLIENT.len()
            } else {
                TO_SERVER.len()
            };
            for piece in [1, 5, usize::MAX] {
                assert!(
                    stands(settings, piece, &[0, 0, 0].repeat(count)),
                    "{settings} {piece}"
                );
                assert!(
                    !stands(settings, piece, &[0, 0, 0].repeat(count - 1)),
                    "{settings} {piece}"
                );
            }
            handshake(&[&[settings, 7][..], &[0, 0, 0].repeat(count)].concat());
        }
    }

    /// Behind the handshake a message may come in some records, and not in as many as would be a flood.
    #[test]
    fn a_ticket_in_many_small_records_is_a_flood() {
        let error = |piece, len: u16| {
            let mut items = [0, 0, 0].repeat(TO_CLIENT.len());
            items.push(2);
            items.extend((len + 1).to_be_bytes());
            items.push(4);
            items.extend(std::iter::repeat_n(0xff, usize::from(len)));
            play(0, piece, &items).0.victim.channel.error()
        };
        let malformed = error(usize::MAX, 60);
        assert!(
            matches!(malformed, Some(ChannelError::Malformed { message_type: 4, .. })),
            "{malformed:?}"
        );
        assert_eq!(error(2, 60), malformed);
        assert_eq!(error(1, 60), Some(ChannelError::Flood));
    }

    /// Data and a change of keys arrive after that, under either suite.
    #[test]
    fn data_and_a_change_of_keys_arrive() {
        for settings in [0, 2, SETTINGS, SETTINGS + 2] {
            let count = if settings < SETTINGS {
                TO_CLIENT.len()
            } else {
                TO_SERVER.len()
            };
            let mut items = [0, 0, 0].repeat(count);
            items.extend([4, 0, 3, 23, b'h', b'i']);
            items.extend([2, 0, 2, 24, 0]);
            items.extend([4, 0, 2, 23, b'!']);
            let (puppet, _) = play(settings, usize::MAX, &items);
            let victim: &Side = &puppet.victim;
            assert_eq!(victim.channel.error(), None);
            assert_eq!(victim.data, b"hi!", "{settings}");
        }
    }
}
