//! Peers that may connect and are no member of the session they speak of (`docs/safety.md` R11): real sockets, real
//! processes.

use dbmirror_core::message::codec::{
    Ack, Ask, Block, Confirm, Grant, Message, None as NoSession, Propose, SeedRequest, SessionHello,
    SetProperties, Tombstone,
};
use dbmirror_core::message::{Chain, InstanceId, LogEnd, Position, Record, SessionGuid, Sync, Timelines};
use dbmirror_tests::processes::*;
use dbmirror_tests::stranger::{Credentials, Stranger};

/// What must not move when a stranger speaks.
const FACTS: &str = "SELECT mirroring_guid, mirroring_state_desc, mirroring_role_desc, mirroring_role_sequence, \
                     mirroring_safety_level_desc, mirroring_safety_sequence, mirroring_partner_name, \
                     mirroring_partner_instance, mirroring_connection_timeout, mirroring_end_of_log_lsn \
                     FROM sys.database_mirroring WHERE database_id = DB_ID('shop')";
/// Stands in the block that is offered, and must stand nowhere afterwards.
const CANARY: &[u8; 32] = b"a block that no principal sealed";

/// A guid as the views show it.
fn guid(text: &str) -> SessionGuid {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    assert_eq!(digits.len(), 32, "{text}");
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::try_from(pair[0] * 16 + pair[1]).expect("two digits");
    }
    SessionGuid(bytes)
}

/// Whatever only a member of the session may say, each kind once.
fn claims(guid: SessionGuid, claimed: InstanceId, end: Position) -> Vec<Message<'static>> {
    let record = Record {
        role_sequence: 2,
        owner: claimed,
        sync_sequence: 0,
        sync: Sync::Unsync,
        forced: false,
    };
    let log = LogEnd {
        position: end,
        chain: Chain::START,
    };
    let next = Position {
        sequence: end.sequence + 1,
        ..end
    };
    vec![
        SeedRequest {
            guid,
            role_sequence: 1,
        }
        .into(),
        Block {
            guid,
            role_sequence: 1,
            position: next,
            decided: next,
            total: 32,
            offset: 0,
            bytes: CANARY,
        }
        .into(),
        Ack {
            guid,
            role_sequence: 1,
            position: next,
            chain_prefix: 0,
        }
        .into(),
        Propose {
            guid,
            record,
            end: log,
        }
        .into(),
        Ask {
            guid,
            number: 2,
            record,
            timeout: 10_000,
            force: true,
        }
        .into(),
        Grant { guid, ask: 1, record }.into(),
        Confirm {
            guid,
            request: 0,
            answer: false,
            record,
        }
        .into(),
        SetProperties {
            guid,
            role_sequence: 1,
            properties: Default::default(),
        }
        .into(),
        SessionHello {
            guid,
            record,
            ask: 0,
            witness: InstanceId::default(),
            witness_role_sequence: 0,
            witness_sync_sequence: 0,
            witness_pending: false,
            end: log,
            wants_seed: true,
            credit: 1 << 20,
            properties: Default::default(),
            timelines: Timelines::EMPTY,
        }
        .into(),
        Tombstone { guid, record }.into(),
        NoSession { guid }.into(),
    ]
}

fn own_certificate(host: &Host) -> Vec<u8> {
    std::fs::read(host.dir.join(format!("backup/{}_cert.cer", host.name))).expect("its backup")
}

/// Refused messages with 1402 that `host` lists.
fn listed(host: &Host) -> usize {
    let rows =
        host.rows("SELECT reason FROM sys.dm_dbmirror_errors WHERE number = 1402 AND step = 'session'");
    assert!(
        rows.iter()
            .all(|row| row[0].contains("STRANGER_login") && row[0].contains("Nothing was changed")),
        "{rows:?}"
    );
    rows.len()
}

/// It has CONNECT on both, knows the session's guid and the end of log, and even claims to be the partner's instance.
#[test]
fn a_peer_that_is_not_the_partner_is_refused_whatever_it_says() {
    let pair = pair(180);
    let file = pair.mirrored("shop");
    let db = open(&file);
    db.execute_batch("INSERT INTO t (v) VALUES ('one'), ('two')")
        .expect("rows");
    pair.level("shop");
    let credentials = Credentials::new("STRANGER");
    credentials.bind(&pair.a, "STRANGER");
    credentials.bind(&pair.b, "STRANGER");
    let session = guid(&pair.a.mirroring("shop", "mirroring_guid"));
    let lsn: u64 = pair
        .a
        .mirroring("shop", "mirroring_end_of_log_lsn")
        .parse()
        .expect("a number");
    let end = Position {
        timeline: u32::try_from(lsn / 1_000_000_000_000_000).expect("a timeline"),
        sequence: lsn % 1_000_000_000_000_000,
    };

    for (victim, partner) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        let claimed =
            Stranger::dial(partner, own_certificate(partner), &credentials).listen("its hello", |message| {
                match message {
                    Message::Hello(hello) => Some(hello.instance),
                    _ => None,
                }
            });
        let before = victim.rows(FACTS);
        let content = victim.checkpoint("shop");
        let mut stranger = Stranger::dial(victim, own_certificate(victim), &credentials);
        stranger.hello(claimed);
        let said = claims(session, claimed, end);
        for message in &said {
            stranger.say(message);
            let answer = stranger.listen("a refusal", |heard| match heard {
                Message::Refusal(refusal) => Some((refusal.guid, refusal.kind, refusal.number)),
                _ => None,
            });
            assert_eq!(
                answer,
                (session, message.kind(), 1402),
                "{} on {message:?}",
                victim.name
            );
        }
        assert_eq!(victim.rows(FACTS), before);
        assert_eq!(victim.checkpoint("shop"), content);
        assert_eq!(listed(victim), said.len());
        let log = victim.log();
        let lines = log
            .lines()
            .filter(|line| line.contains("Msg 1402") && line.contains("STRANGER_login"))
            .count();
        assert_eq!(lines, said.len(), "{log}");
        assert_eq!(find_bytes(&victim.dir, CANARY, &[]), None);
    }

    // The session never noticed.
    db.execute_batch("INSERT INTO t (v) VALUES ('three')")
        .expect("a row");
    pair.assert_level_and_equal("shop", &file);
    assert_eq!(pair.a.mirroring("shop", "mirroring_role_desc"), "PRINCIPAL");
    assert_eq!(pair.b.mirroring("shop", "mirroring_role_desc"), "MIRROR");
}

/// A guid that was made up tells nothing and does nothing either.
#[test]
fn a_session_that_is_not_held_is_refused_and_logged() {
    let pair = pair(181);
    let credentials = Credentials::new("STRANGER");
    credentials.bind(&pair.a, "STRANGER");
    let mut stranger = Stranger::dial(&pair.a, own_certificate(&pair.a), &credentials);
    stranger.hello(InstanceId([0xEE; 16]));
    let made_up = SessionGuid([0x5A; 16]);
    let end = Position {
        timeline: 1,
        sequence: 9,
    };
    let mut refused = 0;
    for message in claims(made_up, InstanceId([0xEE; 16]), end) {
        stranger.say(&message);
        // What only asks for or tells of a session is answered by "none", or not at all; and what is said to a witness as by one that
        // keeps nothing of the session, which any instance may be.
        if matches!(
            message,
            Message::SessionHello(_)
                | Message::Tombstone(_)
                | Message::None(_)
                | Message::Ask(_)
                | Message::Confirm(_)
                | Message::Drop(_)
                | Message::HelloAgain(_)
        ) {
            continue;
        }
        refused += 1;
        let answer = stranger.listen("a refusal", |heard| match heard {
            Message::Refusal(refusal) if refusal.kind == message.kind() => {
                Some((refusal.kind, refusal.number))
            }
            _ => None,
        });
        assert_eq!(answer, (message.kind(), 1402));
    }
    assert_eq!(listed(&pair.a), refused);
    assert_eq!(
        pair.a
            .value("SELECT count(*) FROM sys.database_mirroring WHERE mirroring_guid IS NOT NULL"),
        "0"
    );
}
