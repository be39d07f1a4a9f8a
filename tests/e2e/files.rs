//! Database files that are replaced under an instance.

use std::path::Path;

use dbmirror_tests::processes::*;

fn without_log(file: &Path) {
    for suffix in ["-wal", "-shm"] {
        let mut name = file.as_os_str().to_owned();
        name.push(suffix);
        let _ = std::fs::remove_file(name);
    }
}

/// Last night's copy is put over the principal's file while its instance is down: the mirror holds the only good one.
#[test]
fn a_copy_put_over_the_principals_file_waits_for_the_operators_word() {
    let mut pair = pair(150);
    let file = pair.mirrored("shop");
    let fill = |rows: i64| {
        let db = open(&file);
        for n in 0..rows {
            db.execute("INSERT INTO t (v) VALUES (?1)", [format!("row {n}")])
                .expect("a commit");
        }
    };
    fill(300);
    pair.assert_level_and_equal("shop", &file);
    let copy = file.with_extension("night");
    std::fs::copy(&file, &copy).expect("the copy");
    fill(300);
    pair.assert_level_and_equal("shop", &file);
    let mirror = pair.b.checkpoint("shop").0;
    let held = count(&mirror);

    pair.a.stop();
    without_log(&file);
    std::fs::copy(&copy, &file).expect("the copy goes over the file");
    pair.a.up();
    pair.a
        .await_mirroring("shop", "mirroring_state_desc", "SUSPENDED");
    pair.b
        .await_mirroring("shop", "mirroring_state_desc", "SUSPENDED");
    assert_eq!(
        pair.a
            .value("SELECT count(*) FROM sys.dm_dbmirror_errors WHERE number = 5173"),
        "1"
    );
    assert!(pair.a.ok("EXEC sp_readerrorlog").contains("SET PARTNER RESUME"));
    fill(700);
    pair.a.kill();
    pair.a.up();
    pair.a
        .await_mirroring("shop", "mirroring_state_desc", "SUSPENDED");
    pair.a.refused("ALTER DATABASE shop SET ONLINE", 1468);
    assert_eq!(count(&mirror), held, "the mirror's copy stays");

    pair.a.ok("ALTER DATABASE shop SET PARTNER RESUME");
    pair.assert_level_and_equal("shop", &file);
    assert_eq!(count(&mirror), count(&file));
}

#[test]
fn a_replaced_file_without_a_mirror_is_accepted_by_set_online() {
    let mut pair = pair(151);
    let file = pair.attached("alone");
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('one')", [])
        .expect("a commit");
    pair.a.ok("EXEC sp_dbmirror_checkpoint 'alone'");
    pair.a.stop();
    let copy = file.with_extension("copy");
    std::fs::copy(&file, &copy).expect("the copy");
    open(&copy)
        .execute("INSERT INTO t (v) VALUES ('two')", [])
        .expect("a commit");
    without_log(&file);
    std::fs::rename(&copy, &file).expect("the replacement");
    pair.a.up();
    let state = "SELECT state_desc FROM sys.databases WHERE name = 'alone'";
    assert_eq!(pair.a.value(state), "RECOVERY_PENDING");
    assert!(pair.a.log().contains("Msg 5173"));
    pair.a.ok("ALTER DATABASE alone SET ONLINE");
    assert_eq!(pair.a.value(state), "ONLINE");
    pair.a.ok("EXEC sp_dbmirror_checkpoint 'alone'");
    pair.a.stop();
    pair.a.up();
    assert_eq!(pair.a.value(state), "ONLINE");
}
