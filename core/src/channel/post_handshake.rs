//! Messages after the handshake (RFC 8446 §4.6): KeyUpdate, and tickets that nobody will use.
//!
//! They are judged byte by byte, so that a ticket of any length needs no buffer.

use super::Role;
use super::error::ChannelError;
use super::messages::message_type::{KEY_UPDATE, NEW_SESSION_TICKET};

/// Where in the stream of messages the next byte lies.
pub(crate) struct PostHandshake {
    role: Role,
    state: State,
    /// Position in the message, for errors.
    at: u16,
}

#[derive(Clone, Copy)]
enum State {
    /// Before a message.
    Between,
    /// In the length, so many bytes seen.
    Length { message_type: u8, seen: u8, len: u32 },
    /// Before the one byte of a KeyUpdate.
    KeyUpdate,
    /// In a NewSessionTicket with so many bytes left.
    Ticket { left: u32, field: Field },
}

/// The fields of a NewSessionTicket (§4.6.1): lifetime and age_add of four bytes each, nonce<0..255>,
/// ticket<1..2^16-1>, extensions<0..2^16-2> of type and body<0..2^16-1>.
#[derive(Clone, Copy)]
enum Field {
    LifetimeAndAge { left: u8 },
    NonceLen,
    Nonce { left: u8 },
    TicketLen { seen: u8, len: u16 },
    Ticket { left: u16 },
    ExtensionsLen { seen: u8, len: u16 },
    ExtensionHeader { seen: u8, len: u16, left: u16 },
    ExtensionBody { body_left: u16, left: u16 },
    End,
}

/// What a byte completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completed {
    /// The peer's keys change behind this byte. With `answer`, ours are to change too.
    KeyUpdate { answer: bool },
    /// A ticket, to be forgotten.
    Ticket,
}

impl PostHandshake {
    pub(crate) const fn new(role: Role) -> Self {
        Self {
            role,
            state: State::Between,
            at: 0,
        }
    }

    /// Whether no message has begun that has not ended.
    pub(crate) const fn is_between(&self) -> bool {
        matches!(self.state, State::Between)
    }

    /// Takes the next byte.
    pub(crate) fn push(&mut self, byte: u8) -> Result<Option<Completed>, ChannelError> {
        let (next, completed) = self.step(byte)?;
        self.at = if matches!(next, State::Between) {
            0
        } else {
            self.at.saturating_add(1)
        };
        self.state = next;
        Ok(completed)
    }

    fn step(&self, byte: u8) -> Result<(State, Option<Completed>), ChannelError> {
        Ok(match self.state {
            State::Between => {
                let known = byte == KEY_UPDATE || (byte == NEW_SESSION_TICKET && self.role == Role::Client);
                if !known {
                    return Err(ChannelError::UnexpectedMessage { message_type: byte });
                }
                (
                    State::Length {
                        message_type: byte,
                        seen: 0,
                        len: 0,
                    },
                    None,
                )
            }
            State::Length {
                message_type,
                seen,
                len,
            } => {
                let len = (len << 8) | u32::from(byte);
                match (seen, message_type) {
                    (2, KEY_UPDATE) if len == 1 => (State::KeyUpdate, None),
                    (2, NEW_SESSION_TICKET) if len > 0 => (
                        State::Ticket {
                            left: len,
                            field: Field::LifetimeAndAge { left: 8 },
                        },
                        None,
                    ),
                    (2, message_type) => return Err(self.malformed(message_type)),
                    _ => (
                        State::Length {
                            message_type,
                            seen: seen.saturating_add(1),
                            len,
                        },
                        None,
                    ),
                }
            }
            State::KeyUpdate => {
                let answer = match byte {
                    0 => false,
                    1 => true,
                    _ => {
                        return Err(ChannelError::IllegalValue {
                            message_type: KEY_UPDATE,
                        });
                    }
                };
                (State::Between, Some(Completed::KeyUpdate { answer }))
            }
            State::Ticket { left, field } => {
                let field = field
                    .next(byte)
                    .ok_or_else(|| self.malformed(NEW_SESSION_TICKET))?;
                let left = left.saturating_sub(1);
                match (left, matches!(field, Field::End)) {
                    (0, true) => (State::Between, Some(Completed::Ticket)),
                    (0, false) | (_, true) => return Err(self.malformed(NEW_SESSION_TICKET)),
                    (_, false) => (State::Ticket { left, field }, None),
                }
            }
        })
    }

    const fn malformed(&self, message_type: u8) -> ChannelError {
        ChannelError::Malformed {
            message_type,
            at: self.at,
        }
    }
}

impl Field {
    /// The field that the byte behind `byte` belongs to; `None` when the lengths contradict each other.
    fn next(self, byte: u8) -> Option<Self> {
        let shifted = |len: u16| (len << 8) | u16::from(byte);
        Some(match self {
            Self::LifetimeAndAge { left: 1 } => Self::NonceLen,
            Self::LifetimeAndAge { left } => Self::LifetimeAndAge {
                left: left.checked_sub(1)?,
            },
            Self::NonceLen if byte == 0 => Self::TicketLen { seen: 0, len: 0 },
            Self::NonceLen => Self::Nonce { left: byte },
            Self::Nonce { left: 1 } => Self::TicketLen { seen: 0, len: 0 },
            Self::Nonce { left } => Self::Nonce {
                left: left.checked_sub(1)?,
            },
            Self::TicketLen { seen: 0, len } => Self::TicketLen {
                seen: 1,
                len: shifted(len),
            },
            Self::TicketLen { len, .. } => match shifted(len) {
                0 => return None,
                left => Self::Ticket { left },
            },
            Self::Ticket { left: 1 } => Self::ExtensionsLen { seen: 0, len: 0 },
            Self::Ticket { left } => Self::Ticket {
                left: left.checked_sub(1)?,
            },
            Self::ExtensionsLen { seen: 0, len } => Self::ExtensionsLen {
                seen: 1,
                len: shifted(len),
            },
            Self::ExtensionsLen { len, .. } => Self::extension(shifted(len)),
            Self::ExtensionHeader { seen: 3, len, left } => {
                let (body_left, left) = (shifted(len), left.checked_sub(1)?);
                match body_left {
                    0 => Self::extension(left),
                    _ => Self::ExtensionBody { body_left, left },
                }
            }
            Self::ExtensionHeader { seen, len, left } => Self::ExtensionHeader {
                seen: seen.checked_add(1)?,
                // The two bytes of the type come first, and are shifted out again by those of the length.
                len: shifted(len),
                left: left.checked_sub(1)?,
            },
            Self::ExtensionBody { body_left: 1, left } => Self::extension(left.checked_sub(1)?),
            Self::ExtensionBody { body_left, left } => Self::ExtensionBody {
                body_left: body_left.checked_sub(1)?,
                left: left.checked_sub(1)?,
            },
            Self::End => return None,
        })
    }

    /// Before an extension, with so many bytes left for extensions.
    const fn extension(left: u16) -> Self {
        match left {
            0 => Self::End,
            left => Self::ExtensionHeader {
                seen: 0,
                len: 0,
                left,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn run(role: Role, bytes: &[u8]) -> Result<Vec<Completed>, ChannelError> {
        let mut parser = PostHandshake::new(role);
        let mut completed = Vec::new();
        for byte in bytes {
            completed.extend(parser.push(*byte)?);
        }
        assert!(parser.is_between(), "cut short");
        Ok(completed)
    }

    fn ticket(body: &[u8]) -> Vec<u8> {
        let mut message = vec_of(&[4, 0, 0, u8::try_from(body.len()).unwrap()]);
        message.extend_from_slice(body);
        message
    }

    fn vec_of(bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    #[test]
    fn key_updates() {
        assert_eq!(
            run(Role::Server, &[24, 0, 0, 1, 0, 24, 0, 0, 1, 1]),
            Ok([
                Completed::KeyUpdate { answer: false },
                Completed::KeyUpdate { answer: true }
            ]
            .to_vec())
        );
        assert_eq!(
            run(Role::Server, &[24, 0, 0, 1, 2]),
            Err(ChannelError::IllegalValue { message_type: 24 })
        );
        for len in [0, 2] {
            let refused = run(Role::Client, &[24, 0, 0, len, 0]);
            assert_eq!(
                refused,
                Err(ChannelError::Malformed {
                    message_type: 24,
                    at: 3
                })
            );
        }
    }

    #[test]
    fn tickets_of_the_right_shape() {
        for good in [
            // lifetime, age_add, nonce, ticket, extensions
            &[0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 1, 7, 0, 0][..],
            &[0, 0, 0, 9, 1, 2, 3, 4, 2, 5, 5, 0, 2, 7, 7, 0, 0],
            &[0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 1, 7, 0, 4, 0, 42, 0, 0],
            &[
                0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 1, 7, 0, 13, 0, 42, 0, 4, 1, 2, 3, 4, 0, 43, 0, 1, 9,
            ],
        ] {
            assert_eq!(
                run(Role::Client, &ticket(good)),
                Ok([Completed::Ticket].to_vec()),
                "{good:?}"
            );
            assert!(run(Role::Server, &ticket(good)).is_err(), "a server gets none");
            for cut in 1..good.len() {
                assert!(
                    run(Role::Client, &ticket(&good[..cut])).is_err(),
                    "{good:?} cut at {cut}"
                );
            }
            let mut longer = good.to_vec();
            longer.push(0);
            assert!(
                run(Role::Client, &ticket(&longer)).is_err(),
                "{good:?} and one byte"
            );
        }
    }

    #[test]
    fn tickets_whose_lengths_lie() {
        for bad in [
            &[0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 0, 0, 0][..],
            &[0, 0, 0, 9, 1, 2, 3, 4, 9, 0, 1, 7, 0, 0],
            &[0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 1, 7, 0, 5, 0, 42, 0, 4, 1],
            &[0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 1, 7, 0, 3, 0, 42, 0],
            &[0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 1, 7, 0, 5, 0, 42, 0, 0, 1],
        ] {
            let refused = run(Role::Client, &ticket(bad));
            assert!(
                matches!(refused, Err(ChannelError::Malformed { message_type: 4, .. })),
                "{bad:?}"
            );
        }
        assert!(run(Role::Client, &ticket(&[])).is_err());
    }
}
