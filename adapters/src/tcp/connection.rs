//! One socket with its buffers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Instant as Clock;
use std::vec;
use std::vec::Vec;

use dbmirror_core::endpoint::ConnectionId;
use mio::net::TcpStream;

/// Bytes of the receive buffer: several records, so that one read brings many.
pub(super) const RECEIVE: usize = 128 * 1024;
/// Bytes that may wait for the network on one connection. Core sends no more than this room, so what is important never
/// waits behind more than this.
pub(super) const SEND: usize = 256 * 1024;
/// How often a draining connection is read in one turn.
const DRAIN_READS: usize = 8;

/// How far a connection is, as the socket sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The connect is under way, until then at most.
    Connecting { deadline: Clock },
    /// Open in both directions.
    Open,
    /// The connect has failed; core was told and will close it.
    Broken,
    /// Core has closed it: what is queued is sent, then it ends, at the deadline at the latest.
    Draining { deadline: Clock },
}

pub(super) struct Connection {
    pub id: ConnectionId,
    pub socket: TcpStream,
    pub peer: SocketAddr,
    pub stage: Stage,
    pub readable: bool,
    pub writable: bool,
    /// Everything was read: no more will come.
    pub ended: bool,
    /// The peer's end was shut down by us.
    said_bye: bool,
    /// The network takes nothing more: what is queued is thrown away, and what the peer said before is still read.
    deaf: bool,
    receive: Vec<u8>,
    /// The bytes in `receive` that wait for core.
    start: usize,
    end: usize,
    send: Vec<u8>,
    sent: usize,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, socket: TcpStream, peer: SocketAddr, stage: Stage) -> Self {
        // Commands and acknowledgements must not wait for more to come; batches are made here.
        let _ = socket.set_nodelay(true);
        Self {
            id,
            socket,
            peer,
            stage,
            readable: false,
            writable: false,
            ended: false,
            said_bye: false,
            deaf: false,
            receive: vec![0; RECEIVE],
            start: 0,
            end: 0,
            send: Vec::new(),
            sent: 0,
        }
    }

    /// The bytes that wait for core.
    pub(super) fn input(&mut self) -> &mut [u8] {
        &mut self.receive[self.start..self.end]
    }

    /// Core has taken `bytes` of them.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.start = (self.start + bytes).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Whether there is room to read into.
    pub(super) fn has_room(&self) -> bool {
        self.start > 0 || self.end < self.receive.len()
    }

    /// Reads what the network has, behind the bytes that wait. `Ok(None)` when there is nothing (or no room), `Ok(Some(0))`
    /// at the end.
    pub(super) fn fill(&mut self) -> io::Result<Option<usize>> {
        if self.end == self.receive.len() && self.start > 0 {
            self.receive.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end == self.receive.len() {
            return Ok(None);
        }
        match self.socket.read(&mut self.receive[self.end..]) {
            Ok(n) => {
                self.end += n;
                Ok(Some(n))
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(None)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if !self.deaf {
            self.send.extend_from_slice(bytes);
        }
    }

    /// Writing has failed. That the peer has gone says nothing about what it said before, which may be its goodbye: the
    /// connection ends where reading ends.
    pub(super) fn cannot_send(&mut self) {
        self.deaf = true;
        self.send.clear();
        self.sent = 0;
        self.readable = true;
    }

    /// Whether the network has refused what we said.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// How many more bytes may be queued.
    pub(super) fn room(&self) -> usize {
        SEND.saturating_sub(self.send.len() - self.sent)
    }

    pub(super) fn has_queued(&self) -> bool {
        self.sent < self.send.len()
    }

    /// Writes what is queued as far as the network takes it; says whether it took anything.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        let mut any = false;
        while self.writable && self.sent < self.send.len() {
            match self.socket.write(&self.send[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.sent += n;
                    any = true;
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if self.sent == self.send.len() {
            self.send.clear();
            self.sent = 0;
        } else if self.sent > SEND / 2 {
            self.send.drain(..self.sent);
            self.sent = 0;
        }
        Ok(any)
    }

    /// Ends a draining connection as far as it goes; true when the socket can be dropped. What the peer still sends is
    /// read and thrown away: closing over unread bytes would reset the connection, and the peer would lose our last alert.
    pub(super) fn drain(&mut self) -> bool {
        if self.flush().is_err() {
            return true;
        }
        if self.has_queued() {
            return false;
        }
        if !self.said_bye {
            self.said_bye = true;
            if self.ended || self.socket.shutdown(Shutdown::Write).is_err() {
                return true;
            }
        }
        // Not for ever: a peer that goes on sending must not hold the loop. The next turn reads on.
        for _ in 0..DRAIN_READS {
            if !self.readable {
                break;
            }
            (self.start, self.end) = (0, 0);
            match self.fill() {
                Ok(Some(0)) | Err(_) => return true,
                Ok(_) => {}
            }
        }
        false
    }
}
