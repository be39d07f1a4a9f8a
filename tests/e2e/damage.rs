//! A disk that loses what it said it had: the block log of a mirror is damaged while the instance is down.

use std::path::Path;

use dbmirror_tests::processes::*;

/// Flips a bit in the body of the last block in the block log (`docs/blocklog.md`).
fn damage_last_block(dir: &Path) {
    let mut segments: Vec<_> = std::fs::read_dir(dir.join("blocks"))
        .expect("a block log")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    segments.sort();
    for path in segments.iter().rev() {
        let mut bytes = std::fs::read(path).expect("a segment");
        let mut last = None;
        let mut at = 64;
        while let Some(header) = bytes.get(at..at + 96)
            && &header[..4] == b"DBLE"
        {
            let body = u32::from_le_bytes(header[8..12].try_into().expect("four bytes")) as usize;
            if header[4] == 1 && body > 0 {
                last = Some(at + 96);
            }
            at += (96 + body).next_multiple_of(8);
        }
        if let Some(body) = last {
            bytes[body] ^= 1;
            std::fs::write(path, bytes).expect("the damaged segment");
            return;
        }
    }
    panic!("no block in {}", dir.display());
}

#[test]
fn a_mirror_whose_hardened_block_is_damaged_says_so_and_is_made_whole() {
    let mut pair = pair(190);
    let file = pair.mirrored("shop");
    let db = open(&file);
    for n in 0..20 {
        db.execute("INSERT INTO t (v) VALUES (?1)", [format!("row {n}")])
            .expect("a commit");
    }
    drop(db);
    pair.assert_level_and_equal("shop", &file);

    // Nothing lies behind the last block: what tells its damage from a tear is the mark of its batch.
    pair.a.stop();
    pair.b.kill();
    damage_last_block(&pair.b.dir);
    pair.b.up();
    let lost = "that were hardened here are damaged or gone";
    assert!(pair.b.log().contains(lost), "{}", pair.b.log());
    assert!(pair.b.log().contains("The block log is damaged"));

    pair.a.up();
    pair.b.wait("the mirror is whole", || {
        let log = pair.b.log();
        if log.contains("holds everything again") {
            Ok(())
        } else {
            Err(log)
        }
    });
    open(&file)
        .execute("INSERT INTO t (v) VALUES ('after')", [])
        .expect("a commit");
    pair.assert_level_and_equal("shop", &file);

    // It is told once: the next start finds nothing missing.
    let before = pair.b.log().matches(lost).count();
    pair.b.kill();
    pair.b.up();
    pair.assert_level_and_equal("shop", &file);
    assert_eq!(pair.b.log().matches(lost).count(), before);
}
