//! One seed from its beginning to its verdict.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dbmirror_core::crypto::Provider;

use dbmirror_core::crypto::rustcrypto::RustCrypto;

use crate::coverage::Coverage;
use crate::plan::{DriverBug, Focus, Plan};
use crate::provider::Simulated;
use crate::world::{Violation, What, World};

/// After the faults everything has to be level within this.
const CONVERGE: u64 = 240_000_000;
const SECOND: u64 = 1_000_000;

/// How a seed is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// With the real cryptography, which hides what is said.
    pub real: bool,
    /// Prints the message flow.
    pub show: bool,
    /// A bug of what drives the endpoint.
    pub bug: Option<DriverBug>,
    /// What the seed is about, where it is not about everything.
    pub focus: Option<Focus>,
}

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What happened.
    pub coverage: Coverage,
    /// What should not have.
    pub violation: Option<Violation>,
}

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, settings: Settings) -> Outcome {
    let mut plan = settings
        .focus
        .map_or_else(|| Plan::new(seed), |focus| Plan::focused(seed, focus));
    plan.bug = settings.bug;
    run_plan(plan, settings)
}

/// Runs a plan.
#[must_use]
pub fn run_plan(plan: Plan, settings: Settings) -> Outcome {
    let seed = plan.seed;
    let result = catch_unwind(AssertUnwindSafe(|| {
        if settings.real {
            live::<RustCrypto>(plan, settings, false)
        } else {
            live::<Simulated>(plan, settings, true)
        }
    }));
    let (coverage, violation) = result.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default();
        let violation = Violation {
            at: 0,
            text: format!("panic: {text}"),
        };
        (Coverage::default(), Some(violation))
    });
    Outcome {
        seed,
        coverage,
        violation,
    }
}

fn live<P: Provider + 'static>(
    plan: Plan,
    settings: Settings,
    readable: bool,
) -> (Coverage, Option<Violation>) {
    let mut world = World::<P>::new(plan, readable, settings.show);
    world.after(10 * SECOND, What::Fault);
    world.after(8 * SECOND, What::Operator);
    let span = world.plan.span;
    world.run_until(span);
    converge(&mut world);
    world.coverage.micros = world.now;
    world.coverage.seeds = 1;
    (world.coverage, world.violation)
}

/// Faults are over: everything becomes level, and stays alive.
fn converge<P: Provider + 'static>(world: &mut World<P>) {
    if world.violation.is_some() {
        return;
    }
    world.say(|| "faults are over".to_owned());
    world.calm();
    settle_down(world, "after the faults");
    // Credit was given back, and a redo that stands still holds nobody up.
    for node in 0..world.nodes.len() {
        world.nodes[node].redo_stalled = true;
    }
    for shop in 0..world.shops.len() {
        world.commit_now(shop, 20);
    }
    let until = world.now + 30 * SECOND;
    let mut behind = None;
    while world.violation.is_none() && world.now < until {
        let next = world.now + SECOND / 4;
        world.run_until(next);
        behind = world.unhardened();
        if behind.is_none() {
            break;
        }
    }
    if let Some(behind) = behind {
        world.fail(format!("while redo stands still: {behind}"));
    }
    for node in 0..world.nodes.len() {
        world.nodes[node].redo_stalled = false;
        if world.violation.is_none() {
            world.settle(node);
        }
    }
    settle_down(world, "after a burst");
    let next = world.now + 25 * SECOND;
    world.run_until(next);
    if world.violation.is_none()
        && let Some(text) = world.surplus()
    {
        world.fail(text);
    }
}

fn settle_down<P: Provider + 'static>(world: &mut World<P>, when: &str) {
    let until = world.now + CONVERGE;
    loop {
        if world.violation.is_some() {
            return;
        }
        let Some(text) = world.unsettled() else { return };
        if world.now >= until {
            world.fail(format!("{when} nothing becomes level: {text}"));
            return;
        }
        let next = world.now + SECOND / 2;
        world.run_until(next);
    }
}
