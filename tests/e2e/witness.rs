//! Two partners and a witness: automatic fail-over under a writing application, fail-over by an operator, forced service, kills, and what is
//! refused.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dbmirror_tests::group::{WITNESSED, group};
use dbmirror_tests::processes::*;

/// An application that commits numbered rows until it is told to stop.
struct Application {
    stop: Arc<AtomicBool>,
    last: Arc<AtomicI64>,
    thread: Option<JoinHandle<()>>,
}

impl Application {
    fn start(file: &Path) -> Self {
        let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let (stopping, committed, file) = (Arc::clone(&stop), Arc::clone(&last), file.to_owned());
        let thread = std::thread::spawn(move || {
            let db = open(&file);
            while !stopping.load(Ordering::Relaxed) {
                if db
                    .execute("INSERT INTO t (v) VALUES (hex(randomblob(40)))", [])
                    .is_ok()
                {
                    committed.store(db.last_insert_rowid(), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        Self {
            stop,
            last,
            thread: Some(thread),
        }
    }

    fn stop(&mut self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
        self.last.load(Ordering::Relaxed)
    }
}

#[test]
fn a_killed_principal_is_replaced_and_returns_as_mirror() {
    let mut group = group(81);
    let (file_a, file_b) = group.mirrored("shop");
    assert_eq!(
        group
            .w
            .lines("SELECT database_name, mirror_server_name, safety_level_desc, role_sequence_number, is_suspended FROM sys.database_mirroring_witnesses"),
        ["shop|HOST_B|FULL|1|0"]
    );
    let mut application = Application::start(&file_a);
    std::thread::sleep(Duration::from_millis(800));
    // What is on the mirror now stays, whatever happens.
    let safe = count(&file_b);
    assert!(safe > 20, "{safe}");
    group.a.kill();
    let last = application.stop();

    group
        .b
        .await_mirroring("shop", "mirroring_role_desc", "PRINCIPAL");
    group.b.await_mirroring("shop", "mirroring_role_sequence", "2");
    assert!(group.b.log().contains("Msg 1480"), "{}", group.b.log());
    assert!(group.w.log().contains("Msg 1480"), "{}", group.w.log());
    group.b.wait("B serves", || {
        open(&file_b)
            .execute("INSERT INTO t (v) VALUES ('written to B')", [])
            .map(drop)
            .map_err(|e| e.to_string())
    });
    assert_eq!(
        group
            .b
            .value("SELECT state_desc FROM sys.databases WHERE name = 'shop'"),
        "ONLINE"
    );
    let kept = count(&file_b) - 1;
    assert!(
        (safe..=last).contains(&kept),
        "{safe} were there, {kept} are, of {last}"
    );

    // The old one comes back with commits that B never saw, and becomes its mirror.
    group.a.up();
    group
        .b
        .await_mirroring("shop", "mirroring_state_desc", "SYNCHRONIZED");
    assert_eq!(group.a.mirroring("shop", "mirroring_role_desc"), "MIRROR");
    group.a.wait("A is closed", || {
        match group
            .a
            .value("SELECT state_desc FROM sys.databases WHERE name = 'shop'")
        {
            state if state == "RESTORING" => Ok(()),
            other => Err(other),
        }
    });
    assert_equal(&group.b, &group.a, "shop");
    assert_eq!(count(&file_a), kept + 1);
    assert!(
        open(&file_a)
            .execute("INSERT INTO t (v) VALUES ('no')", [])
            .is_err(),
        "a mirror is not written"
    );
    group.ready(&group.b, "shop");

    // And back, by an operator, under a writing application.
    let mut application = Application::start(&file_b);
    std::thread::sleep(Duration::from_millis(300));
    group.b.ok("ALTER DATABASE shop SET PARTNER FAILOVER");
    application.stop();
    group
        .a
        .await_mirroring("shop", "mirroring_role_desc", "PRINCIPAL");
    group.a.wait("A serves", || {
        open(&file_a)
            .execute("INSERT INTO t (v) VALUES ('written to A')", [])
            .map(drop)
            .map_err(|e| e.to_string())
    });
    group.ready(&group.a, "shop");
    assert_equal(&group.a, &group.b, "shop");
    assert_eq!(group.b.mirroring("shop", "mirroring_role_sequence"), "3");
    group.a.ok("ALTER DATABASE shop SET WITNESS OFF");
    group.a.await_mirroring("shop", "mirroring_witness_name", "NULL");
    group.w.wait("the witness forgets", || {
        let rows = group.w.lines(WITNESSED);
        if rows.is_empty() {
            Ok(())
        } else {
            Err(format!("{rows:?}"))
        }
    });
}

/// Two programs that go on writing to a file: one that keeps it open, one that opens it for each row. How often each has
/// succeeded.
struct Stubborn {
    stop: Arc<AtomicBool>,
    written: [Arc<AtomicI64>; 2],
    threads: Vec<JoinHandle<()>>,
}

impl Stubborn {
    fn start(file: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let written = [(); 2].map(|()| Arc::new(AtomicI64::new(0)));
        let insert = |db: &rusqlite::Connection| db.execute("INSERT INTO t (v) VALUES ('stubborn')", []);
        let threads = [true, false].map(|keeps_open| {
            let (stop, file) = (Arc::clone(&stop), file.to_owned());
            let written = Arc::clone(&written[usize::from(!keeps_open)]);
            std::thread::spawn(move || {
                let kept = open(&file);
                kept.busy_timeout(Duration::from_millis(20)).expect("a time-out");
                while !stop.load(Ordering::Relaxed) {
                    let done = if keeps_open {
                        insert(&kept)
                    } else {
                        let db = open(&file);
                        db.busy_timeout(Duration::from_millis(20))
                            .and_then(|()| insert(&db))
                    };
                    if done.is_ok() {
                        written.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
        });
        Self {
            stop,
            written,
            threads: threads.into(),
        }
    }

    fn written(&self) -> [i64; 2] {
        [0, 1].map(|i| self.written[i].load(Ordering::SeqCst))
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}

#[test]
fn who_goes_on_writing_to_an_old_principal_while_it_is_seeded_anew_is_told() {
    let mut group = group(225);
    let (file_a, file_b) = group.mirrored("shop");
    group.a.kill();
    group
        .b
        .await_mirroring("shop", "mirroring_role_desc", "PRINCIPAL");
    let stubborn = Stubborn::start(&file_a);
    group.a.wait("both write to the copy that nobody serves", || {
        match stubborn.written() {
            [kept, opened] if kept > 5 && opened > 5 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    group.a.up();
    group
        .b
        .await_mirroring("shop", "mirroring_state_desc", "SYNCHRONIZED");
    let kept = "kept as";
    group.a.wait("the old copy is set aside", || {
        if group.a.log().contains(kept) {
            Ok(())
        } else {
            Err(group.a.log())
        }
    });
    let before = stubborn.written();
    for i in 0..40 {
        open(&file_b)
            .execute("INSERT INTO t (v) VALUES (?1)", [format!("served {i}")])
            .expect("B serves");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_equal(&group.b, &group.a, "shop");
    assert_eq!(stubborn.written(), before, "neither copy takes anything");
    stubborn.stop();
    assert_eq!(count(&file_a), 40);
    assert_eq!(group.a.log().matches(kept).count(), 1, "{}", group.a.log());
}

#[test]
fn commands_of_roles_are_refused_where_they_do_not_fit() {
    let group = group(82);
    let (_, _) = group.mirrored("shop");
    // Who still uses a witness that was told to forget it registers again.
    let guid = group
        .w
        .value("SELECT mirroring_guid FROM sys.database_mirroring_witnesses");
    group.w.refused("EXEC sp_dbmirror_forget_witnessed 'shop'", 214);
    group
        .a
        .refused(&format!("EXEC sp_dbmirror_forget_witnessed '{guid}'"), 1402);
    group.w.ok(&format!("EXEC sp_dbmirror_forget_witnessed '{guid}'"));
    group.ready(&group.a, "shop");
    group.b.refused("ALTER DATABASE shop SET PARTNER FAILOVER", 1470);
    group.b.refused("ALTER DATABASE shop SET WITNESS OFF", 1470);
    group.b.refused(
        &format!("ALTER DATABASE shop SET WITNESS = '{}'", group.w.url()),
        1470,
    );
    for host in [&group.a, &group.b] {
        host.refused(
            "ALTER DATABASE shop SET PARTNER FORCE_SERVICE_ALLOW_DATA_LOSS",
            1455,
        );
    }
    group.a.refused(
        &format!("ALTER DATABASE shop SET WITNESS = '{}'", group.w.url()),
        1446,
    );
    group
        .a
        .refused("ALTER DATABASE shop SET WITNESS = 'nonsense'", 1449);
    group
        .a
        .refused("ALTER DATABASE shop SET WITNESS = 'TCP://127.82.0.9:7024'", 1418);
    group.a.ok("ALTER DATABASE shop SET PARTNER SAFETY OFF");
    group.a.refused("ALTER DATABASE shop SET PARTNER FAILOVER", 1477);
    group.a.ok("ALTER DATABASE shop SET PARTNER SAFETY FULL");
    group.ready(&group.a, "shop");
    group.a.ok("ALTER DATABASE shop SET WITNESS OFF");
    group.a.refused("ALTER DATABASE shop SET WITNESS OFF", 1439);
    // What the endpoint may be to others holds from the statement on.
    let set = format!("ALTER DATABASE shop SET WITNESS = '{}'", group.w.url());
    group
        .w
        .ok("ALTER ENDPOINT Endpoint_Mirroring FOR DATABASE_MIRRORING (ROLE = PARTNER)");
    group.a.refused(&set, 1427);
    group
        .w
        .ok("ALTER ENDPOINT Endpoint_Mirroring FOR DATABASE_MIRRORING (ROLE = WITNESS)");
    group.a.ok(&set);
    group.ready(&group.a, "shop");
    group.a.ok("ALTER DATABASE shop SET WITNESS OFF");
    group.a.ok("CREATE DATABASE alone");
    for statement in [
        "SET WITNESS OFF",
        "SET PARTNER FAILOVER",
        "SET PARTNER FORCE_SERVICE_ALLOW_DATA_LOSS",
    ] {
        group
            .a
            .refused(&format!("ALTER DATABASE alone {statement}"), 1416);
    }
    // A witness holds no copies.
    group.w.refused(
        &format!(
            "ALTER DATABASE other SET PARTNER = '{}' WITH (SEEDING_MODE = AUTOMATIC)",
            group.a.url()
        ),
        1486,
    );
}

#[test]
fn a_witness_that_restarts_keeps_its_record_and_service_can_be_forced() {
    let mut group = group(83);
    let (file_a, file_b) = group.mirrored("shop");
    group.w.kill();
    group
        .a
        .await_mirroring("shop", "mirroring_witness_state_desc", "DISCONNECTED");
    group.w.up();
    group.ready(&group.a, "shop");
    // The principal goes on alone, then dies: B may lack what A committed, and only an operator may give that up.
    group.b.kill();
    group
        .a
        .await_mirroring("shop", "mirroring_state_desc", "DISCONNECTED");
    group.w.wait("UNSYNC is recorded", || {
        match group
            .w
            .value("SELECT partner_sync_state_desc FROM sys.database_mirroring_witnesses")
        {
            state if state == "UNSYNCHRONIZED" => Ok(()),
            other => Err(other),
        }
    });
    open(&file_a)
        .execute("INSERT INTO t (v) VALUES ('only on A')", [])
        .expect("it serves alone");
    group.a.kill();
    group.b.up();
    group
        .b
        .await_mirroring("shop", "mirroring_witness_state_desc", "CONNECTED");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(group.b.mirroring("shop", "mirroring_role_desc"), "MIRROR");
    group
        .b
        .ok("ALTER DATABASE shop SET PARTNER FORCE_SERVICE_ALLOW_DATA_LOSS");
    group
        .b
        .await_mirroring("shop", "mirroring_role_desc", "PRINCIPAL");
    group.b.wait("B serves", || {
        open(&file_b)
            .execute("INSERT INTO t (v) VALUES ('forced')", [])
            .map(drop)
            .map_err(|e| e.to_string())
    });
    // Nothing of A is undone before an operator says so.
    group.a.up();
    group.a.await_mirroring("shop", "mirroring_role_desc", "MIRROR");
    group
        .b
        .await_mirroring("shop", "mirroring_state_desc", "SUSPENDED");
    group.b.ok("ALTER DATABASE shop SET PARTNER RESUME");
    assert_equal(&group.b, &group.a, "shop");
    assert_eq!(count(&file_a), 1);
}

/// Who is killed in the middle of a fail-over.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Principal,
    Mirror,
    Witness,
}

#[test]
fn kills_at_any_step_of_a_failover_leave_one_principal_and_every_commit() {
    let mut group = group(84);
    let (file_a, file_b) = group.mirrored("shop");
    let (mut principal_is_a, mut failed_over, mut rows) = (true, 0, 0);
    for victim in [Victim::Principal, Victim::Mirror, Victim::Witness] {
        for delay in [0, 4, 12, 30, 60, 120] {
            group.commit_to_both(principal_is_a, [&file_a, &file_b]);
            rows += 1;

            let mut command = group
                .partner(principal_is_a)
                .begin_sql(&["-Q", "ALTER DATABASE shop SET PARTNER FAILOVER"]);
            std::thread::sleep(Duration::from_millis(delay));
            let host = match victim {
                Victim::Principal => group.partner(principal_is_a),
                Victim::Mirror => group.partner(!principal_is_a),
                Victim::Witness => &mut group.w,
            };
            host.kill();
            std::thread::sleep(Duration::from_millis(delay));
            host.up();
            // Done, refused or cut off: each is right. What must not be is shown by what follows.
            let _ = command.wait().expect("the client ends");

            let now_a = group.settled("shop");
            failed_over += u32::from(now_a != principal_is_a);
            principal_is_a = now_a;
            for file in [&file_a, &file_b] {
                assert_eq!(count(file), rows, "{victim:?} killed after {delay} ms");
            }
        }
    }
    println!("{failed_over} of 18 fail-overs came about");
    assert!(failed_over > 0, "no fail-over came about");
}

#[test]
fn kills_at_any_step_of_a_take_over_leave_one_principal_and_every_commit() {
    let mut group = group(85);
    let (file_a, file_b) = group.mirrored("shop");
    let (mut principal_is_a, mut taken_over, mut rows) = (true, 0, 0);
    for second in [Victim::Mirror, Victim::Witness] {
        for delay in [0, 5, 15, 40, 100, 300] {
            group.commit_to_both(principal_is_a, [&file_a, &file_b]);
            rows += 1;

            group.partner(principal_is_a).kill();
            std::thread::sleep(Duration::from_millis(delay));
            let host = match second {
                Victim::Mirror | Victim::Principal => group.partner(!principal_is_a),
                Victim::Witness => &mut group.w,
            };
            host.kill();
            std::thread::sleep(Duration::from_millis(50));
            host.up();
            std::thread::sleep(Duration::from_millis(delay));
            group.partner(principal_is_a).up();

            let now_a = group.settled("shop");
            taken_over += u32::from(now_a != principal_is_a);
            principal_is_a = now_a;
            for file in [&file_a, &file_b] {
                assert_eq!(
                    count(file),
                    rows,
                    "{second:?} killed {delay} ms after the principal"
                );
            }
        }
    }
    println!("{taken_over} of 12 take-overs came about");
    assert!(taken_over > 0, "no take-over came about");
}
