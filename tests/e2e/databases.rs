//! Databases and the statements about their session: what is made, changed, refused, and kept over restarts.

use std::path::Path;

use dbmirror_tests::processes::*;

fn attach(name: &str, path: &Path) -> String {
    format!(
        "CREATE DATABASE {name} ON (FILENAME = '{}') FOR ATTACH",
        path.display()
    )
}

#[test]
fn databases_are_made_attached_and_dropped() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut a = Host::start(root.path(), "HOST_A", "127.129.0.1");
    a.ok("CREATE DATABASE Sales");
    assert_eq!(a.refusals("CREATE DATABASE sales"), [1801, 1802]);
    let file = a.dir.canonicalize().expect("it exists").join("data/Sales.db");
    assert_eq!(
        a.value("SELECT physical_name FROM sys.databases WHERE name = 'Sales'"),
        file.display().to_string()
    );
    let mode: String = open(&file)
        .query_row("PRAGMA journal_mode", [], |row| row.get(0))
        .expect("a mode");
    assert_eq!(mode, "wal");
    assert!(a.ok("USE Sales; SELECT DB_NAME()").contains("Sales"));
    // Rows are read with SQLite: the refusal names the file.
    assert!(
        a.refused("USE Sales; SELECT * FROM orders", 208)
            .contains("Sales.db")
    );
    assert_eq!(a.refusals("USE Sales; DROP DATABASE Sales"), [3702]);

    let rollback = root.path().join("rollback.db");
    open(&rollback)
        .execute_batch("CREATE TABLE t (x)")
        .expect("a table");
    let said = a.refused(&attach("R", &rollback), 5120);
    assert!(said.contains("PRAGMA journal_mode = WAL"), "{said}");
    let text = root.path().join("text");
    std::fs::write(&text, "not a database, and longer than a header").expect("a file");
    for (path, numbers) in [
        (text.as_path(), [5172, 1802]),
        (&root.path().join("none"), [5133, 1802]),
        (Path::new("relative.db"), [5133, 1802]),
        (&file, [5120, 1802]),
        (&a.dir.join("master.db"), [5120, 1802]),
    ] {
        assert_eq!(a.refusals(&attach("R", path)), numbers, "{}", path.display());
    }
    let app = root.path().join("app.db");
    open(&app)
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
        .expect("a database");
    a.ok(&attach("App", &app));
    let all =
        "SELECT name, state_desc, recovery_model_desc FROM sys.databases WHERE database_id > 4 ORDER BY name";
    assert_eq!(a.lines(all), ["App|ONLINE|FULL", "Sales|ONLINE|FULL"]);
    // Both survive a restart.
    a.stop();
    a.up();
    assert_eq!(a.lines(all), ["App|ONLINE|FULL", "Sales|ONLINE|FULL"]);
    a.ok("DROP DATABASE App, Sales");
    assert!(app.exists(), "an attached file stays");
    assert!(!file.exists());
    assert_eq!(integrity(&app), "ok");
    assert_eq!(a.refusals("DROP DATABASE master"), [3708]);
}

#[test]
fn a_session_obeys_its_statements_and_outlives_restarts() {
    let mut pair = pair(98);
    let file = pair.mirrored("Sales");
    let (a, b) = (&pair.a, &pair.b);
    let write = |rows: u32| {
        let db = open(&file);
        for n in 0..rows {
            db.execute("INSERT INTO t (v) VALUES (?1)", [format!("row {n}")])
                .expect("a commit");
        }
    };
    let state = |host: &Host| {
        host.lines(
            "SELECT mirroring_role_desc, mirroring_state_desc, mirroring_safety_level_desc \
                    FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL",
        )
    };
    write(300);
    pair.level("Sales");
    assert_eq!(
        a.lines(
            "SELECT mirroring_role, mirroring_state, mirroring_role_sequence, mirroring_safety_level, mirroring_safety_sequence, \
             mirroring_partner_name, mirroring_partner_instance, mirroring_witness_name, mirroring_connection_timeout, \
             mirroring_redo_queue_type FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL"
        ),
        [format!("1|4|1|2|1|{}|HOST_B|NULL|10|UNLIMITED", b.url())]
    );
    // The copy is of the principal's family now.
    let family = |host: &Host| {
        host.lines("SELECT family_guid FROM sys.database_recovery_status WHERE database_id > 4")
    };
    b.wait("the catalog follows the seed", || {
        if family(a) == family(b) {
            Ok(())
        } else {
            Err(format!("{:?}", family(b)))
        }
    });
    let set = |what: &str| format!("ALTER DATABASE Sales SET {what}");
    assert_eq!(b.refusals("USE Sales"), [954]);
    assert_eq!(a.refusals("DROP DATABASE Sales"), [3743]);
    assert_eq!(a.refusals(&set("RECOVERY SIMPLE")), [1468, 5069]);
    assert_eq!(
        a.refusals(&set(&format!("PARTNER = '{}'", b.url()))),
        [1405, 5069]
    );
    assert_eq!(b.refusals(&set("PARTNER SAFETY OFF")), [1470, 5069]);
    a.ok(&set("PARTNER SAFETY OFF"));
    write(5);
    pair.level("Sales");
    assert_eq!(state(a), ["PRINCIPAL|SYNCHRONIZED|OFF"]);
    b.await_mirroring("Sales", "mirroring_safety_level_desc", "OFF");

    a.ok(&set("PARTNER TIMEOUT 3"));
    a.await_mirroring("Sales", "mirroring_connection_timeout", "5");
    a.ok(&set("PARTNER SUSPEND"));
    a.await_mirroring("Sales", "mirroring_state_desc", "SUSPENDED");
    write(3);
    a.ok(&set("PARTNER RESUME"));
    pair.level("Sales");

    // Both are restarted, one of them the hard way: the session goes on by itself.
    pair.a.stop();
    write(5);
    pair.b.kill();
    pair.a.up();
    pair.b.up();
    pair.assert_level_and_equal("Sales", &file);
    let (copy, ..) = pair.b.checkpoint("Sales");
    assert_eq!(count(&copy), 313);
    pair.a.ok(&set("PARTNER OFF"));
    pair.b.await_mirroring("Sales", "mirroring_guid", "NULL");
    pair.a.ok("DROP DATABASE Sales");
    pair.b.ok("DROP DATABASE Sales");
}

#[test]
fn statements_without_a_session_are_refused_in_the_documented_order() {
    let pair = pair(99);
    let (a, b) = (&pair.a, &pair.b);
    a.ok("CREATE DATABASE Sales");
    let set = |what: &str| format!("ALTER DATABASE Sales SET {what}");
    let partner = |address: &str| set(&format!("PARTNER = '{address}'"));
    let said = a.refused(&partner("TCP://127.99.0.9:7024"), 1418);
    assert!(said.contains("Nobody listens"), "{said}");
    // The principal first: the other copy does not wait for it.
    b.ok("CREATE DATABASE Sales");
    assert_eq!(a.refusals(&partner(&b.url())).last(), Some(&5069));
    assert_eq!(a.refusals(&set("PARTNER OFF")), [1416, 5069]);
    assert_eq!(a.refusals(&set("PARTNER TIMEOUT 40000")), [1476, 5069]);
    a.ok(&set("RECOVERY SIMPLE"));
    assert_eq!(a.refusals(&partner(&b.url())), [1465, 5069]);
    assert_eq!(a.refusals("BACKUP LOG Sales TO DISK = 'x.bak'"), [4208, 3013]);
    for host in [a, b] {
        assert_eq!(
            host.lines("SELECT mirroring_guid FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL"),
            [""; 0]
        );
    }
    a.ok("ALTER ENDPOINT Endpoint_Mirroring STATE = STOPPED; ALTER DATABASE Sales SET RECOVERY FULL");
    assert_eq!(a.refusals(&partner(&b.url())), [1486, 5069]);
}
