//! Connections between instances, and what is done to them.
//!
//! A connection is a pipe with an order of its own in each direction: bytes are late, never lost, as TCP has it; loss is lateness. A
//! *clogged* way lets nothing through and tells nobody. A *reset* ends a connection, and its ends learn of it when they like.

use std::collections::VecDeque;

use dbmirror_core::endpoint::ConnectionId;

/// Bytes that a connection takes before it is full.
pub const WINDOW: usize = 64 * 1024;

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    /// The instance.
    pub node: usize,
    /// Its run.
    pub run: u64,
    /// The connection there.
    pub connection: ConnectionId,
    /// Bytes that came and were not taken.
    pub arrived: Vec<u8>,
    /// It knows that the connection is over, or has ended it.
    pub over: bool,
    /// That it will learn so is under way.
    pub learning: bool,
    /// The sender was told that nothing more fits.
    pub full: bool,
}

/// One direction.
#[derive(Debug, Default)]
pub struct Way {
    /// Bytes under way, with their arrival.
    pub flying: VecDeque<(u64, Vec<u8>)>,
    /// Bytes of all of them.
    pub bytes: usize,
    /// The sender has ended it in order.
    pub closed: bool,
    /// When the last of them arrives.
    pub last: u64,
}

/// One connection.
#[derive(Debug)]
pub struct Pipe {
    /// Tells it from an earlier one in its place.
    pub serial: u64,
    /// Who dialed, and who accepted.
    pub ends: [End; 2],
    /// From each end to the other.
    pub ways: [Way; 2],
    /// Its machine is off at that end: nothing moves until somebody tells the other.
    pub dead: bool,
    /// What was sent before its sender died arrives all the same, after what comes over a newer connection.
    pub adrift: bool,
}

/// What happens to what goes from one instance to another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link {
    /// Nothing goes through.
    pub clogged: bool,
    /// What a step takes at least, in microseconds.
    pub base: u64,
    /// What it may take more.
    pub jitter: u64,
    /// Of a thousand pieces so many are lost, and come by a later attempt.
    pub loss: u64,
    /// Bytes a second that go through; 0 is no bound.
    pub rate: u64,
}

/// All connections and links.
#[derive(Debug, Default)]
pub struct Net {
    /// Places for connections.
    pub pipes: Vec<Option<Pipe>>,
    /// `links[from][to]`.
    pub links: Vec<Vec<Link>>,
}

impl Net {
    /// The link from one to another.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> Link {
        self.links[from][to]
    }

    /// A place for a connection.
    pub fn add(&mut self, pipe: Pipe) -> usize {
        match self.pipes.iter().position(Option::is_none) {
            Some(free) => {
                self.pipes[free] = Some(pipe);
                free
            }
            None => {
                self.pipes.push(Some(pipe));
                self.pipes.len() - 1
            }
        }
    }

    /// The connection.
    pub fn get(&mut self, pipe: usize) -> Option<&mut Pipe> {
        self.pipes.get_mut(pipe)?.as_mut()
    }

    /// Frees the places of connections that both ends have left.
    pub fn tidy(&mut self, pipe: usize) -> bool {
        let over = self
            .get(pipe)
            .is_some_and(|pipe| pipe.ends[0].over && pipe.ends[1].over);
        if over {
            self.pipes[pipe] = None;
        }
        over
    }
}
