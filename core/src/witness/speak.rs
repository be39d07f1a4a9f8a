//! What a witness says: built at the moment it is sent, from what is durable and from nothing else (`docs/safety.md` I5).

use super::member::Witnessed;
use crate::message::codec::{Confirm, Denial, Grant, HelloAgain, Message, None as NoSession, SessionHello};
use crate::message::{InstanceId, LogEnd, Record, Timelines};
use crate::session::Link;
use crate::session::decide::witness::Keeping;
use crate::wire::{Full, Writer};

impl Witnessed {
    /// What is to be said on `link`. [`Full`] means that the rest is said in the next record.
    pub(crate) fn say(&mut self, link: Link, to: &mut Writer<'_>, said: &mut u64) -> Result<(), Full> {
        let Some(stored) = self
            .kept
            .durable()
            .filter(|stored| stored.keeping != Keeping::Blank)
        else {
            return Ok(());
        };
        let (guid, record) = (stored.guid, stored.keeping.shown());
        let holds = matches!(stored.keeping, Keeping::Record(_));
        let properties = stored.properties;
        let mut say = |to: &mut Writer<'_>, message: Message<'_>| {
            message.encode(to)?;
            *said = said.saturating_add(1);
            Ok::<(), Full>(())
        };
        for (end, partner) in self.ends.iter_mut().zip(&stored.partners) {
            if end.link != Some(link) {
                continue;
            }
            if holds && (!end.said || end.hello_due.is_some()) {
                if let Some(answer) = end.hello_due {
                    say(to, HelloAgain { guid, answer }.into())?;
                }
                let hello = SessionHello {
                    guid,
                    record,
                    ask: 0,
                    witness: InstanceId::default(),
                    witness_role_sequence: 0,
                    witness_sync_sequence: 0,
                    witness_pending: false,
                    end: LogEnd::START,
                    wants_seed: false,
                    credit: 0,
                    properties,
                    timelines: Timelines::EMPTY,
                };
                say(to, hello.into())?;
                (end.said, end.hello_due) = (true, None);
            } else if end.none_due || end.hello_due.is_some() {
                // A dropped mark answers as who keeps nothing does, and is bound by that.
                say(to, NoSession { guid }.into())?;
                (end.said, end.none_due, end.hello_due) = (true, false, None);
            }
            if let Some((request, record)) = end.dropped {
                let confirm = Confirm {
                    guid,
                    request,
                    answer: true,
                    record,
                };
                say(to, confirm.into())?;
                end.dropped = None;
            }
            while let Some(request) = end.confirms.front().copied() {
                let confirm = Confirm {
                    guid,
                    request,
                    answer: true,
                    record,
                };
                say(to, confirm.into())?;
                end.confirms.pop_front();
            }
            if let Some((ask, granted)) = end.answer {
                say(to, answer(guid, ask, granted, record, partner.instance))?;
                end.answer = None;
            }
        }
        Ok(())
    }
}

/// A grant, unless the role has gone on to somebody else before it could be said: then what is held denies it.
fn answer(
    guid: crate::message::SessionGuid,
    ask: u32,
    granted: bool,
    record: Record,
    asker: InstanceId,
) -> Message<'static> {
    if granted && record.owner == asker {
        Grant { guid, ask, record }.into()
    } else {
        Denial { guid, ask, record }.into()
    }
}
