//! The device loses its power, at every step of a failover.

use std::net::Ipv4Addr;
use std::time::Duration;

use dbmirror_firmware_tests::group::{Application, Group};
use dbmirror_tests::processes::{assert_equal, count};

/// Milliseconds between the death of the principal and the device's: around the mirror's ask, the device's record of the grant and
/// its answer.
const STEPS: [u64; 8] = [0, 5, 10, 15, 20, 30, 60, 300];

#[test]
fn a_power_cut_at_any_step_of_a_failover_gives_one_principal_and_loses_nothing() {
    let mut group = Group::new(Ipv4Addr::new(127, 202, 1, 1), &["HOST_A", "HOST_B"]);
    let mut board = group.board();
    let files = group.mirrored("shop", &mut board);
    let mut role_sequence = 1;
    let mut granted_before_the_cut = 0;
    for (round, step) in STEPS.into_iter().enumerate() {
        let (old, new) = (round % 2, 1 - round % 2);
        let mut application = Application::start(&files[old]);
        let before = count(&files[new]);
        group.hosts[new].wait("the mirror follows", || match count(&files[new]) {
            rows if rows > before + 10 => Ok(()),
            rows => Err(rows.to_string()),
        });
        let safe = count(&files[new]);
        group.hosts[old].kill();
        std::thread::sleep(Duration::from_millis(step));
        let log = board.log();
        granted_before_the_cut += usize::from(log.iter().any(|line| line.contains("the role is granted to")));
        board.cut();
        let last = application.stop();
        board = group.board();

        // One of the two memories decides it, and never both: the mirror serves, under the next number and no other.
        role_sequence += 1;
        let host = &group.hosts[new];
        host.await_mirroring("shop", "mirroring_role_desc", "PRINCIPAL");
        host.await_mirroring("shop", "mirroring_role_sequence", &role_sequence.to_string());
        let kept = count(&files[new]);
        assert!(
            safe <= kept && kept <= last,
            "{step} ms: {safe} were there, {kept} are, of {last}"
        );
        group.hosts[old].up();
        group.ready(new, "shop", role_sequence, &board);
        assert_eq!(
            group.hosts[old].mirroring("shop", "mirroring_role_desc"),
            "MIRROR"
        );
        assert_eq!(
            group.hosts[old].mirroring("shop", "mirroring_role_sequence"),
            role_sequence.to_string()
        );
        assert_equal(&group.hosts[new], &group.hosts[old], "shop");
        assert!(
            !board.log().iter().any(|line| line.contains("ERROR")),
            "{}",
            board.log().join("\n")
        );
        println!(
            "{step} ms: role {role_sequence}, {kept} rows, grants before the cut so far {granted_before_the_cut}"
        );
    }
    // The steps lie on both sides of the grant: else they would show nothing.
    assert!(
        (1..STEPS.len()).contains(&granted_before_the_cut),
        "{granted_before_the_cut}"
    );
}
