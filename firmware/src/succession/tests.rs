use dbmirror_adapters::nvm::settings::{LoginName, Peer};
use dbmirror_core::message::Address;

use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn pin(n: u8) -> Pin {
    Pin {
        sha256: [n; 32],
        point: [n; 65],
        not_before: UnixSeconds(0),
        not_after: UnixSeconds(NOW.0 + 1_000),
    }
}

fn ended(n: u8) -> Pin {
    Pin {
        not_after: UnixSeconds(NOW.0 - 1),
        ..pin(n)
    }
}

fn peer(login_id: u32, connect: Connect) -> Peer {
    let n = u8::try_from(login_id).unwrap();
    Peer {
        certificate_id: 256 + login_id,
        login_id,
        connect,
        pin: pin(n),
        login: LoginName::EMPTY,
        address: Address::EMPTY,
    }
}

/// Logins 1 and 2 may connect, 3 may not.
fn pins() -> Pins {
    let mut pins = Kept::new().pins;
    for (login, connect) in [(1, Connect::Granted), (2, Connect::Granted), (3, Connect::Denied)] {
        pins.peers.push(peer(login, connect)).unwrap();
    }
    pins
}

/// Stores what was decided; the place.
fn keep(pins: &mut Pins, change: Result<Change, SessionError>) -> usize {
    let Ok(Change::Keep(at, handed)) = change else {
        panic!("{change:?}");
    };
    pins.handed[at] = Some(handed);
    at
}

fn use_it(pins: &mut Pins, at: usize) {
    pins.handed[at].as_mut().unwrap().used = true;
}

fn refusal(change: Result<Change, SessionError>) -> (u32, Reason) {
    let error = change.unwrap_err();
    (error.number, error.reason)
}

#[test]
fn one_successor_of_a_login_waits_at_a_time() {
    let mut pins = pins();
    let change = pins.successor(1, pin(11), NOW);
    let at = keep(&mut pins, change);
    assert_eq!(
        pins.handed[at].unwrap().certificate_id,
        260,
        "a number that nobody has"
    );
    assert_eq!(pins.successor(1, pin(11), NOW), Ok(Change::Nothing), "told again");
    assert_eq!(
        refusal(pins.successor(1, pin(12), NOW)),
        (15232, Reason::SuccessorPending)
    );
    let change = pins.successor(2, pin(22), NOW);
    keep(&mut pins, change);
    use_it(&mut pins, at);
    let change = pins.successor(1, pin(12), NOW);
    assert_ne!(keep(&mut pins, change), at);
}

#[test]
fn a_login_fills_its_own_places_only() {
    let mut pins = pins();
    for n in [11, 12] {
        let change = pins.successor(1, pin(n), NOW);
        let at = keep(&mut pins, change);
        use_it(&mut pins, at);
    }
    let change = pins.successor(1, pin(13), NOW).unwrap();
    assert!(
        matches!(change, Change::Keep(0, handed) if handed.certificate_id == 262),
        "over the older one, which was left behind: {change:?}"
    );
    for n in [21, 22] {
        let change = pins.successor(2, pin(n), NOW);
        let at = keep(&mut pins, change);
        use_it(&mut pins, at);
    }
    // One that has ended gives its place up.
    pins.handed[1].as_mut().unwrap().pin = ended(12);
    let change = pins.successor(1, pin(13), NOW);
    assert_eq!(keep(&mut pins, change), 1);
}

#[test]
fn one_that_ended_while_it_waited_does_not_stand_in_the_way() {
    let mut pins = pins();
    let change = pins.successor(1, ended(11), UnixSeconds(NOW.0 - 10));
    keep(&mut pins, change);
    assert!(matches!(pins.successor(1, pin(12), NOW), Ok(Change::Keep(1, _))));
}

#[test]
fn what_is_anothers_is_refused() {
    let mut pins = pins();
    let mut of_two = pin(2);
    assert_eq!(
        refusal(pins.successor(1, of_two, NOW)),
        (15232, Reason::CertificateOfAnother)
    );
    of_two.sha256 = [99; 32];
    assert_eq!(
        refusal(pins.successor(1, of_two, NOW)),
        (15232, Reason::CertificateOfAnother),
        "its key in another certificate"
    );
    let change = pins.successor(2, pin(22), NOW);
    keep(&mut pins, change);
    assert_eq!(
        refusal(pins.successor(1, pin(22), NOW)),
        (15232, Reason::CertificateOfAnother),
        "what the other has handed over"
    );
}

#[test]
fn who_may_not_connect_hands_nothing_over() {
    for login in [0, 3, 4] {
        assert_eq!(
            refusal(pins().successor(login, pin(11), NOW)),
            (28034, Reason::NoAuthority)
        );
    }
}

#[test]
fn what_was_provisioned_stays_and_what_was_brought_goes_when_there_is_another() {
    let mut pins = pins();
    assert_eq!(pins.retired(1, &[1; 32], NOW), Change::Nothing, "provisioned");
    let change = pins.successor(1, pin(11), NOW);
    let at = keep(&mut pins, change);
    assert_eq!(pins.retired(2, &[11; 32], NOW), Change::Nothing, "another's");
    assert_eq!(pins.retired(1, &[11; 32], NOW), Change::Drop(at), "never used");
    use_it(&mut pins, at);
    for provisioned in [pins.peers[0].pin, ended(1)] {
        pins.peers[0].pin = provisioned;
        assert_eq!(
            pins.retired(1, &[11; 32], NOW),
            Change::Nothing,
            "nothing newer, and the key of the older one may be gone, or a thief's"
        );
    }
    let change = pins.successor(1, pin(12), NOW);
    let next = keep(&mut pins, change);
    assert_eq!(
        pins.retired(1, &[11; 32], NOW),
        Change::Nothing,
        "the other was not used yet"
    );
    use_it(&mut pins, next);
    assert_eq!(pins.retired(1, &[11; 32], NOW), Change::Drop(at));
}

#[test]
fn a_row_of_successors_and_then_one_an_hour() {
    let at = |seconds| Instant::ZERO.after(Duration::from_secs(seconds));
    let mut allowance = Allowance::default();
    for second in 10..14 {
        assert!(allowance.take(at(second)));
    }
    assert!(!allowance.take(at(14)));
    assert!(!allowance.take(at(3_609)));
    assert!(allowance.take(at(3_610)));
    assert!(!allowance.take(at(3_611)));
    // Long silence gives back one row and no more.
    let later = 1_000_000;
    for second in 0..4 {
        assert!(allowance.take(at(later + second)));
    }
    assert!(!allowance.take(at(later + 4)));
}
