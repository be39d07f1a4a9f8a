//! What happens on connections: who dials whom, what is said, when it arrives, and when an end learns that it is over.

use dbmirror_core::crypto::Provider;
use dbmirror_core::endpoint::{ConnectionId, DialError, Source};
use dbmirror_core::message::codec::Message;

use crate::net::{End, Pipe, WINDOW, Way};
use crate::tap;
use crate::traps::Moment;
use crate::world::{What, World};

impl<P: Provider + 'static> World<P> {
    // ---- connections ----

    fn lateness(&mut self, from: usize, to: usize) -> u64 {
        let link = self.net.link(from, to);
        let mut span = link.base + self.net_dice.below(link.jitter + 1);
        // What is lost comes by a later attempt, each of which waits twice as long.
        let mut again = 200_000;
        while link.loss > 0 && self.net_dice.below(1_000) < link.loss && again < 4_000_000 {
            span += again;
            again *= 2;
        }
        span + self.nodes[to].slowness
    }

    pub(crate) fn dial(&mut self, node: usize, connection: ConnectionId, to: usize) {
        self.say(|| format!("{node} dials {to}"));
        let run = self.nodes[node].run_number;
        let span = self.lateness(node, to) + self.lateness(to, node);
        self.after(
            span,
            What::Dialed {
                node,
                run,
                connection,
                to,
            },
        );
    }

    pub(crate) fn dialed(&mut self, node: usize, run: u64, connection: ConnectionId, to: usize) {
        if !self.lives(node, run) {
            return;
        }
        let fails = |error, span| Some((error, span));
        let failure = if self.net.link(node, to).clogged || self.net.link(to, node).clogged {
            if self.dice.once_in(2) {
                fails(DialError::TimedOut, 4_000_000)
            } else {
                fails(DialError::Unreachable, 1_000_000)
            }
        } else if self.nodes[to].dark {
            fails(DialError::Unreachable, 2_000_000)
        } else if self.nodes[to].run.is_none() {
            fails(DialError::Refused, 0)
        } else {
            None
        };
        if let Some((error, span)) = failure {
            self.after(span, What::DialFailed(node, run, connection, error));
            return;
        }
        let again = What::Dialed {
            node,
            run,
            connection,
            to,
        };
        if self.put_off(node, &again) || self.put_off(to, &again) {
            return;
        }
        let now = self.now;
        let waits = self.nodes[node]
            .with(now, |endpoint, _| endpoint.connection(connection).is_some())
            .unwrap_or(false);
        if !waits {
            return;
        }
        let source = Source(node as u64 + 1);
        let accepted = self.nodes[to].with(now, |endpoint, env| endpoint.accept(env, source));
        let Some(Ok(theirs)) = accepted else {
            self.after(0, What::DialFailed(node, run, connection, DialError::Refused));
            return;
        };
        self.serial += 1;
        let end = |node: usize, run: u64, connection| End {
            node,
            run,
            connection,
            arrived: Vec::new(),
            over: false,
            learning: false,
            full: false,
        };
        let to_run = self.nodes[to].run_number;
        let pipe = self.net.add(Pipe {
            ends: [end(node, run, connection), end(to, to_run, theirs)],
            ways: [Way::default(), Way::default()],
            dead: false,
            adrift: false,
            serial: self.serial,
        });
        for (end, (node, connection)) in [(node, connection), (to, theirs)].into_iter().enumerate() {
            if let Some(run) = &mut self.nodes[node].run {
                run.connections.push((connection, pipe, end));
                run.machine.endpoint().set_room(connection, WINDOW);
            }
        }
        self.say(|| format!("{node} is connected to {to} (connection {pipe})"));
        self.settle(to);
        self.nodes[node].with(now, |endpoint, env| endpoint.connected(env, connection));
        self.settle(node);
    }

    fn pipe_of(&self, node: usize, connection: ConnectionId) -> Option<(usize, usize)> {
        let run = self.nodes[node].run.as_ref()?;
        let (_, pipe, end) = run.connections.iter().find(|(known, ..)| *known == connection)?;
        Some((*pipe, *end))
    }

    pub(crate) fn transmit(&mut self, at: usize, connection: ConnectionId, bytes: Vec<u8>) {
        let Some((pipe, end)) = self.pipe_of(at, connection) else {
            self.fail(format!(
                "instance {at} sends on a connection that it does not have"
            ));
            return;
        };
        let to = match self.net.get(pipe) {
            Some(pipe) => pipe.ends[1 - end].node,
            None => return,
        };
        if self.readable {
            self.read_along(at, to, pipe, &bytes);
        }
        let late = self.lateness(at, to);
        let (now, rate) = (self.now, self.net.link(at, to).rate);
        let Some(found) = self.net.get(pipe) else { return };
        let serial = found.serial;
        if found.dead {
            return;
        }
        if found.ends[1 - end].over {
            if !std::mem::replace(&mut found.ends[end].learning, true) {
                self.after(late * 2, What::Learn(pipe, serial, end, true));
            }
            return;
        }
        let way = &mut found.ways[end];
        let wire = (bytes.len() as u64 * 1_000_000).checked_div(rate).unwrap_or(0);
        way.last = way.last.max(now + late) + wire;
        way.bytes += bytes.len();
        let span = way.last - now;
        way.flying.push_back((way.last, bytes));
        self.after(span, What::Deliver(pipe, serial, end));
    }

    fn read_along(&mut self, at: usize, to: usize, pipe: usize, bytes: &[u8]) {
        let (mut wrong, mut said) = (None, Vec::new());
        let (coverage, oracle, node) = (&mut self.coverage, &mut self.oracle, &self.nodes[at]);
        let (show, now) = (self.show, self.now);
        tap::messages(bytes, |message: Message<'_>| {
            coverage.message(message.kind());
            said.push(message.kind());
            if show && !matches!(message, Message::Ping(_)) {
                println!(
                    "{:>12.6}  {at} -> {to}  {}",
                    now as f64 / 1e6,
                    tap::line(&message)
                );
            }
            if wrong.is_none() {
                wrong = oracle.claimed(node, &message);
            }
        });
        if let Some(wrong) = wrong {
            self.fail(format!("instance {at} claims to {to}: {wrong}"));
        }
        for kind in said {
            self.moment(at, Moment::Said(kind), Some((pipe, to)));
        }
    }

    pub(crate) fn close(&mut self, at: usize, connection: ConnectionId) {
        let Some((pipe, end)) = self.pipe_of(at, connection) else {
            return; // It was never connected.
        };
        if let Some(run) = &mut self.nodes[at].run {
            run.connections.retain(|(known, ..)| *known != connection);
        }
        let to = self.net.get(pipe).map_or(at, |pipe| pipe.ends[1 - end].node);
        let late = self.lateness(at, to);
        let now = self.now;
        let Some(found) = self.net.get(pipe) else { return };
        let serial = found.serial;
        found.ends[end].over = true;
        found.ways[end].closed = true;
        let span = found.ways[end].last.max(now + late) - now;
        if !self.net.tidy(pipe) {
            self.after(span, What::Deliver(pipe, serial, end));
        }
    }

    pub(crate) fn deliver(&mut self, pipe: usize, serial: u64, from: usize) {
        let now = self.now;
        let Some(found) = self.net.get(pipe).filter(|pipe| pipe.serial == serial) else {
            return;
        };
        let (sender, receiver) = (found.ends[from].node, found.ends[1 - from].node);
        if found.dead || found.ends[1 - from].over {
            return;
        }
        if self.net.link(sender, receiver).clogged {
            return; // Taken up again when the way is free.
        }
        if self.put_off(receiver, &What::Deliver(pipe, serial, from)) {
            return;
        }
        let Some(found) = self.net.get(pipe) else { return };
        let way = &mut found.ways[from];
        let mut fresh = false;
        while let Some((_, bytes)) = way.flying.pop_front_if(|(at, _)| *at <= now) {
            way.bytes -= bytes.len();
            found.ends[1 - from].arrived.extend_from_slice(&bytes);
            fresh = true;
        }
        let (waiting, over) = (way.bytes, way.closed && way.flying.is_empty());
        if fresh {
            self.lend(pipe, 1 - from);
            // The sender may send more.
            let room = WINDOW.saturating_sub(waiting);
            if let Some(found) = self.net.get(pipe).filter(|pipe| pipe.serial == serial)
                && !found.ends[from].over
            {
                let connection = found.ends[from].connection;
                if let Some(run) = &mut self.nodes[sender].run {
                    run.machine.endpoint().set_room(connection, room);
                }
                self.settle(sender);
                self.lend(pipe, from);
            }
        }
        if over {
            self.learn(pipe, serial, 1 - from, false);
        }
    }

    /// Gives an instance what has come for it, as long as it takes some.
    fn lend(&mut self, pipe: usize, end: usize) {
        let now = self.now;
        for _ in 0..200 {
            if self.violation.is_some() {
                return;
            }
            let Some(found) = self.net.get(pipe) else { return };
            if found.ends[end].over || found.ends[end].arrived.is_empty() {
                return;
            }
            let (node, connection) = (found.ends[end].node, found.ends[end].connection);
            if self.nodes[node].hung_until > now {
                return; // It asks again when it goes on and sends.
            }
            let mut bytes = std::mem::take(&mut found.ends[end].arrived);
            let used = self.nodes[node].with(now, |endpoint, env| {
                endpoint.handle_input(env, connection, &mut bytes)
            });
            let Some(used) = used else { return };
            bytes.drain(..used.bytes);
            if let Some(found) = self.net.get(pipe) {
                found.ends[end].arrived = bytes;
            }
            self.settle(node);
            if used.bytes == 0 || used.need > 0 {
                return;
            }
        }
    }

    /// An end hears that the connection is over.
    pub(crate) fn learn(&mut self, pipe: usize, serial: u64, end: usize, error: bool) {
        let Some(found) = self.net.get(pipe).filter(|pipe| pipe.serial == serial) else {
            return;
        };
        if found.ends[end].over {
            return;
        }
        let (node, run, connection) = (
            found.ends[end].node,
            found.ends[end].run,
            found.ends[end].connection,
        );
        let other = found.ends[1 - end].node;
        if self.net.link(other, node).clogged && !error {
            self.after(500_000, What::Learn(pipe, serial, end, error));
            return;
        }
        if self.put_off(node, &What::Learn(pipe, serial, end, error)) {
            return;
        }
        if let Some(found) = self.net.get(pipe) {
            found.ends[end].over = true;
        }
        self.say(|| format!("{node} learns that its connection {pipe} to {other} is over"));
        if self.lives(node, run) {
            let now = self.now;
            self.nodes[node].with(now, |endpoint, env| endpoint.handle_eof(env, connection, error));
            self.settle(node);
            if let Some(run) = &mut self.nodes[node].run {
                run.connections.retain(|(known, ..)| *known != connection);
            }
        }
        self.net.tidy(pipe);
    }
}
