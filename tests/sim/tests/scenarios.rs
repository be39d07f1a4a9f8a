//! Groups of three without chance: the named scenarios of the quorum table, the reactions to loss, and how long a take-over takes.
//! Instance 0 begins as principal, 1 as mirror, 2 is the witness.

use dbmirror_core::session::{DatabaseId, Role, SessionState, SessionView};
use dbmirror_sim::faults::Undo;
use dbmirror_sim::plan::Plan;
use dbmirror_sim::provider::Simulated;
use dbmirror_sim::world::World;

const DB: DatabaseId = DatabaseId(5);
const SECOND: u64 = 1_000_000;
/// Later than any scenario lasts.
const NEVER: u64 = 100_000 * SECOND;

struct Group(World<Simulated>);

impl Group {
    /// A group that is level, commits, and has its witness (or none).
    fn new(witness: bool) -> Self {
        let mut plan = Plan::new(1);
        plan.nodes = 3;
        plan.shops.truncate(1);
        let shop = &mut plan.shops[0];
        shop.pair = [0, 1];
        shop.gated = true;
        shop.witness = witness.then_some(2);
        shop.pace = SECOND / 2;
        plan.link_base = 500;
        let mut group = Self(World::new(plan, true, false));
        group.pass(30 * SECOND);
        for at in 0..2 {
            let view = group.view(at);
            assert_eq!(view.state, SessionState::Synchronized, "instance {at}");
            assert_eq!(view.witness.is_some(), witness);
        }
        assert!(group.view(0).serves && !group.view(1).serves);
        assert!(group.view(1).may_take_over);
        group
    }

    fn pass(&mut self, span: u64) {
        let until = self.0.now + span;
        self.0.run_until(until);
        if let Some(violation) = &self.0.violation {
            panic!("at {} us: {}", violation.at, violation.text);
        }
    }

    fn view(&mut self, at: usize) -> SessionView {
        self.0.view(at, DB).expect("a session")
    }

    /// It answers, holds the role and is open to applications.
    fn serves(&mut self, at: usize) -> bool {
        let open = self.0.nodes[at].running(DB).is_some_and(|running| running.open);
        open && self
            .0
            .view(at, DB)
            .is_some_and(|view| view.role == Role::Principal && view.serves)
    }

    fn commits(&self) -> usize {
        self.0.nodes[0..2]
            .iter()
            .filter_map(|node| node.disk.db(DB))
            .map(|db| db.rows.len())
            .max()
            .unwrap_or(0)
    }

    fn die(&mut self, at: usize) {
        self.0.lose_power(at, NEVER);
    }

    fn back(&mut self, at: usize) {
        self.0.start(at);
    }

    fn cut(&mut self, a: usize, b: usize) {
        self.0.net.links[a][b].clogged = true;
        self.0.net.links[b][a].clogged = true;
    }

    fn mend(&mut self, a: usize, b: usize) {
        self.0.undo(Undo::Clog(a, b));
        self.0.undo(Undo::Clog(b, a));
    }

    /// Until `at` serves; the time that took.
    fn until_serves(&mut self, at: usize, most: u64) -> u64 {
        let from = self.0.now;
        while !self.serves(at) {
            assert!(self.0.now < from + most, "instance {at} does not serve");
            self.pass(SECOND / 200);
        }
        self.0.now - from
    }
}

#[test]
fn who_was_replaced_does_not_serve_before_who_replaced_it_returns() {
    let mut group = Group::new(true);
    group.die(0);
    group.until_serves(1, 40 * SECOND);
    group.pass(5 * SECOND);
    group.die(1);
    group.back(0);
    group.pass(60 * SECOND);
    assert!(!group.serves(0), "the witness says who owns the role");
    group.back(1);
    group.until_serves(1, 30 * SECOND);
    group.pass(30 * SECOND);
    assert_eq!(group.view(0).role, Role::Mirror);
    assert_eq!(group.view(1).state, SessionState::Synchronized);
}

#[test]
fn an_owner_without_anybody_stops_and_serves_again_when_the_witness_confirms_it() {
    let mut group = Group::new(true);
    group.cut(0, 2);
    group.cut(1, 2);
    group.pass(20 * SECOND);
    assert!(group.serves(0), "partner to partner");
    group.cut(0, 1);
    group.pass(20 * SECOND);
    assert!(!group.serves(0) && !group.serves(1), "nobody has a quorum");
    group.mend(0, 2);
    group.until_serves(0, 30 * SECOND);
    let before = group.commits();
    group.pass(10 * SECOND);
    assert!(group.commits() > before, "exposed, with the witness");
    group.mend(0, 1);
    group.mend(1, 2);
    group.pass(30 * SECOND);
    assert_eq!(group.view(0).state, SessionState::Synchronized);
}

#[test]
fn the_mirror_takes_over_within_two_round_trips_after_a_hard_error() {
    let mut group = Group::new(true);
    // The process dies, its machine refuses: the error is known at once.
    group.0.kill(0, NEVER);
    let took = group.until_serves(1, 10 * SECOND);
    // A way takes at most 1 ms and the records here at most 18 ms; the end itself is told within 200 ms.
    assert!(took < 400_000, "{took} us");
}

#[test]
fn the_mirror_takes_over_after_the_time_out_of_a_principal_that_hangs() {
    let mut group = Group::new(true);
    group.0.nodes[0].hung_until = group.0.now + 300 * SECOND;
    let took = group.until_serves(1, 40 * SECOND);
    assert!(
        took < 12 * SECOND,
        "{took} us: the time-out of ten seconds, and pings"
    );
}

#[test]
fn a_principal_that_loses_its_mirror_goes_on_exposed() {
    for witness in [false, true] {
        let mut group = Group::new(witness);
        group.die(1);
        group.pass(15 * SECOND);
        let before = group.commits();
        group.pass(10 * SECOND);
        assert!(group.serves(0) && group.commits() > before);
        assert_eq!(group.view(0).state, SessionState::Disconnected);
    }
}

#[test]
fn a_principal_that_loses_its_witness_goes_on_with_its_mirror() {
    let mut group = Group::new(true);
    group.die(2);
    group.pass(25 * SECOND);
    assert!(group.serves(0));
    assert_eq!(group.view(0).state, SessionState::Synchronized);
    group.die(1);
    group.pass(25 * SECOND);
    assert!(!group.serves(0), "nobody confirms it");
}

#[test]
fn a_mirror_without_a_witness_waits() {
    let mut group = Group::new(false);
    group.die(0);
    group.pass(60 * SECOND);
    assert!(!group.serves(1));
    assert_eq!(group.view(1).role, Role::Mirror);
}

#[test]
fn a_mirror_that_loses_both_waits() {
    let mut group = Group::new(true);
    group.cut(0, 1);
    group.cut(1, 2);
    group.pass(60 * SECOND);
    assert!(!group.serves(1) && group.serves(0));
}

#[test]
fn nobody_takes_over_while_the_witness_hears_the_principal() {
    let mut group = Group::new(true);
    group.cut(0, 1);
    group.pass(60 * SECOND);
    assert!(group.serves(0) && !group.serves(1));
}

#[test]
fn a_witness_that_loses_what_it_kept_is_registered_again() {
    let mut group = Group::new(true);
    group.0.kill(2, 2 * SECOND);
    group.0.nodes[2].disk.witnessed.clear();
    group.pass(30 * SECOND);
    assert_eq!(group.0.nodes[2].disk.witnessed.len(), 1);
    group.die(0);
    group.until_serves(1, 40 * SECOND);
}
