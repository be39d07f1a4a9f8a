//! Certificates that are replaced over connections: the first device's own comes to its end, and the second one takes the successor.

use dbmirror_adapters::nvm::Store;
use dbmirror_adapters::nvm::settings::{Connect, IdentitySettings, Peer};
use dbmirror_adapters::nvm::succession::{HANDED_OVER_MAX, HandedOver, OwnSuccession};
use dbmirror_core::cert::Certificate;
use dbmirror_core::crypto::Hash as _;
use dbmirror_firmware::{Crypto, Sha256};

use crate::bed::{Bed, Person, Ram};

/// The first device's certificate is in its last third, by its floor of time; the second one's is not.
fn due<'p>(one: &'p Person, two: &'p Person) -> Bed<'p> {
    Bed::new(
        [one, two],
        [one.memory(&[two.pin()], 2), two.memory(&[one.pin()], 0)],
    )
}

fn both(bed: &mut Bed<'_>) {
    for at in [0, 1] {
        bed.start(at).unwrap();
    }
}

fn store(ram: &Ram, of: &Person) -> Store<Ram> {
    Store::open::<Sha256>(Ram::of(ram.bytes()), &of.device).unwrap()
}

fn identity(ram: &Ram, of: &Person) -> IdentitySettings {
    IdentitySettings::read::<Sha256, _>(&mut store(ram, of)).unwrap()
}

fn handed_over(ram: &Ram, of: &Person) -> Vec<HandedOver> {
    let mut store = store(ram, of);
    (0..HANDED_OVER_MAX)
        .filter_map(|number| HandedOver::read::<Sha256, _>(&mut store, number).unwrap())
        .collect()
}

fn is_done(bed: &Bed<'_>) -> bool {
    bed.logs[0].has("step: Done")
}

/// The rotation has come to its end on both sides.
fn assert_rotated(bed: &Bed<'_>, one: &Person, two: &Person) {
    let own = identity(&bed.memories[0], one);
    assert_ne!(own.certificate.as_bytes(), one.der);
    assert_eq!(own.certificate_id, 257);
    assert!(
        OwnSuccession::read::<Sha256, _>(&mut store(&bed.memories[0], one))
            .unwrap()
            .is_none()
    );
    let [handed] = handed_over(&bed.memories[1], two)[..] else {
        panic!("one certificate was handed over");
    };
    assert_eq!(handed.pin.sha256, Sha256::digest(own.certificate.as_bytes()));
    assert!(handed.used);
    let [new, old] =
        [own.certificate.as_bytes(), &one.der].map(|der| Certificate::parse::<Crypto>(der).unwrap());
    new.check_self_signature::<Crypto>().unwrap();
    assert_eq!(new.subject(), old.subject());
    assert_ne!(new.point(), old.point());
    assert!(new.not_after() > old.not_after());
}

#[test]
fn a_certificate_in_its_last_third_is_replaced_while_the_connection_stands() {
    let (one, two) = (Person::new(1), Person::new(2));
    let mut bed = due(&one, &two);
    both(&mut bed);
    bed.run(is_done);
    assert_rotated(&bed, &one, &two);
    let log = bed.logs[0].0.borrow().join("\n");
    let steps: Vec<usize> = ["Made", "Stored", "Switched", "Accepted", "GivenUp", "Done"]
        .iter()
        .map(|step| log.find(&format!("step: {step}")).expect(step))
        .collect();
    assert!(steps.is_sorted(), "{log}");
    assert!(!log.contains("number: 2804") && !log.contains("Refused"), "{log}");
    assert!(bed.logs[1].has("SuccessorStored"));
    // What an operator provisioned is not taken away on a peer's word.
    assert!(!bed.logs[1].has("CertificateDropped"));

    // Started anew, both know each other by the new one, and nothing is to be done.
    both(&mut bed);
    bed.run(|bed| bed.logs.iter().all(|log| log.has("Online")));
    assert!(!bed.logs[0].has("Rotation"), "{:?}", bed.logs[0].0.borrow());
    assert!(
        bed.logs[1].has("certificate: 257"),
        "{:?}",
        bed.logs[1].0.borrow()
    );
}

#[test]
fn nobody_is_asked_before_the_last_third() {
    let (one, two) = (Person::new(1), Person::new(2));
    let mut bed = Bed::new(
        [&one, &two],
        [one.memory(&[two.pin()], 1), two.memory(&[one.pin()], 0)],
    );
    both(&mut bed);
    bed.run(|bed| bed.logs.iter().all(|log| log.has("Online")));
    assert!(!bed.logs[0].has("Rotation"), "{:?}", bed.logs[0].0.borrow());
}

#[test]
fn a_login_that_may_connect_and_is_away_is_waited_for() {
    let (one, two) = (Person::new(1), Person::new(2));
    let away = Peer {
        login_id: 300,
        certificate_id: 301,
        pin: Person::new(3).pin().pin,
        ..two.pin()
    };
    let mut bed = Bed::new(
        [&one, &two],
        [one.memory(&[two.pin(), away], 2), two.memory(&[one.pin()], 0)],
    );
    both(&mut bed);
    bed.run(|bed| bed.logs[0].has("step: Stored"));
    bed.start(1).unwrap();
    bed.run(|bed| bed.logs[1].has("Online"));
    assert!(!bed.logs[0].has("Switched"), "{:?}", bed.logs[0].0.borrow());
    assert_eq!(identity(&bed.memories[0], &one).certificate.as_bytes(), one.der);

    // Of one that may not connect nothing is expected.
    let denied = Peer {
        connect: Connect::Denied,
        ..away
    };
    let mut bed = Bed::new(
        [&one, &two],
        [one.memory(&[two.pin(), denied], 2), two.memory(&[one.pin()], 0)],
    );
    both(&mut bed);
    bed.run(is_done);
}

/// The power goes at each write of the device `at` in turn, torn in the middle, and comes back: the rotation goes on, and at no moment do
/// the two not know each other.
fn cut_at_every_write(at: usize) {
    let (one, two) = (Person::new(1), Person::new(2));
    let begun = due(&one, &two).memories.map(|ram| ram.bytes());
    let mut cuts = 0;
    for left in 0.. {
        let mut bed = Bed::new([&one, &two], begun.clone().map(Ram::of));
        both(&mut bed);
        bed.memories[at].cut_after(left);
        bed.run(|bed| is_done(bed) || bed.has_failed(at));
        if is_done(&bed) {
            break;
        }
        cuts += 1;
        bed.start(at).unwrap();
        // The last write may have been whole.
        let over = identity(&bed.memories[0], &one).certificate_id == 257
            && OwnSuccession::read::<Sha256, _>(&mut store(&bed.memories[0], &one))
                .unwrap()
                .is_none();
        bed.run(|bed| is_done(bed) || over && bed.logs[at].has("Online"));
        assert_rotated(&bed, &one, &two);
    }
    assert!(cuts > 8, "{cuts} writes were cut");
}

#[test]
fn the_power_goes_at_any_write_of_the_one_that_rotates() {
    cut_at_every_write(0);
}

#[test]
fn the_power_goes_at_any_write_of_the_one_that_stores_the_successor() {
    cut_at_every_write(1);
}
