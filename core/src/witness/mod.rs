//! The witness: what one instance keeps for any number of sessions in which it holds no copy (`docs/safety.md` R3, R5, R8, R11).
//!
//! A witness answers and never begins: partners dial it, register their sessions, show it their records and ask it for the role. What
//! it answers is decided by [`crate::session::decide`] and by nothing here; this room keeps records, sees that they are durable before
//! anything of them is said (I5), knows who may speak, and puts answers into messages. Capacity is the number of places that
//! the caller lends ([`WitnessSlot`], [`WITNESS_SLOT_LEN_MAX`] bytes each); when they are taken a registration is refused, after the
//! places of dropped sessions have been given up.
//!
//! | file | |
//! | --- | --- |
//! | `stored` | the durable form |
//! | `table` | the places: finding, registering, forgetting, restoring |
//! | `member` | one session: binding with each partner (R2), what is heard |
//! | `speak` | what is said |
//! | `event` | events and view rows |

mod event;
mod member;
mod speak;
mod stored;
mod table;

pub use event::{WitnessEvent, WitnessPartnerView, WitnessView};
pub use stored::{WITNESS_STORED_LEN_MAX, WitnessPartner, WitnessStored};
pub use table::WitnessSlot;

pub(crate) use member::{Facts, Heard};
pub(crate) use table::{Registering, Used, Witness, WriteDue};

/// Most bytes that one place takes: sixteen of them fit a device (`docs/protocol.md`).
pub const WITNESS_SLOT_LEN_MAX: usize = 1_536;
const _: () = assert!(size_of::<WitnessSlot>() <= WITNESS_SLOT_LEN_MAX);

#[cfg(test)]
mod tests;
