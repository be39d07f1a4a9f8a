//! Small numbers of the model into core's types and back.

use crate::state::{A, LOG_MAX, Log, NOBODY, Partner, Rec, Witness, timeline_of};
use dbmirror_core::message::{
    Chain, ForkId, InstanceId, LogEnd, Position, Record, Sync, Timeline, Timelines,
};
use dbmirror_core::session::decide::takeover::Ask;
use dbmirror_core::session::decide::witness::{Keeping, Named};

/// A member's id.
pub const fn id(member: u8) -> InstanceId {
    InstanceId([member + 1; 16])
}

/// The member with that id.
pub const fn member(id: InstanceId) -> u8 {
    id.0[0] - 1
}

/// A record for core.
pub const fn record(rec: Rec) -> Record {
    Record {
        role_sequence: rec.role as u32,
        owner: id(rec.owner),
        sync_sequence: rec.number as u64,
        sync: if rec.sync { Sync::Sync } else { Sync::Unsync },
        forced: rec.forced,
    }
}

/// A record from core.
pub fn rec(record: &Record) -> Rec {
    Rec {
        role: record.role_sequence as u8,
        owner: member(record.owner),
        number: record.sync_sequence as u8,
        sync: record.sync == Sync::Sync,
        forced: record.forced,
    }
}

/// A partner's highest ask.
pub const fn ask(of: &Partner) -> Ask {
    Ask {
        number: of.ask as u32,
        open: of.ask_open,
        force: of.ask_force,
    }
}

/// What a witness keeps.
pub const fn keeping(of: &Witness) -> Keeping {
    match of.keeps {
        0 => Keeping::Blank,
        1 => Keeping::Record(record(of.rec)),
        _ => Keeping::Dropped {
            owner: id(of.rec.owner),
        },
    }
}

/// The witness as a partner names it.
pub fn named(witness: u8, pending: bool) -> Named {
    Named {
        witness: (witness != NOBODY).then(|| id(witness)),
        pending,
    }
}

/// The chain after `len` blocks: the blocks themselves, so that equal chains are equal histories.
pub fn chain(log: &Log, len: u64) -> Chain {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(log.0).take(len as usize) {
        *to = from;
    }
    Chain(bytes)
}

/// A log as core's end and timelines. The newest timeline counts though nothing lies in it yet.
pub fn history(log: &Log, newest: u8) -> (LogEnd, Timelines) {
    let mut list = [Timeline::default(); LOG_MAX + 1];
    let mut count = 0;
    let mut last = 0;
    let mut begin = |tag: u8, first: u64| {
        if tag > last {
            list[count] = Timeline {
                number: u32::from(tag >> 1),
                fork: ForkId(u64::from(tag)),
                first,
                chain_before: chain(log, first - 1),
            };
            count += 1;
            last = tag;
        }
    };
    let len = log.len();
    for (at, block) in log.0.iter().enumerate().take(usize::from(len)) {
        begin(timeline_of(*block), at as u64 + 1);
    }
    begin(newest, u64::from(len) + 1);
    let timelines = Timelines::new(&list[..count]).unwrap_or(Timelines::EMPTY);
    let sequence = u64::from(len);
    let position = timelines.locate(sequence).unwrap_or(Position::START);
    let end = LogEnd {
        position,
        chain: chain(log, sequence),
    };
    (end, timelines)
}

/// The other partner.
pub const fn other(partner: u8) -> u8 {
    1 - partner + A
}
