//! What a session says of records, roles and witnesses, to the other partner and to the witness. All of it states what is durable
//! (`docs/safety.md` I5), built at the moment it is sent.

use super::event::Reason;
use super::machine::{Ctx, Link, Session};
use super::stored::Stored;
use super::view::Role;
use crate::message::Address;
use crate::message::codec::{
    Confirm, Described, Drop, HelloAgain, Message, NameWitness, Propose, Refusal, Register, SessionHello,
};
use crate::wire::{Full, Writer};

impl Session {
    /// The hello of a durable record.
    pub(super) fn hello_of(&self, stored: &Stored, credit: u32) -> SessionHello {
        SessionHello {
            guid: stored.guid,
            record: stored.record,
            ask: if stored.ask_open { stored.ask } else { 0 },
            witness: stored.witness,
            witness_role_sequence: stored.witness_role_sequence,
            witness_sync_sequence: stored.witness_sync_sequence,
            witness_pending: stored.witness_pending,
            end: self.end,
            wants_seed: stored.wants_seed,
            credit,
            properties: stored.properties,
            timelines: stored.timelines,
        }
    }

    /// Another hello on a binding: after a change of role also where the other's has not come yet (docs/decisions/0006, 1).
    pub(super) fn say_hello_again(
        &mut self,
        ctx: &mut Ctx<'_>,
        to: &mut Writer<'_>,
        say: &mut impl FnMut(&mut Writer<'_>, Message<'_>) -> Result<(), Full>,
    ) -> Result<(), Full> {
        let Some(stored) = self.kept.durable().copied() else {
            return Ok(());
        };
        let guid = stored.guid;
        if let Some(answer) = self.due.hello
            && self.may_say_hello()
        {
            let hello = self.hello_of(&stored, ctx.credit);
            // Both or none: the second tells what the first is about.
            let before = to.len();
            say(to, HelloAgain { guid, answer }.into())?;
            if let Err(full) = say(to, hello.into()) {
                to.truncate(before);
                return Err(full);
            }
            self.due.hello = None;
            self.said_hello(ctx, ctx.credit);
        }
        Ok(())
    }

    /// What is due to the other partner of records, roles and witnesses. All of it states what is durable.
    pub(super) fn say_of_record(
        &mut self,
        to: &mut Writer<'_>,
        say: &mut impl FnMut(&mut Writer<'_>, Message<'_>) -> Result<(), Full>,
    ) -> Result<(), Full> {
        let Some(stored) = self.kept.durable().copied() else {
            return Ok(());
        };
        let (guid, record) = (stored.guid, stored.record);
        if let Some((record, end)) = self.due.propose {
            say(to, Propose { guid, record, end }.into())?;
            self.due.propose = None;
        }
        if self.due.decline {
            let refusal = Refusal {
                guid,
                kind: Propose::KIND,
                number: 1455,
                reason: Reason::Incomplete.code(),
            };
            say(to, refusal.into())?;
            self.due.decline = false;
        }
        // Under an open ask nothing is confirmed for the old owner (R3).
        if let Some(request) = self.due.confirm
            && !stored.ask_open
        {
            let answer = true;
            say(
                to,
                Confirm {
                    guid,
                    request,
                    answer,
                    record,
                }
                .into(),
            )?;
            self.due.confirm = None;
        }
        if self.due.record {
            let (request, answer) = (0, false);
            say(
                to,
                Confirm {
                    guid,
                    request,
                    answer,
                    record,
                }
                .into(),
            )?;
            self.due.record = false;
        }
        if let Some(request) = self.due.show {
            let answer = false;
            say(
                to,
                Confirm {
                    guid,
                    request,
                    answer,
                    record,
                }
                .into(),
            )?;
            self.due.show = None;
        }
        if let Some(pending) = self.due.name {
            let target = self
                .change
                .filter(|_| pending)
                .map_or(self.tie, |change| change.target);
            let message = NameWitness {
                guid,
                answer: false,
                record,
                witness: target.instance,
                pending,
                address: target.address,
            };
            say(to, message.into())?;
            self.due.name = None;
        }
        if self.due.named {
            let message = NameWitness {
                guid,
                answer: true,
                record,
                witness: stored.witness,
                pending: stored.witness_pending,
                address: Address::EMPTY,
            };
            say(to, message.into())?;
            self.due.named = false;
        }
        Ok(())
    }

    /// What is due to the witness, to the one that is to become it, and to the one that was.
    pub(super) fn say_to_witness(
        &mut self,
        link: Link,
        to: &mut Writer<'_>,
        say: &mut impl FnMut(&mut Writer<'_>, Message<'_>) -> Result<(), Full>,
    ) -> Result<(), Full> {
        let Some(stored) = self.kept.durable().copied() else {
            return Ok(());
        };
        let (guid, record) = (stored.guid, stored.record);
        let (owner, partner) = (stored.role == Role::Principal, stored.partner_instance);
        let (own_key, partner_key) = (self.own_key, self.partner_key);
        let register = |request| Register {
            guid,
            request,
            record,
            principal: record.owner,
            principal_key: own_key,
            mirror: partner,
            mirror_key: partner_key,
        };
        if let Some(retired) = &mut self.retired
            && retired.link == Some(link)
        {
            let request = 0;
            say(
                to,
                Drop {
                    guid,
                    request,
                    record,
                }
                .into(),
            )?;
            self.retired = None;
        }
        if self.established_tie(link) {
            let hello = SessionHello {
                end: crate::message::LogEnd::START,
                timelines: crate::message::Timelines::EMPTY,
                ..self.hello_of(&stored, 0)
            };
            let ask = self.ask_message();
            let tie = &mut self.tie;
            if !tie.hello_sent {
                say(to, hello.into())?;
                tie.hello_sent = true;
                tie.hello_due = None;
                tie.record_due = false;
            } else if let Some(answer) = tie.hello_due {
                let before = to.len();
                say(to, HelloAgain { guid, answer }.into())?;
                if let Err(full) = say(to, hello.into()) {
                    to.truncate(before);
                    return Err(full);
                }
                tie.hello_due = None;
            }
            if tie.record_due && tie.is_bound() && owner {
                let (request, answer) = (0, false);
                say(
                    to,
                    Confirm {
                        guid,
                        request,
                        answer,
                        record,
                    }
                    .into(),
                )?;
                tie.record_due = false;
            }
            if tie.is_bound() && owner && tie.described != Some(stored.properties) {
                let described = Described {
                    guid,
                    role_sequence: record.role_sequence,
                    family: stored.family,
                    properties: stored.properties,
                    name: stored.name,
                };
                say(to, described.into())?;
                tie.described = Some(stored.properties);
            }
            if tie.ask_due && tie.is_bound() {
                if let Some(ask) = ask {
                    say(to, ask.into())?;
                }
                tie.ask_due = false;
            }
            if let Some(request) = tie.register_due {
                say(to, register(request).into())?;
                tie.register_due = None;
            }
            if let Some(request) = tie.drop_due {
                say(
                    to,
                    Drop {
                        guid,
                        request,
                        record,
                    }
                    .into(),
                )?;
                tie.drop_due = None;
            }
        }
        if let Some(change) = &mut self.change
            && change.target.link == Some(link)
            && let Some(request) = change.target.register_due
        {
            say(to, register(request).into())?;
            change.target.register_due = None;
        }
        Ok(())
    }

    /// Whether the witness is talked to on `link`.
    fn established_tie(&self, link: Link) -> bool {
        self.is_established() && self.tie.link == Some(link)
    }

    /// Whether a registration is to be said on `link`, for which the endpoint lends the keys.
    pub(crate) fn registers_on(&self, link: Link) -> bool {
        self.ties()
            .any(|tie| tie.link == Some(link) && tie.register_due.is_some())
    }
}
