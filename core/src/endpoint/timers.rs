//! What is due because time has passed. Each timer is worked out from the state it belongs to; none is stored apart.

use super::close::CloseReason;
use super::poll::RECORD_MIN;
use super::slot::{Connection, Purpose, Reply, Stage};
use super::{Endpoint, Env};
use crate::crypto::Provider;
use crate::session::{Session, SessionEvent};
use crate::time::{Duration, Instant};

/// How long a connection that lost its place to another one stays, on the side that chose, and on the other.
const SPARE_CHOOSER: Duration = Duration::from_secs(2);
const SPARE_OTHER: Duration = Duration::from_secs(6);
/// How long a check of who answers at an address stays.
const VERIFY: Duration = Duration::from_secs(5);

impl<P: Provider> Endpoint<'_, P> {
    /// Time has passed.
    pub fn handle_timeout(&mut self, env: &mut Env<'_, P>) {
        self.present(env);
        self.forget_expired_window();
        // Before a connection ends for its silence: its sessions are to know that their partner was silent.
        for at in 0..self.session_count() {
            self.judge_silence(env, at);
        }
        for index in 0..self.connections.len() {
            let due = self
                .live(index)
                .filter(|live| live.closing.is_none())
                .and_then(|live| self.end_of(index, live));
            if let Some((at, reason)) = due
                && at <= self.now
            {
                self.end_connection(env, index, reason);
            }
        }
        for at in 0..self.session_count() {
            let link = self.session(at).and_then(Session::link);
            let guid = self.session(at).map(Session::guid);
            let met_on = self
                .session(at)
                .and_then(|session| session.starting)
                .and_then(|starting| starting.met_on);
            let tell_none = self.with_session(env, at, Session::tick);
            if tell_none == Some(true)
                && let (Some(link), Some(guid)) = (link.or(met_on), guid)
            {
                self.reply(link, Reply::None(guid));
            }
        }
    }

    /// When and why the connection ends if nothing more happens.
    fn end_of(&self, index: usize, live: &Connection<P>) -> Option<(Instant, CloseReason)> {
        let limits = &self.config.limits;
        match live.stage {
            Stage::Dialing => Some((
                live.opened.after(limits.handshake),
                CloseReason::Dial(super::DialError::TimedOut),
            )),
            Stage::Handshake => Some((live.opened.after(limits.handshake), CloseReason::HandshakeTimeout)),
            Stage::Hello => Some((live.last_heard.after(limits.idle), CloseReason::Idle)),
            Stage::Pairing => Some((
                live.login_time
                    .unwrap_or(live.opened)
                    .after(super::pairing::PAIRING),
                CloseReason::Idle,
            )),
            Stage::Online => {
                let link = self.id(index).as_u64();
                let longest = self
                    .sessions
                    .iter()
                    .filter_map(|slot| slot.0.as_ref())
                    .filter(|session| session.talks_on(link))
                    .map(Session::timeout)
                    .chain(self.witness.patience(link))
                    .max();
                let (patience, silent) = match longest {
                    Some(timeout) => (
                        Duration::from_micros(timeout.as_micros().saturating_add(limits.ping.as_micros())),
                        CloseReason::PingTimeout,
                    ),
                    None => (limits.idle, CloseReason::Idle),
                };
                let silence = (live.last_heard.after(patience), silent);
                let held = live.online_since.and_then(|since| match live.purpose {
                    Purpose::Probe { hold } => Some((since.after(hold), CloseReason::Done)),
                    Purpose::Verify => Some((since.after(VERIFY), CloseReason::Done)),
                    Purpose::Sessions | Purpose::Call | Purpose::Pair => None,
                });
                let chooser = self.config.instance < live.instance;
                let spare = live.spare_since.map(|since| {
                    let replaced = self
                        .connections
                        .iter()
                        .filter_map(|slot| slot.live.as_ref())
                        .any(|c| c.is_usable() && c.peer() == live.peer() && c.used > live.used);
                    let reason = if replaced {
                        CloseReason::Duplicate { newer_won: true }
                    } else {
                        CloseReason::Done
                    };
                    let patience = match (replaced, chooser) {
                        (false, _) => limits.idle,
                        (true, true) => SPARE_CHOOSER,
                        (true, false) => SPARE_OTHER,
                    };
                    (since.after(patience), reason)
                });
                [Some(silence), held, spare]
                    .into_iter()
                    .flatten()
                    .min_by_key(|(at, _)| *at)
            }
        }
    }

    /// When the connection has something to do by itself.
    pub(super) fn connection_wake(&self, index: usize) -> Option<Instant> {
        let live = self.live(index)?;
        if let Some(closing) = live.closing {
            return Some(closing.until);
        }
        let end = self.end_of(index, live).map(|(at, _)| at);
        let ping = (live.stage == Stage::Online && live.room >= RECORD_MIN && !live.channel.wants_write())
            .then_some(live.next_ping);
        [end, ping].into_iter().flatten().min()
    }

    /// A session whose partner was not heard for its time-out, or makes no progress, counts as having lost it (R9), while
    /// others on the same connection may be more patient.
    fn judge_silence(&mut self, env: &mut Env<'_, P>, at: usize) {
        let Some(session) = self.session(at) else { return };
        let heard = |link: Option<u64>| Some(self.live(self.linked(link?)?)?.last_heard);
        let over = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let was = (session.silence, session.tie.silence);
        let partner = was
            .0
            .judged(over(self.silence_at(session)), heard(session.link()));
        let witness = was
            .1
            .judged(over(self.tie_silence_at(session)), heard(session.tie.link));
        if (partner, witness) != was {
            self.with_session(env, at, |session, ctx| {
                session.silence = partner;
                session.tie.silence = witness;
                if partner.is_silent() && !was.0.is_silent() {
                    (ctx.events)(SessionEvent::TimedOut);
                }
            });
        }
    }

    fn silence_at(&self, session: &Session) -> Option<Instant> {
        self.silence_on(session, session.link()?)
    }

    fn tie_silence_at(&self, session: &Session) -> Option<Instant> {
        self.silence_on(session, session.tie.link?)
    }

    /// When the session's witness becomes silent.
    pub(super) fn tie_silence_wake(&self, session: &Session) -> Option<Instant> {
        self.tie_silence_at(session)
            .filter(|_| !session.tie.silence.is_silent())
    }

    fn silence_on(&self, session: &Session, link: u64) -> Option<Instant> {
        let live = self.live(self.linked(link)?)?;
        let patience = session.timeout().as_micros();
        let ping = self.config.limits.ping.as_micros();
        let unheard = live
            .last_heard
            .after(Duration::from_micros(patience.saturating_add(ping)));
        let age = live.peer_age.as_micros();
        let stuck = (age > 0).then(|| {
            live.peer_age_at
                .after(Duration::from_micros(patience.saturating_sub(age)))
        });
        Some(stuck.map_or(unheard, |stuck| stuck.min(unheard)))
    }

    /// When a session that is heard of now becomes silent.
    pub(super) fn silence_wake(&self, session: &Session) -> Option<Instant> {
        self.silence_at(session).filter(|_| !session.silence.is_silent())
    }
}
