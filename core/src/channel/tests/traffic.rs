//! After the handshake.

use super::records::{dies, sealed};
use super::*;
use protect::{RECORDS_MAX, UPDATE_DUE_RECORDS};

const REQUEST: [u8; 5] = [24, 0, 0, 1, 1];
const UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

/// `from` changes its keys as an honest peer does, with or without a request.
fn updates(from: &mut Side, message: &[u8; 5]) -> Vec<u8> {
    let record = sealed(from, 22, message, 0);
    from.sealer().update().unwrap();
    record
}

fn talk(from: &mut Side, to: &mut Side, text: &[u8]) {
    to.data.clear();
    let record = from.seal(text);
    deliver(to, &record, usize::MAX);
    assert_eq!((&to.data[..], to.channel.error()), (text, None));
}

/// Offence 46.
#[test]
fn key_updates_are_followed_and_answered() {
    let (mut client, mut server) = friends();
    let record = updates(&mut client, &UPDATE);
    deliver(&mut server, &record, usize::MAX);
    assert!(!server.channel.wants_write(), "no answer was asked for");
    talk(&mut client, &mut server, b"under the next keys");
    talk(&mut server, &mut client, b"under the old ones");

    let record = updates(&mut client, &REQUEST);
    deliver(&mut server, &record, usize::MAX);
    assert!(server.channel.wants_write());
    assert_eq!(
        server.channel.seal(&mut [0; 64], 8),
        Err(UseError::WritePending),
        "the answer comes first"
    );
    let answer = server.flush();
    assert_eq!(answer.len(), HEAD_ROOM + 5 + 17);
    deliver(&mut client, &answer, usize::MAX);
    assert!(!client.channel.wants_write(), "an answer asks for nothing");
    talk(&mut client, &mut server, b"both");
    talk(&mut server, &mut client, b"have moved on");

    // Several requests before an answer are answered by one.
    let records = [updates(&mut client, &REQUEST), updates(&mut client, &REQUEST)].concat();
    deliver(&mut server, &records, usize::MAX);
    assert_eq!(server.flush().len(), HEAD_ROOM + 5 + 17);
}

/// Offence 46: requests that cross on the way. Both sides step twice.
#[test]
fn crossing_requests() {
    let (mut client, mut server) = friends();
    let to_server = updates(&mut client, &REQUEST);
    let to_client = updates(&mut server, &REQUEST);
    deliver(&mut server, &to_server, usize::MAX);
    deliver(&mut client, &to_client, usize::MAX);
    run(&mut client, &mut server, 1);
    talk(&mut client, &mut server, b"a");
    talk(&mut server, &mut client, b"b");
}

/// Offence 46.
#[test]
fn key_updates_that_must_not_be_taken() {
    let malformed = ChannelError::Malformed {
        message_type: 24,
        at: 3,
    };
    dies("value 2", ChannelError::IllegalValue { message_type: 24 }, |c| {
        sealed(c, 22, &[24, 0, 0, 1, 2], 0)
    });
    dies("length 0", malformed, |c| sealed(c, 22, &[24, 0, 0, 0], 0));
    dies("length 2", malformed, |c| sealed(c, 22, &[24, 0, 0, 2, 0, 0], 0));
    dies("goes on under the old keys", ChannelError::BadRecordMac, |c| {
        [sealed(c, 22, &UPDATE, 0), sealed(c, 23, b"old", 0)].concat()
    });
    dies("changes keys without a word", ChannelError::BadRecordMac, |c| {
        c.sealer().update().unwrap();
        sealed(c, 23, b"new", 0)
    });
    server_refuses(
        "before Finished",
        ChannelError::UnexpectedMessage { message_type: 24 },
        once(messages::message_type::FINISHED, |m| *m = UPDATE.to_vec()),
    );
}

/// Offence 46.
#[test]
fn a_flood_of_key_updates_is_cut_and_a_long_stream_is_not() {
    let (mut client, mut server) = friends();
    for n in 0..200u8 {
        let record = updates(&mut client, &REQUEST);
        deliver(&mut server, &record, usize::MAX);
        let answer = server.flush();
        deliver(&mut client, &answer, usize::MAX);
        if n % 32 == 31 {
            talk(&mut client, &mut server, b"data in between");
            talk(&mut server, &mut client, b"data in between");
        }
    }
    let (mut client, mut server) = friends();
    for n in 0..33 {
        assert_eq!(server.channel.error(), None, "{n}");
        let record = updates(&mut client, &UPDATE);
        deliver(&mut server, &record, usize::MAX);
    }
    assert_eq!(server.channel.error(), Some(ChannelError::Flood));
}

/// In fragments, a byte a record.
#[test]
fn a_key_update_in_fragments() {
    let (mut client, mut server) = friends();
    let mut records = Vec::new();
    for byte in UPDATE {
        records.extend(sealed(&mut client, 22, &[byte], 2));
    }
    client.sealer().update().unwrap();
    deliver(&mut server, &records, usize::MAX);
    talk(&mut client, &mut server, b"after");
}

/// Offence 46: a request that comes when we have closed is not answered: nothing may follow a close_notify.
#[test]
fn a_request_to_a_side_that_has_closed() {
    let (mut client, mut server) = friends();
    server.channel.close();
    let goodbye = server.flush();
    let record = updates(&mut client, &REQUEST);
    deliver(&mut server, &record, usize::MAX);
    assert!(server.flush().is_empty());
    let data = client.seal(b"still coming");
    deliver(&mut server, &data, usize::MAX);
    assert_eq!(server.data, b"still coming");
    deliver(&mut client, &goodbye, usize::MAX);
    assert!(client.closed);
}

/// Offence 47: of our own accord we never ask for an update, so no two requests of ours can be outstanding.
#[test]
fn we_never_ask_for_an_update() {
    let (mut client, mut server) = friends();
    for n in 0..40 {
        client.channel.update_keys();
        if n % 2 == 0 {
            client.channel.update_keys();
        }
        let record = client.flush();
        assert_eq!(record.len(), HEAD_ROOM + 5 + 17, "several reasons, one update");
        deliver(&mut server, &record, usize::MAX);
        assert!(!server.channel.wants_write(), "not asked for: {n}");
        talk(&mut client, &mut server, b"under the next keys");
    }
}

/// Our own keys are changed by the hour, by the calendar's clock, however little they have protected.
#[test]
fn keys_grow_old() {
    let (mut client, mut server) = friends();
    for (now, due) in [
        (1_000_000, false),
        (1_003_599, false),
        (1_003_600, true),
        (1_003_601, false),
        (1_007_201, true),
        // A clock that is set back starts the hour anew; one that is set forward ends it.
        (1_007_202, false),
        (500, false),
        (4_099, false),
        (4_100, true),
        (4_101, false),
        (i64::MAX, true),
        (i64::MAX, false),
        (i64::MIN, false),
        (i64::MIN + 3_599, false),
        (i64::MIN + 3_600, true),
    ] {
        client.now = UnixSeconds(now);
        client.read().unwrap();
        assert_eq!(client.channel.wants_write(), due, "{now}");
        let update = client.flush();
        assert_eq!(update.len(), if due { HEAD_ROOM + 5 + 17 } else { 0 });
        deliver(&mut server, &update, usize::MAX);
        talk(&mut client, &mut server, b"and on");
    }
}

/// Offence 45.
#[test]
fn keys_wear_out() {
    let (mut client, mut server) = friends();
    client.sealer().force_records(UPDATE_DUE_RECORDS - 1);
    server.opener().force_records(UPDATE_DUE_RECORDS - 1);
    assert!(!client.channel.wants_write());
    talk(&mut client, &mut server, b"the last before it is due");
    assert!(client.channel.wants_write(), "an update is due");
    talk(&mut client, &mut server, b"but nothing is held up");
    let update = client.flush();
    deliver(&mut server, &update, usize::MAX);
    assert!(
        !server.channel.wants_write(),
        "our keys are not the peer's affair"
    );
    talk(&mut client, &mut server, b"fresh");

    client.sealer().force_records(RECORDS_MAX);
    server.opener().force_records(RECORDS_MAX);
    assert_eq!(client.channel.seal(&mut [0; 64], 8), Err(UseError::KeyExhausted));
    // A peer that goes further is not our concern (RFC 9846: a receiver does not enforce it), up to the end of numbers.
    let (mut client, mut server) = friends();
    client.sealer().force_records(RECORDS_MAX - 1);
    server.opener().force_records(RECORDS_MAX - 1);
    talk(&mut client, &mut server, b"the very last");
    server.opener().force_records(u64::MAX);
    let mut forged = [&[23, 3, 3, 0, 17][..], &[0; 17]].concat();
    server.rx.append(&mut forged);
    assert_eq!(server.read(), Err(ChannelError::BadRecordMac));
}

/// Offence 48.
#[test]
fn handshake_messages_after_the_handshake() {
    for message_type in SOME.into_iter().filter(|t| *t != 24) {
        let error = ChannelError::UnexpectedMessage { message_type };
        dies("server", error, |c| sealed(c, 22, &[message_type, 0, 0, 0], 0));
        if message_type != 4 {
            let (mut client, mut server) = friends();
            let record = sealed(&mut server, 22, &[message_type, 0, 0, 0], 0);
            deliver(&mut client, &record, usize::MAX);
            assert_eq!(client.channel.error(), Some(error));
        }
    }
}

fn ticket(ticket_len: usize) -> Vec<u8> {
    let len = u16::try_from(ticket_len).unwrap().to_be_bytes();
    let body = [
        &[0, 0, 0, 9, 1, 2, 3, 4, 1, 0][..],
        &len,
        &std::vec![7; ticket_len],
        &[0, 0],
    ]
    .concat();
    let mut message = [&[4, 0, 0, 0][..], &body].concat();
    fix_length(&mut message);
    message
}

/// Offence 49.
#[test]
fn tickets_are_ignored_by_a_client() {
    let (mut client, mut server) = friends();
    // Two in a record, one over several records, one as long as they come.
    let mut records = sealed(&mut server, 22, &[ticket(200), ticket(9)].concat(), 0);
    for piece in [ticket(300), ticket(65_535)].concat().chunks(16_000) {
        records.extend(sealed(&mut server, 22, piece, 0));
    }
    deliver(&mut client, &records, usize::MAX);
    talk(&mut server, &mut client, b"and on");
    let (mut client, mut server) = friends();
    let mut bad = ticket(5);
    bad[14] = 0;
    bad[15] = 6;
    let record = sealed(&mut server, 22, &bad, 0);
    deliver(&mut client, &record, usize::MAX);
    assert!(matches!(
        client.channel.error(),
        Some(ChannelError::Malformed { message_type: 4, .. })
    ));
    assert_eq!(client.channel.error().unwrap().alert(), Some(Alert::DecodeError));
}

/// Offence 50.
#[test]
fn closing() {
    let (mut client, mut server) = friends();
    client.channel.close();
    client.channel.close();
    assert_eq!(client.channel.seal(&mut [0; 64], 8), Err(UseError::Closed));
    let goodbye = client.flush();
    assert_eq!(goodbye.len(), HEAD_ROOM + 2 + 17);
    assert!(client.flush().is_empty(), "said once");
    deliver(&mut server, &goodbye, usize::MAX);
    assert!(server.closed);
    assert_eq!(server.channel.end_of_input(), Ok(()));
    // The other direction is still open.
    talk(&mut server, &mut client, b"one more thing");
    // What comes behind a close_notify is dropped, whatever it is.
    deliver(&mut server, b"garbage", usize::MAX);
    assert_eq!((server.rx.len(), server.channel.error()), (0, None));
    assert!(server.data.is_empty());
    server.channel.close();
    let goodbye = server.flush();
    deliver(&mut client, &goodbye, usize::MAX);
    assert!(client.closed);
    assert_eq!(client.channel.end_of_input(), Ok(()));
}

/// Offence 50.
#[test]
fn a_cut_connection_is_told_from_a_closed_one() {
    let (mut client, mut server) = friends();
    let record = client.seal(b"half of it");
    deliver(&mut server, &record[..20], usize::MAX);
    assert_eq!(server.channel.end_of_input(), Err(ChannelError::Truncated));
    assert_eq!(server.channel.error(), Some(ChannelError::Truncated));
    assert!(!server.channel.wants_write(), "nobody is there to hear an alert");
    assert_eq!(server.channel.end_of_input(), Err(ChannelError::Truncated));
}

/// Offence 50.
#[test]
fn alerts() {
    for code in (0..=255).filter(|code| ![0, 90].contains(code)) {
        for level in [0, 1, 2, 255] {
            if level != 1 && code != 40 || code > 121 && code != 255 {
                continue;
            }
            let (mut client, mut server) = friends();
            let record = sealed(&mut client, 21, &[level, code], 0);
            deliver(&mut server, &record, usize::MAX);
            let error = ChannelError::PeerAlert(Alert::from_code(code));
            assert_eq!(server.channel.error(), Some(error), "whatever its level");
            assert!(server.flush().is_empty(), "an alert is not answered");
        }
    }
    for content in [&[2][..], &[2, 40, 0], &[1, 0, 1, 0]] {
        dies("length", ChannelError::MalformedAlert, |c| {
            sealed(c, 21, content, 0)
        });
    }
    // user_canceled says nothing.
    let (mut client, mut server) = friends();
    let record = sealed(&mut client, 21, &[1, 90], 0);
    deliver(&mut server, &record, usize::MAX);
    talk(&mut client, &mut server, b"still here");
    // Before keys, in clear.
    for (content, error) in [
        ([1, 0], ChannelError::ClosedInHandshake),
        ([2, 70], ChannelError::PeerAlert(Alert::ProtocolVersion)),
        ([1, 200], ChannelError::PeerAlert(Alert::Unknown(200))),
    ] {
        let (mut client, _) = strangers(ClientOptions::default());
        client.flush();
        deliver(
            &mut client,
            &[&[21, 3, 3, 0, 2][..], &content].concat(),
            usize::MAX,
        );
        assert_eq!(client.channel.error(), Some(error));
        assert!(client.flush().is_empty());
    }
}

#[test]
fn closing_before_the_end_of_the_handshake() {
    let (mut client, mut server) = strangers(ClientOptions::default());
    server.channel.close();
    assert!(server.flush().is_empty(), "nothing was said, so nothing is said");
    client.flush();
    client.channel.close();
    assert_eq!(client.flush(), [21, 3, 3, 0, 2, 1, 0]);
    assert_eq!(client.read(), Err(ChannelError::ClosedInHandshake));
}

#[test]
fn sealing_needs_room() {
    let (mut client, _) = friends();
    // 16 of tag and the content type: what the suite needs, not all that callers leave.
    let mut buf = [0; HEAD_ROOM + 10 + 17];
    assert_eq!(client.channel.seal(&mut buf, 11), Err(UseError::NoRoom));
    assert_eq!(client.channel.seal(&mut buf[..4], 0), Err(UseError::NoRoom));
    assert_eq!(
        client.channel.seal(&mut [0; 20_000], PAYLOAD_LEN_MAX + 1),
        Err(UseError::TooLong)
    );
    assert_eq!(client.channel.seal(&mut buf, 10), Ok(buf.len()));
    let (mut early, _) = strangers(ClientOptions::default());
    assert_eq!(early.channel.seal(&mut buf, 10), Err(UseError::NotEstablished));
}

/// The halves live in two places and share nothing but one flag.
#[test]
fn halves() {
    let (client, server) = friends();
    let Ok(mut ours) = client.channel.split() else {
        panic!("established")
    };
    let Ok(mut theirs) = server.channel.split() else {
        panic!("established")
    };
    let (mut one, mut other) = ([0; 32], [0; 32]);
    ours.session.export(b"label", b"context", &mut one).unwrap();
    theirs.session.export(b"label", b"context", &mut other).unwrap();
    assert!(one == other && one != [0; 32]);
    let mut buf = [0; 64];
    buf[5..10].copy_from_slice(b"hello");
    let len = ours.writer.seal(&mut buf, 5).unwrap();
    let read = theirs.reader.read(&mut buf[..len]).unwrap();
    assert_eq!((read.consumed, read.event), (len, ReadEvent::Data(b"hello")));

    buf[5..10].copy_from_slice(&REQUEST);
    let len = ours.writer.sealer.seal(22, &mut buf, 5).unwrap();
    ours.writer.sealer.update().unwrap();
    assert_eq!(
        theirs.reader.read(&mut buf[..len]).unwrap().event,
        ReadEvent::KeyUpdateRequested
    );
    theirs.writer.answer_key_update();
    let len = theirs.writer.write(&mut buf).unwrap();
    assert_eq!(
        ours.reader.read(&mut buf[..len]).unwrap().event,
        ReadEvent::Nothing
    );

    // Asked for by nobody.
    assert!(!ours.writer.wants_write());
    ours.writer.update_keys();
    assert!(ours.writer.wants_write());
    assert_eq!(ours.writer.seal(&mut buf, 5), Err(UseError::WritePending));
    let len = ours.writer.write(&mut buf).unwrap();
    let heard = theirs.reader.read(&mut buf[..len]).unwrap().event;
    assert_eq!(heard, ReadEvent::Nothing);
    assert_eq!(ours.writer.payload_len_max(), theirs.writer.payload_len_max());

    let error = theirs.reader.read(&mut [23, 3, 3, 0, 0]).unwrap_err();
    assert_eq!(theirs.reader.read(&mut []), Err(error), "it stays dead");
    theirs.writer.fail(error);
    assert_eq!(theirs.writer.seal(&mut buf, 5), Err(UseError::Closed));
    let len = theirs.writer.write(&mut buf).unwrap();
    let heard = ours.reader.read(&mut buf[..len]);
    assert_eq!(heard, Err(ChannelError::PeerAlert(Alert::BadRecordMac)));
    let (early, _) = strangers(ClientOptions::default());
    assert!(matches!(early.channel.split(), Err(UseError::NotEstablished)));
}

/// The end of one direction leaves the other open.
#[test]
fn one_half_closes() {
    let (client, server) = friends();
    let (Ok(mut ours), Ok(mut theirs)) = (client.channel.split(), server.channel.split()) else {
        panic!("established")
    };
    let mut buf = [0; 64];
    ours.writer.close();
    assert!(ours.writer.wants_write());
    assert_eq!(ours.writer.seal(&mut buf, 5), Err(UseError::Closed));
    // A header, the alert, its type, a tag.
    assert_eq!(ours.writer.write(&mut buf[..23]), Ok(0), "no room");
    let len = ours.writer.write(&mut buf[..24]).unwrap();
    assert!(len == 24 && !ours.writer.wants_write());
    assert_eq!(
        theirs.reader.read(&mut buf[..len]).unwrap().event,
        ReadEvent::Closed
    );
    let len = theirs.writer.seal(&mut buf, 5).unwrap();
    let read = ours.reader.read(&mut buf[..len]).unwrap();
    assert!(matches!(read.event, ReadEvent::Data(data) if data.len() == 5));
}
