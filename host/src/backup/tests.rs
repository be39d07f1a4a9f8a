use super::*;

fn header(kind: Kind) -> Header {
    Header {
        kind,
        number: 0,
        copy_only: false,
        family_guid: [7; 16],
        first_lsn: 3,
        time: 1_000,
        database: "Sales".to_owned(),
        name: "nightly".to_owned(),
    }
}

fn put(path: &Path, replace: bool, kind: Kind, body: &[u8], lsn: u128) -> io::Result<Set> {
    write::<io::Error>(path, replace, header(kind), |out| {
        out.write_all(body).map(|()| lsn)
    })
}

fn body(set: &Set, path: &Path) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    set.open(path)?.read_to_end(&mut out)?;
    Ok(out)
}

#[test]
fn sets_are_numbered_appended_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bak");
    let long: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[2])
        .collect();
    put(&path, false, Kind::Full, &long, 10).unwrap();
    put(&path, false, Kind::Log, b"", 10).unwrap();
    put(&path, false, Kind::Log, b"blocks", 12).unwrap();
    let (found, end) = sets(&path).unwrap();
    assert_eq!(end, std::fs::metadata(&path).unwrap().len());
    let shown: Vec<_> = found
        .iter()
        .map(|set| (set.header.number, set.header.kind, set.last_lsn))
        .collect();
    assert_eq!(
        shown,
        [(1, Kind::Full, 10), (2, Kind::Log, 10), (3, Kind::Log, 12)]
    );
    assert_eq!(found[0].header.database, "Sales");
    assert_eq!(body(&found[0], &path).unwrap(), long);
    assert_eq!(body(&found[1], &path).unwrap(), b"");
    assert_eq!(body(&found[2], &path).unwrap(), b"blocks");
    put(&path, true, Kind::Full, b"new", 20).unwrap();
    let (found, _) = sets(&path).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(body(&found[0], &path).unwrap(), b"new");
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
}

#[test]
fn a_failed_or_torn_append_leaves_what_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bak");
    let failing = |replace| {
        write::<io::Error>(&path, replace, header(Kind::Log), |out| {
            out.write_all(&[1; 2_000_000])?;
            Err(io::Error::other("disk"))
        })
    };
    failing(false).unwrap_err();
    assert!(!path.exists());
    put(&path, false, Kind::Full, b"one", 1).unwrap();
    let before = std::fs::read(&path).unwrap();
    failing(false).unwrap_err();
    failing(true).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    // A crash in the middle of an append, at every length.
    put(&path, false, Kind::Log, b"two", 2).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for cut in before.len()..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (found, end) = sets(&path).unwrap();
        assert_eq!(
            (found.len(), usize::try_from(end).unwrap()),
            (1, before.len()),
            "{cut}"
        );
    }
    put(&path, false, Kind::Log, b"again", 3).unwrap();
    let (found, _) = sets(&path).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(body(&found[1], &path).unwrap(), b"again");
}

#[test]
fn damage_is_found_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bak");
    put(&path, false, Kind::Full, b"some pages", 1).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, &bytes).unwrap();
        let read = sets(&path).and_then(|(found, _)| match found.first() {
            Some(set) => body(set, &path).map(|body| (set.clone(), body)),
            None => Err(damaged("no set")),
        });
        assert!(read.is_err(), "byte {at}");
    }
    let other = dir.path().join("A.cer");
    std::fs::write(&other, b"a certificate").unwrap();
    for replace in [false, true] {
        assert_eq!(
            put(&other, replace, Kind::Full, b"x", 1).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }
    assert_eq!(std::fs::read(&other).unwrap(), b"a certificate");
}

/// What follows a damaged set is not cut off by the next backup, as the leavings of a crash are.
#[test]
fn a_damaged_set_costs_none_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bak");
    put(&path, false, Kind::Full, b"one", 1).unwrap();
    let first = std::fs::metadata(&path).unwrap().len();
    put(&path, false, Kind::Log, b"two", 2).unwrap();
    put(&path, false, Kind::Log, b"three", 3).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[usize::try_from(first).unwrap() + 20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = put(&path, false, Kind::Log, b"four", 4).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

/// Two backups into files that differ in their extension do not share what they write before it takes the old one's place.
#[test]
fn files_of_one_stem_are_replaced_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (bak, trn) = (dir.path().join("x.bak"), dir.path().join("x.trn"));
    for path in [&bak, &trn] {
        put(path, false, Kind::Full, b"old", 1).unwrap();
    }
    let outer = write::<io::Error>(&bak, true, header(Kind::Full), |out| {
        out.write_all(&[1; 3_000_000])?;
        put(&trn, true, Kind::Full, b"inner", 2)?;
        Ok(3)
    });
    let (outer, (inner, _)) = (outer.unwrap(), sets(&trn).unwrap());
    assert_eq!(body(&outer, &bak).unwrap(), [1; 3_000_000]);
    assert_eq!(body(&inner[0], &trn).unwrap(), b"inner");
}

/// A file with one set, frozen (`docs/backup.md`), as another program makes it of that page's tables. Backups outlive the program.
#[test]
fn a_backup_set_of_version_1() {
    let frozen = hex::decode(concat!(
        "44424d534554310002010400050000000100000000000000",
        "101112131415161718191a1b1c1d1e1f",
        "03020000000000000100000007000000",
        "00d2496b00000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "73686f706e69676874",
        "3f42af2b",
        "0b000000294cd44d61206c6f6720626c6f636b",
        "00000000",
        "44424d454e443100",
        "09000000000000000000000001000000",
        "0b00000000000000",
        "1c14910a53471791c3d38d90d338e9a24c98920ca850d13ac5c7926a02e12dc2",
    ))
    .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frozen.bak");
    let header = Header {
        kind: Kind::Log,
        number: 1,
        copy_only: true,
        family_guid: std::array::from_fn(|at| 0x10 + at as u8),
        first_lsn: 7 << 96 | 1 << 64 | 0x0203,
        time: 1_800_000_000,
        database: "shop".to_owned(),
        name: "night".to_owned(),
    };
    let set = write::<io::Error>(&path, false, header.clone(), |out| {
        out.write_all(b"a log block").map(|()| 1 << 96 | 9)
    })
    .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), frozen);
    assert_eq!(set.header, header);
    std::fs::write(&path, &frozen).unwrap();
    let (found, end) = sets(&path).unwrap();
    assert_eq!((found.as_slice(), end), ([set].as_slice(), frozen.len() as u64));
    assert_eq!(body(&found[0], &path).unwrap(), b"a log block");
}
