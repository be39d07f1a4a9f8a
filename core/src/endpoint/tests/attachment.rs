//! What is kept beside a database for its partner goes along with the session.

use super::actions::SECOND;
use super::world::{DB, World};

fn held(world: &World, at: usize) -> Option<&[u8]> {
    let held = world.nodes[at].disk.attachments.get(&DB);
    held.map(|(_, bytes)| bytes.as_slice())
}

fn keep(world: &mut World, at: usize, version: u64, bytes: &[u8]) {
    let kept = (version, bytes.to_vec());
    world.nodes[at].disk.attachments.insert(DB, kept);
    world.pass(SECOND);
}

#[test]
fn it_comes_with_the_session_and_with_every_change() {
    let mut world = World::new(2, false);
    world.create(0);
    keep(&mut world, 0, 7, b"one");
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.pass(SECOND);
    assert_eq!(held(&world, 1), Some(&b"one"[..]));
    keep(&mut world, 0, 8, b"two");
    assert_eq!(held(&world, 1), Some(&b"two"[..]));
    // Nothing any more is something to say.
    keep(&mut world, 0, 9, b"");
    assert_eq!(held(&world, 1), Some(&b""[..]));
    // What the mirror keeps is not the principal's business.
    keep(&mut world, 1, 10, b"mine");
    world.pass(SECOND);
    assert_eq!(held(&world, 0), Some(&b""[..]));
}

#[test]
fn a_mirror_that_was_away_hears_it_on_the_next_binding() {
    let mut world = World::new(2, false);
    world.create(0);
    world.wait_for_seed(1, 0);
    world.start(0, 1);
    world.pass(SECOND);
    assert_eq!(held(&world, 1), None);
    keep(&mut world, 0, 1, b"one");
    // It lost what came: said again.
    world.nodes[1].disk.attachments.clear();
    world.crash(1, 9);
    world.restart(1);
    world.pass(SECOND);
    world.pass(SECOND);
    assert_eq!(held(&world, 1), Some(&b"one"[..]));
}
