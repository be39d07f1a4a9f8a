//! What operators and applications do in a world, and what they see.

use std::vec::Vec;

use super::world::{DB, World, address};
use crate::endpoint::Event;
use crate::message::Text;
use crate::session::{
    MirrorCopy, Reason, ReseedReason, SessionEvent, SessionState, SessionView, StartAsPrincipal, WaitAsMirror,
};
use crate::time::Duration;

/// A second.
pub const SECOND: Duration = Duration::from_secs(1);

impl World {
    pub fn create(&mut self, at: usize) {
        let mut db = super::disk::Db::default();
        db.begin_timeline(at as u64 + 77);
        self.nodes[at].disk.dbs.insert(DB, db);
    }

    /// SET PARTNER on the future mirror, to be seeded.
    pub fn wait_for_seed(&mut self, at: usize, partner: usize) {
        self.nodes[at].disk.dbs.insert(DB, super::disk::Db::default());
        let command = WaitAsMirror {
            database: DB,
            name: Text::new("x").unwrap(),
            partner: address(partner),
            copy: None,
        };
        self.with(at, |e, env| e.wait_as_mirror(env, &command)).unwrap();
        self.run();
    }

    /// The same with a copy of `of`'s database as it is now.
    pub fn wait_with_copy(&mut self, at: usize, of: usize) {
        let mut db = self.nodes[of].disk.db(DB).clone();
        db.hard = db.blocks.len();
        let copy = MirrorCopy {
            family: crate::message::FamilyGuid([9; 16]),
            end: db.end(),
            timelines: db.timelines,
        };
        self.nodes[at].disk.dbs.insert(DB, db);
        let command = WaitAsMirror {
            database: DB,
            name: Text::new("x").unwrap(),
            partner: address(of),
            copy: Some(copy),
        };
        self.with(at, |e, env| e.wait_as_mirror(env, &command)).unwrap();
        self.run();
    }

    /// SET PARTNER on the future principal.
    pub fn start(&mut self, at: usize, partner: usize) {
        let fork = self.nodes[at].dice.next();
        let db = self.nodes[at].disk.db(DB);
        db.begin_timeline(fork);
        db.hard = db.blocks.len();
        let command = StartAsPrincipal {
            database: DB,
            name: Text::new("x").unwrap(),
            partner: address(partner),
            family: crate::message::FamilyGuid([9; 16]),
            end: db.end(),
            timelines: db.timelines,
        };
        self.with(at, |e, env| e.start_as_principal(env, &command))
            .unwrap();
        self.run();
    }

    /// A transaction on the principal's database.
    pub fn commit(&mut self, at: usize, value: u64, len: usize) {
        let end = self.nodes[at].disk.db(DB).append(value, len);
        self.with(at, |e, env| e.log_grew(env, DB, end));
    }

    pub fn view(&self, at: usize) -> Option<SessionView> {
        self.nodes[at].endpoint.sessions().find(|s| s.database == DB)
    }

    pub fn state(&self, at: usize) -> Option<SessionState> {
        self.view(at).map(|view| view.state)
    }

    pub fn session_events(&self, at: usize) -> Vec<SessionEvent> {
        self.nodes[at]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Session { event, .. } => Some(*event),
                _ => None,
            })
            .collect()
    }

    pub fn content(&mut self, at: usize) -> Vec<u64> {
        self.nodes[at].disk.db(DB).content()
    }

    pub fn assert_level(&mut self, principal: usize, mirror: usize) {
        let (p, m) = (self.view(principal).unwrap(), self.view(mirror).unwrap());
        assert_eq!(p.state, SessionState::Synchronized, "principal {p:?}");
        assert_eq!(m.state, SessionState::Synchronized, "mirror {m:?}");
        assert_eq!(p.end, m.end);
        assert_eq!(p.end, self.nodes[principal].disk.db(DB).end(), "the whole log");
        assert_eq!(p.hardened_on_both, p.end.position);
        assert_eq!(self.content(principal), self.content(mirror));
    }
}

/// A seeded session of two values, level; node 0 is the principal.
pub fn started(reversed: bool) -> World {
    let mut world = World::new(2, reversed);
    world.create(0);
    world.commit(0, 1, 40);
    world.commit(0, 2, 40);
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.pass(SECOND);
    world
}

/// Why the mirror was seeded, each time.
pub fn reseeds(world: &World) -> Vec<ReseedReason> {
    world
        .session_events(0)
        .iter()
        .filter_map(|event| match event {
            SessionEvent::Reseed { why, .. } => Some(*why),
            _ => None,
        })
        .collect()
}

/// Why a start failed.
pub fn start_failure(world: &World) -> Option<(u32, Reason)> {
    world.session_events(0).iter().find_map(|event| match event {
        SessionEvent::StartFailed(error) => Some((error.number, error.reason)),
        _ => None,
    })
}
