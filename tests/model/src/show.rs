//! A way through the states as lines that a person can read.

use crate::events::{Event, Way};
use crate::machine::{Machine, name};
use crate::mutation::Mutation;
use crate::settings::Setting;
use crate::state::{A, B, Kind, Log, Msg, NOBODY, PAIRS, Rec, State, W, id_of, timeline_of};
use std::fmt::Write;

fn rec(rec: Rec) -> String {
    format!(
        "({}, {}, {}, {}{})",
        rec.role,
        name(rec.owner),
        rec.number,
        if rec.sync { "SYNC" } else { "UNSYNC" },
        if rec.forced { ", forced" } else { "" }
    )
}

fn log(log: &Log) -> String {
    let blocks: Vec<String> = log
        .0
        .iter()
        .take_while(|b| **b != 0)
        .map(|b| {
            let void = if b >> 7 == 1 { " VOID" } else { "" };
            format!("{}@{}{void}", id_of(*b), timeline_of(*b) >> 1)
        })
        .collect();
    format!("[{}]", blocks.join(" "))
}

fn message(msg: &Msg, from: u8) -> String {
    let show = rec(msg.rec);
    match msg.kind {
        Kind::Hello | Kind::HelloAgain | Kind::HelloAnswer => {
            let mut text = if from < W {
                format!("hello {show}, log {}", log(&msg.log))
            } else if msg.at == 1 {
                format!("hello {show}")
            } else {
                "hello: no record".to_owned()
            };
            if from < W && msg.number != 0 {
                let _ = write!(text, ", open ask {}", msg.number);
            }
            if from < W && msg.flag {
                let _ = write!(text, ", witness {} pending", name(msg.what));
            }
            text
        }
        Kind::Record => format!("persist {show}"),
        Kind::Confirm => format!("persisted {show}"),
        Kind::ConfirmAgain => format!("confirm again, request {}", msg.number),
        Kind::Block => format!("block {} at {} under {}", id_of(msg.what), msg.at, msg.number),
        Kind::Ack => format!("hardened to {} under {}", msg.at, msg.number),
        Kind::Propose => format!("take {show}"),
        Kind::Decline => format!("not I, I have lost blocks: {show}"),
        Kind::Ask if msg.flag => format!("ask {} by force, my record {show}", msg.number),
        Kind::Ask => format!("ask {}, my record {show}", msg.number),
        Kind::Grant => format!("ask {} granted: {show}", msg.number),
        Kind::Denial => format!("ask {} denied, my record {show}", msg.number),
        Kind::Register => format!("register {show}"),
        Kind::Name => format!("name {} as pending witness at {show}", name(msg.what)),
        Kind::Drop => "you are not needed any more".to_owned(),
        Kind::Off => format!("WITNESS OFF under {show}"),
        Kind::IsOff => "off".to_owned(),
        Kind::Nothing => String::new(),
    }
}

fn line(setting: &Setting, state: &State, event: Event) -> String {
    let machine = Machine {
        setting,
        mutation: None,
        s: *state,
        full: false,
        owner_heard: false,
    };
    let both = |at: usize| format!("{}–{}", name(PAIRS[at].0), name(PAIRS[at].1));
    match event {
        Event::Deliver(at, way) => {
            let (low, high) = machine.ends(at);
            let link = &state.links[at];
            let (from, to, queue, note) = match way {
                Way::Old => (low, high, &link.old, " (on the older connection)"),
                Way::Up => (low, high, &link.up, ""),
                Way::Down => (high, low, &link.down, ""),
            };
            let text = message(&queue.list[0], from);
            format!("{} ─► {}  {text}{note}", name(from), name(to))
        }
        Event::Courtesy(at) => format!(
            "{}    the ask arrives; the witness has heard the owner lately",
            both(at)
        ),
        Event::Use(at) => {
            let (low, high) = machine.ends(at);
            format!(
                "{} ─► {}  USE: the newest connection from here on",
                name(low),
                name(high)
            )
        }
        Event::Connect(at) => format!("{}    a new connection is made", both(at)),
        Event::Cut(at) => format!("{}    the connection is cut", both(at)),
        Event::Notice(x, y) => format!(
            "{}      notices that its connection to {} is dead",
            name(x),
            name(y)
        ),
        Event::Crash(x) => format!("{}      crashes", name(x)),
        Event::Rot(x) => format!(
            "{}      crashes, and finds a hardened block of its log damaged",
            name(x)
        ),
        Event::Power(x) => format!("{}      loses power, and what was not synced", name(x)),
        Event::Restart(x) => format!("{}      starts again", name(x)),
        Event::Lose(x) => format!("{}      loses its storage", name(x)),
        Event::Commit(x) => format!(
            "{}      an application commits: block {}",
            name(x),
            state.ghost.drawn + 1
        ),
        Event::Synced(x) => format!("{}      its log is synced", name(x)),
        Event::Harden(x) => format!("{}      has hardened the block", name(x)),
        Event::Acknowledge(x, n) => format!("{}      ACKNOWLEDGES commit {n}", name(x)),
        Event::Kill(x) => format!("{}      the waiting application is killed", name(x)),
        Event::Open(x) => format!("{}      opens, or prepares to open without its mirror", name(x)),
        Event::Unsync(x) => format!("{}      has lost its mirror and records UNSYNC", name(x)),
        Event::Sync(x) => format!("{}      its mirror is level: records SYNC", name(x)),
        Event::Expose(x) => format!("{}      SUSPEND: records UNSYNC", name(x)),
        Event::Ask(x) => format!("{}      has lost its principal and asks the witness", name(x)),
        Event::Failover(x) => format!("{}      operator: FAILOVER", name(x)),
        Event::Force(x) => format!("{}      operator: FORCE_SERVICE_ALLOW_DATA_LOSS", name(x)),
        Event::Resume(x) => format!("{}      operator: RESUME", name(x)),
        Event::Register(x) => format!("{}      takes a step towards its blank witness", name(x)),
        Event::SetWitness(x, NOBODY) => format!("{}      operator: WITNESS OFF", name(x)),
        Event::SetWitness(x, w) => format!("{}      operator: WITNESS = {}", name(x), name(w)),
        Event::Change(x) => format!("{}      takes a step of its change of witness", name(x)),
    }
}

/// The steps of `way`, one a line, with what each changed durably.
pub fn story(setting: &Setting, mutation: Option<Mutation>, way: &[Event]) -> String {
    let mut out = String::new();
    let mut state = setting.start();
    for (n, event) in way.iter().enumerate() {
        let _ = write!(out, "{:4}  {}", n + 1, line(setting, &state, *event));
        let machine = Machine {
            setting,
            mutation,
            s: state,
            full: false,
            owner_heard: false,
        };
        let Some(next) = machine.step(*event) else {
            let _ = writeln!(out, "  (cannot happen)");
            break;
        };
        for x in [A, B] {
            let (before, after) = (&state.partners[usize::from(x)], &next.partners[usize::from(x)]);
            if before.kept != after.kept {
                let _ = write!(out, "   | {} keeps {}", name(x), rec(after.kept));
            }
            if before.log != after.log {
                let _ = write!(out, "   | log of {} {}", name(x), log(&after.log));
            }
            if !before.serves && after.serves {
                let _ = write!(out, "   | {} SERVES", name(x));
            }
            if before.serves && !after.serves {
                let _ = write!(out, "   | {} is closed", name(x));
            }
        }
        for (at, (before, after)) in state.witnesses.iter().zip(&next.witnesses).enumerate() {
            if before != after {
                let text = match after.keeps {
                    0 => "nothing".to_owned(),
                    1 => rec(after.rec),
                    _ => format!("dropped by {}", name(after.rec.owner)),
                };
                let _ = write!(out, "   | {} keeps {text}", name(W + at as u8));
            }
        }
        out.push('\n');
        state = next;
    }
    out
}
