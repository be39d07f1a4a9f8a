//! The appliance's loop on the host: two devices on one cable, each the other's only peer. Time is what the test says it is.

mod bed;
mod rotation;

use dbmirror_adapters::nvm::settings::{Connect, Peer, SettingsError};
use dbmirror_adapters::nvm::{Key, Kind, Store, VALUE_LEN_MAX};
use dbmirror_firmware::appliance::{Place, Provisioned};
use dbmirror_firmware::{Refusal, Sha256};

use bed::{Bed, Person, Ram, run};

#[test]
fn two_devices_find_each_other_before_their_certificates_begin() {
    let (one, two) = (Person::new(1), Person::new(2));
    let memories = [one.memory(&[two.pin()], 0), two.memory(&[one.pin()], 0)];
    let logs = run([&one, &two], memories, |logs| {
        logs.iter().all(|log| log.has("Online") && log.has("Dialing"))
    });
    for log in logs {
        assert!(log.has("LoggedIn") && log.has("Ready"), "{:?}", log.0.borrow());
    }
}

#[test]
fn a_certificate_that_ended_before_the_floor_is_refused() {
    let (one, two) = (Person::new(1), Person::new(2));
    let memories = [one.memory(&[two.pin()], 3), two.memory(&[one.pin()], 0)];
    let logs = run([&one, &two], memories, |logs| {
        logs[0].has("number: 28035") && logs[1].has("number: 28047")
    });
    assert!(!logs[0].has("LoggedIn"), "{:?}", logs[0].0.borrow());
}

#[test]
fn who_is_not_known_or_not_granted_is_refused() {
    let (one, two, three) = (Person::new(1), Person::new(2), Person::new(3));
    let unknown = [one.memory(&[three.pin()], 0), two.memory(&[one.pin()], 0)];
    run([&one, &two], unknown, |logs| logs[0].has("number: 28035"));
    let denied = Peer {
        connect: Connect::Denied,
        ..two.pin()
    };
    let memories = [one.memory(&[denied], 0), two.memory(&[one.pin()], 0)];
    let logs = run([&one, &two], memories, |logs| logs[0].has("number: 28034"));
    // And nobody who is denied is dialed.
    assert!(!logs[0].has("Dialing"), "{:?}", logs[0].0.borrow());
}

#[test]
fn a_memory_that_lost_something_does_not_serve() {
    let (one, two) = (Person::new(1), Person::new(2));
    let lacking = |kind: Kind| {
        let ram = one.memory(&[two.pin()], 0);
        let mut store = Store::open::<Sha256>(ram, &one.device).unwrap();
        let gone: Vec<_> = store.keys(kind).collect();
        for key in gone {
            store.remove::<Sha256>(key).unwrap();
        }
        Provisioned::read(&mut Place::new(), store.into_flash(), &one.device, b"").err()
    };
    for kind in [
        Kind::Header,
        Kind::Network,
        Kind::Identity,
        Kind::Peer,
        Kind::Start,
        Kind::Floor,
    ] {
        let refusal = lacking(kind);
        assert_eq!(refusal, Some(Refusal::Settings(SettingsError::Missing(kind))));
        assert!(!refusal.unwrap().text().is_empty());
    }
    assert_eq!(lacking(Kind::Record), None, "a device without sessions serves");
    let ram = one.memory(&[two.pin()], 0);
    assert!(
        Provisioned::read(&mut Place::new(), ram, &two.device, b"").is_err(),
        "another device's key"
    );
}

/// What is not known, or has no randomness, does not serve, says which it is, and serves when it was provisioned anew.
#[test]
fn another_layout_or_a_lost_seed_is_told_and_healed_by_provisioning() {
    let (one, two) = (Person::new(1), Person::new(2));
    let spoilt = |spoil: &dyn Fn(&mut Store<Ram>)| {
        let mut store = Store::open::<Sha256>(one.memory(&[two.pin()], 0), &one.device).unwrap();
        spoil(&mut store);
        store.into_flash()
    };
    let another_layout = spoilt(&|store| {
        let key = Key::only(Kind::Header);
        let mut header = [0; VALUE_LEN_MAX];
        let len = store.get::<Sha256>(key, &mut header).unwrap().unwrap();
        header[0] += 1;
        store.put::<Sha256>(key, &header[..len]).unwrap();
    });
    let no_seed = spoilt(&|store| store.remove::<Sha256>(Key::only(Kind::Start)).unwrap());
    for (ram, text) in [
        (another_layout, "the memory has another layout"),
        (no_seed, "the seed is lost"),
    ] {
        let mut bed = Bed::new([&one, &two], [ram, two.memory(&[one.pin()], 0)]);
        for _ in 0..3 {
            let refusal = bed.start(0).expect_err("it does not serve");
            assert_eq!(refusal.text(), text);
        }
        bed.memories[0] = one.memory(&[two.pin()], 0);
        for at in [0, 1] {
            bed.start(at).unwrap();
        }
        bed.run(|bed| bed.logs.iter().all(|log| log.has("Online")));
    }
}
