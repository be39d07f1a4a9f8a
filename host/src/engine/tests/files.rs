//! Database files that are replaced, lost, or go on while nobody looks.

use super::*;

/// Copies a file by another process: a descriptor closed in this one would drop SQLite's locks.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

fn without_log(path: &std::path::Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
}

fn start_again(a: &mut Member, b: &Member) {
    a.start(b);
    a.engine()
        .attach_database(a.database(DatabaseState::Online))
        .unwrap();
    a.listen();
}

fn refused(m: &Member) -> bool {
    m.engine().sessions().first().is_some_and(|s| {
        s.state == Some(MirroringState::Suspended)
            && s.reason
                .as_ref()
                .is_some_and(|r| r.contains("sp_dbmirror_accept_file"))
    })
}

fn told(m: &Member, what: &str) -> bool {
    m.log.lines.lock().unwrap().iter().any(|l| l.text.contains(what))
}

fn stays(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        assert!(is(), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A pair that is level, with a folded copy of the principal's file from 20 rows before.
fn with_older_copy() -> (Member, Member, PathBuf) {
    let (a, b) = mirrored();
    write_rows(&a.file(), 1000, 20);
    level(&a, &b);
    let older = a.dir.path().join("older.db");
    copy(&a.file(), &older);
    write_rows(&a.file(), 2000, 20);
    level(&a, &b);
    (a, b, older)
}

/// The most likely accident of all: somebody restores last night's copy over the file while the daemon is down.
#[test]
fn an_older_copy_does_not_cost_the_mirror_its_own() {
    let (mut a, mut b, older) = with_older_copy();
    a.stop();
    without_log(&a.file());
    copy(&older, &a.file());
    start_again(&mut a, &b);
    wait_for("the file is refused", || refused(&a));
    assert!(a.engine().errors().iter().any(|e| e.number == 5173));
    assert_eq!(a.engine().checkpoint(5).unwrap_err().number, 5120);
    // What is written to it meanwhile makes it no better, also when it has counted past what the right file did.
    for batch in 0..40 {
        write_rows(&a.file(), 10_000 + batch * 30, 30);
    }
    a.stop();
    start_again(&mut a, &b);
    wait_for("the file is refused again", || refused(&a));
    wait_for("the mirror knows", || {
        b.engine().sessions()[0].state == Some(MirroringState::Suspended)
    });
    stays("the mirror's copy stays", || rows(&b.file()) == 50);
    // RESUME says to go on, on either side; it accepts nothing.
    assert_eq!(a.engine().set_suspended(5, false).unwrap_err().number, 5173);
    b.engine().set_suspended(5, false).unwrap();
    wait_for("the mirror's RESUME is refused", || {
        told(&a, "RESUME was run on the mirror")
    });
    stays("the session is suspended", || {
        refused(&a) && rows(&b.file()) == 50
    });
    // The operator's word.
    assert!(a.engine().accept_file(5).unwrap());
    level(&a, &b);
    assert_eq!(rows(&b.file()), 30 + 1200);
    // And it was for this file only.
    a.stop();
    without_log(&a.file());
    copy(&older, &a.file());
    start_again(&mut a, &b);
    wait_for("the file is refused once more", || refused(&a));
    a.stop();
    b.stop();
}

/// Rows are changed in place and no counter of SQLite's tells: the log knows what the database once held.
#[test]
fn what_the_log_has_seen_before_is_an_older_copy() {
    let (mut a, mut b) = mirrored();
    write_rows(&a.file(), 1000, 20);
    level(&a, &b);
    let older = a.dir.path().join("older.db");
    copy(&a.file(), &older);
    let db = rusqlite::Connection::open(a.file()).unwrap();
    for id in 1000..1010 {
        db.execute("UPDATE t SET v = hex(randomblob(50)) WHERE id = ?1", [id])
            .unwrap();
    }
    drop(db);
    level(&a, &b);
    a.stop();
    without_log(&a.file());
    copy(&older, &a.file());
    start_again(&mut a, &b);
    wait_for("the file is refused", || refused(&a));
    assert!(told(&a, "held at LSN"));
    a.stop();
    b.stop();
}

/// Another file is renamed over it while it is captured; then the right one comes back, and the mirror needs no seed.
#[test]
fn the_right_file_that_comes_back_goes_on() {
    let (mut a, mut b) = mirrored();
    write_rows(&a.file(), 1000, 20);
    level(&a, &b);
    let (aside, other) = (a.dir.path().join("aside.db"), a.dir.path().join("other.db"));
    make_database(&other);
    std::fs::rename(a.file(), &aside).unwrap();
    without_log(&a.file());
    std::fs::rename(&other, a.file()).unwrap();
    wait_for("the file is refused", || refused(&a));
    write_rows(&a.file(), 500, 5);
    stays("the mirror's copy stays", || rows(&b.file()) == 30);
    without_log(&a.file());
    std::fs::rename(&aside, a.file()).unwrap();
    wait_for("the right file is found", || told(&a, "the capture goes on"));
    write_rows(&a.file(), 2000, 5);
    a.engine().set_suspended(5, false).unwrap();
    level(&a, &b);
    assert_eq!(rows(&b.file()), 35);
    assert!(!told(
        &a,
        "Commits of database 'x' were made that nobody captured"
    ));
    a.stop();
    b.stop();
}

#[test]
fn a_replaced_file_without_a_mirror_waits_for_the_operator() {
    let (mut a, mut b) = pair();
    make_database(&a.file());
    let attach = |a: &Member| a.engine().attach_database(a.database(DatabaseState::Online));
    attach(&a).unwrap();
    write_rows(&a.file(), 1000, 20);
    a.stop();
    without_log(&a.file());
    std::fs::remove_file(a.file()).unwrap();
    make_database(&a.file());
    for _ in 0..2 {
        a.start(&b);
        assert_eq!(attach(&a).unwrap_err().number, 5173);
        a.stop();
    }
    a.start(&b);
    assert_eq!(attach(&a).unwrap_err().number, 5173);
    assert!(a.engine().accept_file(5).unwrap());
    attach(&a).unwrap();
    assert!(!a.engine().accept_file(5).unwrap());
    write_rows(&a.file(), 3000, 5);
    let mut full = Vec::new();
    a.engine().backup_database(5, &mut full).unwrap();
    a.stop();
    b.stop();
}

/// A login that was dropped and created anew has another id: the partner is a stranger, and the log says what to do.
#[test]
fn a_partner_whose_login_was_created_anew_is_told_of() {
    let (mut a, mut b) = mirrored();
    write_rows(&a.file(), 1000, 5);
    level(&a, &b);
    let anew = Pin {
        login_id: Some(261),
        ..b.pin(false, Connect::Granted)
    };
    a.engine().set_directory(vec![a.pin(true, Connect::None), anew]);
    let _ = a.engine().close_connections_of(PeerSelector::Login(260));
    wait_for("the log says what to do", || {
        told(&a, "was dropped") && told(&a, "SET PARTNER OFF")
    });
    wait_for("the view too", || {
        let sessions = a.engine().sessions();
        sessions[0]
            .reason
            .as_ref()
            .is_some_and(|r| r.contains("was dropped"))
    });
    a.stop();
    b.stop();
}

/// A directory that was copied runs beside its original, with the same id.
#[test]
fn an_instance_with_the_same_id_is_named() {
    let (mut a, mut b) = pair();
    let mut twin = Member::new("TWIN", NETWORK.fetch_add(1, Ordering::Relaxed), 3);
    twin.id = a.id;
    twin.start(&a);
    twin.listen();
    a.engine().set_directory(vec![
        a.pin(true, Connect::None),
        twin.pin(false, Connect::Granted),
    ]);
    a.engine()
        .test_connection(&twin.address(), Duration::ZERO, &mut |_| {})
        .unwrap_err();
    // Whoever hears the other's hello first tells, and closes.
    wait_for("one side tells", || {
        [&a, &twin].iter().any(|m| {
            let errors = m.engine().errors();
            errors
                .iter()
                .any(|e| e.number == 1452 && e.reason.contains("copy of this instance's directory"))
        })
    });
    for m in [&mut a, &mut b, &mut twin] {
        m.stop();
    }
}

/// The disk of the block log is full for a while, and the application checkpoints and closes meanwhile: its own log keeps
/// what is not captured, and nothing is left out.
#[test]
fn a_log_without_room_loses_no_commit() {
    let (mut a, mut b) = mirrored();
    write_rows(&a.file(), 1000, 5);
    level(&a, &b);
    // No further segment can be made.
    let blocks = a.dir.path().join("blocks");
    let in_the_way: Vec<PathBuf> = (1_u32..400)
        .map(|n| blocks.join(format!("{n:08x}.seg")))
        .filter(|path| std::fs::create_dir(path).is_ok())
        .collect();
    let db = rusqlite::Connection::open(a.file()).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("CREATE TABLE big (v BLOB)").unwrap();
    for _ in 0..40 {
        db.execute("INSERT INTO big VALUES (randomblob(1000000))", [])
            .unwrap();
    }
    wait_for("the log says that it has no room", || {
        a.engine().errors().iter().any(|e| e.number == 9002)
    });
    let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    drop(db);
    write_rows(&a.file(), 2000, 5);
    assert!(a.engine().checkpoint(5).is_err());
    for path in in_the_way {
        std::fs::remove_dir(path).unwrap();
    }
    level(&a, &b);
    assert_eq!(rows(&b.file()), 20);
    assert!(!told(&a, "that nobody captured"));
    a.stop();
    b.stop();
}

/// A block that is captured and not logged yet is part of the old timeline: no new one begins before it.
#[test]
fn a_session_does_not_start_over_a_block_that_is_not_logged() {
    let (mut a, mut b) = pair();
    make_database(&a.file());
    a.engine()
        .attach_database(a.database(DatabaseState::Online))
        .unwrap();
    let request = |m: &Member, to: &Member, state| SetPartner {
        database: m.database(state),
        address: to.address(),
        seeding: SeedingMode::Automatic,
    };
    b.engine()
        .set_partner(request(&b, &a, DatabaseState::Restoring))
        .unwrap();
    let blocks = a.dir.path().join("blocks");
    let in_the_way: Vec<PathBuf> = (1_u32..400)
        .map(|n| blocks.join(format!("{n:08x}.seg")))
        .filter(|path| std::fs::create_dir(path).is_ok())
        .collect();
    let db = rusqlite::Connection::open(a.file()).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("CREATE TABLE big (v BLOB)").unwrap();
    for _ in 0..40 {
        db.execute("INSERT INTO big VALUES (randomblob(1000000))", [])
            .unwrap();
    }
    drop(db);
    wait_for("the log says that it has no room", || {
        a.engine().errors().iter().any(|e| e.number == 9002)
    });
    let start = || a.engine().set_partner(request(&a, &b, DatabaseState::Online));
    assert_eq!(start().unwrap_err().number, 9002);
    for path in in_the_way {
        std::fs::remove_dir(path).unwrap();
    }
    wait_for("the session starts", || start().is_ok());
    level(&a, &b);
    assert!(!told(&a, "that nobody captured"));
    a.stop();
    b.stop();
}

/// The principal's machine lost what was not on its disk yet, log and file alike; the mirror has it.
#[test]
fn what_a_principal_lost_comes_back_from_its_mirror() {
    let (mut a, mut b) = mirrored();
    // A principal that has not heard its mirror for the time-out goes on without its tail, also where only the machine is slow.
    a.engine().set_timeout(5, 300).unwrap();
    write_rows(&a.file(), 1000, 20);
    level(&a, &b);
    a.stop();
    let (file, blocks) = (a.dir.path().join("then.db"), a.dir.path().join("then"));
    copy(&a.file(), &file);
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(a.dir.path().join("blocks"))
        .arg(&blocks)
        .status();
    assert!(copied.unwrap().success());
    start_again(&mut a, &b);
    level(&a, &b);
    write_rows(&a.file(), 2000, 15);
    level(&a, &b);
    a.stop();
    without_log(&a.file());
    copy(&file, &a.file());
    std::fs::remove_dir_all(a.dir.path().join("blocks")).unwrap();
    std::fs::rename(&blocks, a.dir.path().join("blocks")).unwrap();
    start_again(&mut a, &b);
    wait_for("the tail is taken over", || {
        told(&a, "took over what its mirror held")
    });
    level(&a, &b);
    assert_eq!(rows(&a.file()), 45);
    assert!(!told(&a, "does not continue"));
    let seeds = |l: &&LogLine| l.text.contains("A seed of");
    assert_eq!(
        a.log.lines.lock().unwrap().iter().filter(seeds).count(),
        1,
        "only the first one"
    );
    write_rows(&a.file(), 3000, 5);
    level(&a, &b);
    a.stop();
    b.stop();
}

/// The copy stops being a database in WAL mode: no waiting makes it a mirror's file again, a seed does.
#[test]
fn a_copy_that_is_no_database_any_more_is_seeded() {
    let (mut a, mut b) = mirrored();
    write_rows(&a.file(), 1000, 20);
    level(&a, &b);
    b.stop();
    without_log(&b.file());
    std::fs::write(b.file(), [b'x'; 8192]).unwrap();
    b.start(&a);
    b.engine()
        .attach_database(b.database(DatabaseState::Restoring))
        .unwrap();
    b.listen();
    write_rows(&a.file(), 2000, 5);
    level(&a, &b);
    assert_eq!(rows(&b.file()), 35);
    a.stop();
    b.stop();
}
