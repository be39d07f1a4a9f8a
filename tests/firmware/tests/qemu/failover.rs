//! The device decides who serves.

use std::net::Ipv4Addr;

use dbmirror_firmware_tests::group::{Application, Group};
use dbmirror_tests::processes::{assert_equal, count, open, signal};

/// The principal stands still while its application writes on: the device gives the role to the mirror, and the old principal, which
/// never noticed, is shut when it moves again.
#[test]
fn the_device_gives_the_role_away_and_the_loser_is_fenced() {
    let mut group = Group::new(Ipv4Addr::new(127, 201, 1, 1), &["HOST_A", "HOST_B"]);
    let mut board = group.board();
    let [file_a, file_b] = group.mirrored("shop", &mut board);
    group.hosts[0].ok("ALTER DATABASE shop SET PARTNER TIMEOUT 5");
    let [a, b] = [&group.hosts[0], &group.hosts[1]];

    let mut application = Application::start(&file_a);
    b.wait("the mirror follows", || match count(&file_b) {
        rows if rows > 50 => Ok(()),
        rows => Err(rows.to_string()),
    });
    // What is on the mirror now stays, whatever happens.
    let safe = count(&file_b);
    signal(a.pid(), "STOP");
    b.await_mirroring("shop", "mirroring_role_desc", "PRINCIPAL");
    b.await_mirroring("shop", "mirroring_role_sequence", "2");
    board.await_line("the role is granted to");
    assert_eq!(application.refused(), 0, "nobody has shut A so far");
    b.wait("B serves", || {
        open(&file_b)
            .execute("INSERT INTO t (v) VALUES ('written to B')", [])
            .map(drop)
            .map_err(|error| error.to_string())
    });
    let kept = count(&file_b) - 1;
    assert!(
        safe <= kept && kept <= application.last(),
        "{safe} {kept} {}",
        application.last()
    );

    // A moves again: it learns of the higher record, and shuts its copy. What the application has on its open connection is the copy that
    // the new seed puts aside: nothing that it writes there gets into either database.
    signal(a.pid(), "CONT");
    a.await_mirroring("shop", "mirroring_role_desc", "MIRROR");
    assert!(a.log().contains("takes no more writes here"), "{}", a.log());
    group.ready(1, "shop", 2, &board);
    let last = application.stop();
    assert!(last > kept, "{last} {kept}");
    a.wait("A is shut", || {
        match open(&file_a).execute("INSERT INTO t (v) VALUES ('no')", []) {
            Ok(_) => Err("A takes writes".to_owned()),
            Err(_) => Ok(()),
        }
    });
    assert_equal(b, a, "shop");
    assert_eq!(count(&file_a), kept + 1, "what A committed alone is gone from it");
    // The log of a failover, as docs/appliance.md has it.
    let log = board.log();
    println!("{}", log.join("\n"));
    let at = |text: &str| {
        log.iter()
            .position(|line| line.contains(text))
            .unwrap_or_else(|| panic!("{text:?} is not in\n{}", log.join("\n")))
    };
    let steps = [
        "ready name=WITNESS",
        "HOST_A_login is online",
        "registered by",
        "recorded role 1 ",
        "the role is granted to",
        "recorded role 2 ",
    ];
    let places = steps.map(at);
    assert!(
        places.is_sorted(),
        "{steps:?} at {places:?} of\n{}",
        log.join("\n")
    );
    assert!(log[at("the role is granted to")].contains("WARN"));
    assert!(log[at("the role is granted to")].ends_with("forced=false"));
    assert!(
        log.iter()
            .any(|line| line.contains("recorded role 1 ") && line.ends_with(" SYNC"))
    );
    assert!(
        !log.iter().any(|line| line.contains("ERROR")),
        "{}",
        log.join("\n")
    );

    // And back by an operator; the device records it.
    b.ok("ALTER DATABASE shop SET PARTNER FAILOVER");
    a.await_mirroring("shop", "mirroring_role_desc", "PRINCIPAL");
    group.ready(0, "shop", 3, &board);
    assert_equal(a, b, "shop");
    a.ok("ALTER DATABASE shop SET WITNESS OFF");
    // Said when the record is about to be removed.
    board.await_line("removed");
    a.wait("the device's memory has no record of it", || {
        match group.sessions() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        }
    });
}
