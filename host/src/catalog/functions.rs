//! The SQL functions that the views' queries call on `master.db`.

use rusqlite::Connection;
use rusqlite::functions::{Context, FunctionFlags};
use sha1::Digest as _;

use super::{dates, views};

/// Registers them.
///
/// # Errors
/// SQLite's.
pub fn register(master: &Connection) -> rusqlite::Result<()> {
    let flags =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    master.create_scalar_function("dbm_guid", 1, flags, |call: &Context<'_>| {
        call.get::<Option<[u8; 16]>>(0)
            .map(|guid| guid.map(|guid| views::guid_text(&guid)))
    })?;
    master.create_scalar_function("dbm_date", 1, flags, |call: &Context<'_>| {
        call.get::<i64>(0).map(dates::from_unix)
    })?;
    // Whole days from now on; below zero when it has passed.
    let changes = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DIRECTONLY;
    master.create_scalar_function("dbm_days_until", 1, changes, |call: &Context<'_>| {
        call.get::<i64>(0)
            .map(|until| until.saturating_sub(dates::now_unix()).div_euclid(86_400))
    })?;
    master.create_scalar_function("dbm_sha1", 1, flags, |call: &Context<'_>| {
        call.get::<Vec<u8>>(0)
            .map(|bytes| sha1::Sha1::digest(bytes).to_vec())
    })?;
    // `1a 2b 3c`
    master.create_scalar_function("dbm_spaced_hex", 1, flags, |call: &Context<'_>| {
        let bytes: Vec<u8> = call.get(0)?;
        Ok(bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .join(" "))
    })?;
    // `S-1-9-1-…`: the hash as little-endian 32-bit numbers.
    master.create_scalar_function("dbm_string_sid", 1, flags, |call: &Context<'_>| {
        let bytes: Vec<u8> = call.get(0)?;
        let mut sid = String::from("S-1-9-1");
        for word in bytes.chunks_exact(4) {
            let number = word
                .iter()
                .rev()
                .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
            sid.push_str(&format!("-{number}"));
        }
        Ok(sid)
    })
}
