//! The byte-stream world: the endpoint over anything that `embedded-io` calls a stream: a modem, a serial line, another TCP/IP stack's
//! sockets. Without std and without an allocator.
//!
//! The caller lends one [`Line`] with two buffers for each connection, and calls [`Driver::poll`] when a stream has something to read or
//! to write, and at the latest at the instant that the last call named. Nothing blocks: a stream is read when it says that it is ready,
//! and written when it takes something; what it does not take yet waits in the line's buffer, and core says no more than that buffer holds.

use dbmirror_core::crypto::Provider;
use dbmirror_core::endpoint::{ConnectionId, DialError, Endpoint, Output, Source};
use dbmirror_core::message::Address;
use dbmirror_core::time::{Duration, Instant};
use embedded_io::{Read, ReadReady, Write, WriteReady};

use crate::world::World;

/// How long a closed connection may take to send what is queued.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a call serves each line at most: a peer that always has something to say keeps neither others nor time waiting.
const ROUNDS: usize = 256;

/// What a stream has to be.
pub trait Stream: Read + ReadReady + Write + WriteReady {}

impl<T: Read + ReadReady + Write + WriteReady> Stream for T {}

/// Makes streams to addresses. Connected when it returns: a stack that takes its time is called ahead, or answers
/// [`DialError::TimedOut`], after which core asks again.
pub trait Dialer<T> {
    /// A stream to `address`, as an operator typed it.
    ///
    /// # Errors
    /// Why there is none.
    fn dial(&mut self, address: &Address) -> Result<T, DialError>;
}

impl<T, F: FnMut(&Address) -> Result<T, DialError>> Dialer<T> for F {
    fn dial(&mut self, address: &Address) -> Result<T, DialError> {
        self(address)
    }
}

/// For who only answers.
#[derive(Clone, Copy, Debug)]
pub struct NoDialer;

impl<T> Dialer<T> for NoDialer {
    fn dial(&mut self, _: &Address) -> Result<T, DialError> {
        Err(DialError::Unreachable)
    }
}

/// The place of one connection.
pub struct Line<'a, T> {
    stream: Option<T>,
    stage: Stage,
    receive: &'a mut [u8],
    filled: usize,
    send: &'a mut [u8],
    queued: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Free,
    /// `deaf`: the stream takes nothing any more, and may still hold the other's last words; so long they are waited for.
    Open {
        id: ConnectionId,
        ended: bool,
        deaf: Option<Instant>,
    },
    Draining {
        deadline: Instant,
    },
}

impl<'a, T> Line<'a, T> {
    /// A free place. A record of the channel must fit into `receive`, and what core says at once into `send`: at least
    /// [`SEND_LEN_MIN`](dbmirror_core::endpoint::SEND_LEN_MIN) bytes.
    pub fn new(receive: &'a mut [u8], send: &'a mut [u8]) -> Self {
        Self {
            stream: None,
            stage: Stage::Free,
            receive,
            filled: 0,
            send,
            queued: 0,
        }
    }

    fn id(&self) -> Option<ConnectionId> {
        match self.stage {
            Stage::Open { id, .. } => Some(id),
            Stage::Free | Stage::Draining { .. } => None,
        }
    }

    fn open(&mut self, stream: T, id: ConnectionId) {
        self.stream = Some(stream);
        self.stage = Stage::Open {
            id,
            ended: false,
            deaf: None,
        };
        self.filled = 0;
        self.queued = 0;
    }

    /// The stream goes with all that was queued.
    fn free(&mut self) {
        self.stream = None;
        self.stage = Stage::Free;
    }

    fn room(&self) -> usize {
        match self.stage {
            Stage::Open { deaf: Some(_), .. } => 0,
            _ => self.send.len().saturating_sub(self.queued),
        }
    }
}

impl<T: Stream> Line<'_, T> {
    /// Gives the stream what it takes now. Whether something went; an error when the stream is broken.
    fn flush(&mut self) -> Result<bool, T::Error> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let mut moved = false;
        while self.queued > 0 && stream.write_ready()? {
            let written = stream
                .write(self.send.get(..self.queued).unwrap_or_default())?
                .min(self.queued);
            if written == 0 {
                break;
            }
            self.send.copy_within(written..self.queued, 0);
            self.queued = self.queued.saturating_sub(written);
            moved = true;
        }
        if moved {
            stream.flush()?;
        }
        Ok(moved)
    }

    /// Takes what the stream has now: how many bytes; `None` at its end.
    fn fill(&mut self) -> Result<Option<usize>, T::Error> {
        let (Some(stream), Some(free)) = (&mut self.stream, self.receive.get_mut(self.filled..)) else {
            return Ok(Some(0));
        };
        if free.is_empty() || !stream.read_ready()? {
            return Ok(Some(0));
        }
        let read = stream.read(free)?.min(free.len());
        self.filled = self.filled.saturating_add(read);
        Ok((read > 0).then_some(read))
    }
}

/// The lines of one endpoint.
pub struct Driver<'a, T> {
    lines: &'a mut [Line<'a, T>],
    scratch: &'a mut [u8],
    deadline: Option<Instant>,
}

impl<'a, T: Stream> Driver<'a, T> {
    /// A driver over `lines`. `scratch` takes what is sent, one record at a time: at least
    /// [`SEND_LEN_MIN`](dbmirror_core::endpoint::SEND_LEN_MIN) bytes.
    pub fn new(lines: &'a mut [Line<'a, T>], scratch: &'a mut [u8]) -> Self {
        Self {
            lines,
            scratch,
            deadline: None,
        }
    }

    /// A peer has connected from `source`. Answered by the stream when there is no place for it: drop it.
    ///
    /// # Errors
    /// The stream: no line is free, or the endpoint takes no connection.
    pub fn accept<P: Provider, W: World<P>>(
        &mut self,
        now: Instant,
        stream: T,
        source: Source,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
    ) -> Result<ConnectionId, T> {
        let Some(line) = self.lines.iter_mut().find(|line| line.stage == Stage::Free) else {
            return Err(stream);
        };
        match endpoint.accept(&mut world.env(now), source) {
            Ok(id) => {
                line.open(stream, id);
                Ok(id)
            }
            Err(_) => Err(stream),
        }
    }

    /// Moves everything on that can be, and returns when to be called again at the latest.
    pub fn poll<P: Provider, W: World<P>>(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
        dialer: &mut impl Dialer<T>,
    ) -> Option<Instant> {
        self.drain(now, endpoint, world, dialer);
        let mut more = self.serve_all(now, endpoint, world, dialer);
        // After that: what came while this side itself was not running was said in time.
        if self.deadline.is_some_and(|at| at <= now) {
            endpoint.handle_timeout(&mut world.env(now));
            self.drain(now, endpoint, world, dialer);
            more |= self.serve_all(now, endpoint, world, dialer);
        }
        if more {
            return Some(now);
        }
        let draining = self.lines.iter().filter_map(|line| match line.stage {
            Stage::Draining { deadline } => Some(deadline),
            Stage::Open { deaf, .. } => deaf,
            Stage::Free => None,
        });
        draining.chain(self.deadline).min()
    }

    /// Serves all lines in turn until nothing comes of it any more, so that what serving one, or time, has queued for another is written too.
    /// Whether there was more to do than one call does.
    fn serve_all<P: Provider, W: World<P>>(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
        dialer: &mut impl Dialer<T>,
    ) -> bool {
        for _ in 0..ROUNDS {
            let mut moved = false;
            for index in 0..self.lines.len() {
                if self.serve(now, index, endpoint, world) {
                    self.drain(now, endpoint, world, dialer);
                    moved = true;
                }
            }
            if !moved {
                return false;
            }
        }
        true
    }

    /// One step of a line. Whether anything came of it.
    fn serve<P: Provider, W: World<P>>(
        &mut self,
        now: Instant,
        index: usize,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
    ) -> bool {
        let Some(line) = self.lines.get_mut(index) else {
            return false;
        };
        let (id, ended, mut deaf) = match line.stage {
            Stage::Free => return false,
            Stage::Draining { deadline } => {
                // What still comes is thrown away.
                line.filled = 0;
                let broken = line.flush().is_err() || line.fill().is_err();
                if broken || line.queued == 0 || deadline <= now {
                    line.free();
                }
                return false;
            }
            Stage::Open { id, ended, deaf } => (id, ended, deaf),
        };
        let mut moved = false;
        let mut end = false;
        let mut broken = false;
        match line.flush() {
            Ok(sent) => moved = sent,
            Err(_) => {
                line.queued = 0;
                deaf = deaf.or(Some(now.after(DRAIN_TIMEOUT)));
                line.stage = Stage::Open { id, ended, deaf };
            }
        }
        match if ended { Ok(Some(0)) } else { line.fill() } {
            Ok(Some(0)) => broken = deaf.is_some_and(|until| until <= now),
            Ok(Some(_)) => moved = true,
            Ok(None) => end = true,
            Err(_) => broken = true,
        }
        // What came before the stream broke was said, and is heard.
        let mut waits = false;
        if line.filled > 0
            && let Some(input) = line.receive.get_mut(..line.filled)
        {
            let taken = endpoint.handle_input(&mut world.env(now), id, input);
            let consumed = taken.bytes.min(line.filled);
            waits = consumed == 0 && taken.need == 0;
            line.receive.copy_within(consumed..line.filled, 0);
            line.filled = line.filled.saturating_sub(consumed);
            moved |= consumed > 0;
        }
        // A full buffer of which nothing is taken is a record that is longer than the longest we said we take.
        let too_long = !moved && line.filled == line.receive.len();
        if (broken || (too_long && !end)) && !waits {
            line.free();
            endpoint.handle_eof(&mut world.env(now), id, true);
            return true;
        }
        if end && !waits {
            line.stage = Stage::Open {
                id,
                ended: true,
                deaf,
            };
            endpoint.handle_eof(&mut world.env(now), id, false);
            return true;
        }
        moved
    }

    /// Does what the endpoint asks until it waits. Call it after every command that the endpoint was given outside of
    /// [`Driver::poll`].
    pub fn drain<P: Provider, W: World<P>>(
        &mut self,
        now: Instant,
        endpoint: &mut Endpoint<'_, P>,
        world: &mut W,
        dialer: &mut impl Dialer<T>,
    ) {
        for line in self.lines.iter() {
            if let Some(id) = line.id() {
                endpoint.set_room(id, line.room());
            }
        }
        loop {
            match endpoint.poll_output(&mut world.env(now), self.scratch) {
                Output::Transmit { connection, bytes } => {
                    if let Some(line) = self.lines.iter_mut().find(|line| line.id() == Some(connection)) {
                        let end = line.queued.saturating_add(bytes.len());
                        // It fits: no more than the room that was told is ever given out.
                        if let Some(free) = line.send.get_mut(line.queued..end) {
                            free.copy_from_slice(bytes);
                            line.queued = end;
                        }
                    }
                }
                Output::Dial { connection, address } => {
                    let line = self.lines.iter_mut().find(|line| line.stage == Stage::Free);
                    let dialed = match line {
                        Some(line) => dialer.dial(&address).map(|stream| line.open(stream, connection)),
                        None => Err(DialError::Other),
                    };
                    match dialed {
                        Ok(()) => {
                            endpoint.connected(&mut world.env(now), connection);
                            if let Some(line) = self.lines.iter().find(|line| line.id() == Some(connection)) {
                                endpoint.set_room(connection, line.room());
                            }
                        }
                        Err(error) => endpoint.dial_failed(&mut world.env(now), connection, error),
                    }
                }
                Output::Close { connection, .. } => {
                    if let Some(line) = self.lines.iter_mut().find(|line| line.id() == Some(connection)) {
                        line.stage = Stage::Draining {
                            deadline: now.after(DRAIN_TIMEOUT),
                        };
                    }
                }
                Output::Persist { ticket, write } => world.persist(ticket, write),
                Output::Event(event) => world.event(endpoint, event, None),
                // The caller lent less than one record needs: nothing more can be sent, and nothing is lost.
                Output::NeedBuffer(_) => return,
                Output::Wait(until) => {
                    self.deadline = until;
                    return;
                }
            }
        }
    }
}
