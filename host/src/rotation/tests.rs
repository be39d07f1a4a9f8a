//! Certificates that peers hand over or give up, and rotations of an instance that stands alone, in a real instance.

use std::time::{Duration, Instant};

use dbmirror_adapters::entropy::OsEntropy;
use dbmirror_core::cert::{self, Request};
use dbmirror_core::crypto::{Hash as _, SigningKey as _};
use dbmirror_core::keys::PrivateKey;
use dbmirror_core::session::Reason;
use dbmirror_core::time::UnixSeconds;

use super::*;
use crate::admin::{Cancelled, Message, Session as _, Sink};
use crate::catalog::dates;
use crate::catalog::keys::{Crypto, Sha256};
use crate::engine::{PeerCertificate, PeerCertificateWhat};
use crate::exec::SqlSession;
use crate::instance::Options;
use crate::tsql::{Column, Value};

/// Rows as text, and the errors' numbers.
#[derive(Default)]
struct Said {
    rows: Vec<String>,
    errors: Vec<u32>,
    all: Vec<Message>,
}

impl Sink for Said {
    fn columns(&mut self, _: &[Column]) -> Result<(), Cancelled> {
        Ok(())
    }
    fn row(&mut self, values: &[Value]) -> Result<(), Cancelled> {
        let cells = values.iter().map(|value| match value {
            Value::Null => "NULL".to_owned(),
            Value::Int(number) => number.to_string(),
            Value::Text(text) => text.clone(),
            other => format!("{other:?}"),
        });
        self.rows.push(cells.collect::<Vec<_>>().join("|"));
        Ok(())
    }
    fn rows_affected(&mut self, _: u64) -> Result<(), Cancelled> {
        Ok(())
    }
    fn message(&mut self, message: &Message) -> Result<(), Cancelled> {
        if message.is_error() {
            self.errors.push(message.number);
        }
        self.all.push(message.clone());
        Ok(())
    }
    fn database_changed(&mut self, _: &str) -> Result<(), Cancelled> {
        Ok(())
    }
    fn check(&mut self) -> Result<(), Cancelled> {
        Ok(())
    }
}

/// A certificate with its key.
struct Made {
    der: Vec<u8>,
    point: [u8; 65],
    key: PrivateKey,
}

fn make() -> Made {
    of(PrivateKey::generate::<Crypto>(&mut OsEntropy).unwrap())
}

fn of(key: PrivateKey) -> Made {
    let signing = key.signing_key::<Crypto>().unwrap();
    let request = Request {
        subject: "a partner",
        not_before: UnixSeconds(dates::now_unix() - 300),
        not_after: UnixSeconds(dates::now_unix() + 1_000_000),
    };
    let mut der = [0; cert::CERTIFICATE_LEN_MAX];
    let len = cert::issue::<Crypto>(&request, &signing, &mut OsEntropy, &mut der).unwrap();
    Made {
        der: der[..len].to_vec(),
        point: signing.public_point(),
        key,
    }
}

const CONNECTION: u64 = 1 << 40;

struct Fixture {
    _dir: tempfile::TempDir,
    instance: Arc<Instance>,
    session: SqlSession,
}

impl Fixture {
    /// An instance with two partners, B and C, whose certificates an operator imported.
    fn new(host: u8) -> (Self, Made, Made) {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::start(
            &Options {
                dir: dir.path().join("A"),
                name: "HOST_A".to_owned(),
                bind: Some(format!("127.69.0.{host}").parse().unwrap()),
                ..Options::default()
            },
            true,
        )
        .unwrap();
        let session = SqlSession::new(Arc::clone(&instance));
        let mut f = Self {
            _dir: dir,
            instance,
            session,
        };
        f.ok(
            "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '<1_Strong_Password!>';
             CREATE CERTIFICATE A_cert WITH SUBJECT = 'node A', EXPIRY_DATE = '2036-01-01';
             CREATE ENDPOINT e STATE = STARTED AS TCP (LISTENER_PORT = 7024)
               FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE A_cert, ROLE = ALL)",
        );
        let [b, c] = ["B", "C"].map(|name| {
            let made = make();
            let hex: String = made.der.iter().map(|byte| format!("{byte:02X}")).collect();
            f.ok(&format!(
                "CREATE LOGIN {name}_login WITH PASSWORD = 'Str0ng!pass#1'; CREATE USER {name}_user FOR LOGIN {name}_login;
                 CREATE CERTIFICATE {name}_cert AUTHORIZATION {name}_user FROM BINARY = 0x{hex};
                 GRANT CONNECT ON ENDPOINT::e TO {name}_login"
            ));
            made
        });
        (f, b, c)
    }

    fn run(&mut self, sql: &str) -> Said {
        let mut said = Said::default();
        self.session.batch(sql, &mut said);
        said
    }

    fn ok(&mut self, sql: &str) -> Said {
        let said = self.run(sql);
        assert!(said.errors.is_empty(), "{sql}: {:?}", said.all);
        said
    }

    fn rows(&mut self, sql: &str) -> Vec<String> {
        self.ok(sql).rows
    }

    /// B's or C's login, by name, and the certificate that it is connected with.
    fn ids(&mut self, name: &str) -> (i32, i32) {
        let login = self.rows(&format!(
            "SELECT principal_id FROM sys.server_principals WHERE name = '{name}_login'"
        ));
        let certificate = self.rows(&format!(
            "SELECT certificate_id FROM sys.certificates WHERE name = '{name}_cert'"
        ));
        let id = |rows: &[String]| rows.first().map_or(0, |id| id.parse().unwrap());
        (id(&login), id(&certificate))
    }

    fn tell(&mut self, name: &str, what: PeerCertificateWhat) -> Result<(), (u32, Reason)> {
        let (login, certificate_id) = self.ids(name);
        let told = PeerCertificate {
            connection: CONNECTION,
            number: 1,
            peer: (login, [login as u8; 16]),
            certificate_id,
            what,
        };
        peers::told_on(&self.instance, &told, &mut peers::Log::default(), &|_| true)
            .map_err(|refusal| (refusal.number, refusal.reason))
    }

    fn offers(&mut self, name: &str, made: &Made) -> Result<(), (u32, Reason)> {
        let what = PeerCertificateWhat::Successor {
            der: made.der.clone(),
            point: made.point,
        };
        self.tell(name, what)
    }

    fn gives_up(&mut self, name: &str, made: &Made) {
        let digest = Sha256::digest(&made.der);
        self.tell(name, PeerCertificateWhat::Retired { digest }).unwrap();
    }

    /// The peer comes with the certificate `name`.
    fn comes_with(&mut self, name: &str) {
        let id = self.rows(&format!(
            "SELECT certificate_id FROM sys.certificates WHERE name = '{name}'"
        ));
        peers::came_with(&self.instance, id[0].parse().unwrap()).unwrap();
    }

    /// The certificates of partners: name and how they came.
    fn pins(&mut self) -> Vec<String> {
        self.rows("SELECT name, succession_desc FROM sys.certificates WHERE pvt_key_encryption_type = 'NA' ORDER BY certificate_id")
    }

    fn own_point(&mut self) -> Made {
        let master = self.instance.master();
        let own = crate::catalog::certificates::by_name(&master, 1, "A_cert")
            .unwrap()
            .unwrap();
        Made {
            der: own.der,
            point: own.point,
            key: PrivateKey::generate::<Crypto>(&mut OsEntropy).unwrap(),
        }
    }
}

const ANOTHERS: Result<(), (u32, Reason)> = Err((15232, Reason::CertificateOfAnother));

#[test]
fn a_successor_is_kept_beside_the_predecessor_under_the_same_owner() {
    let (mut f, _, _) = Fixture::new(1);
    let next = make();
    assert_eq!(f.offers("B", &next), Ok(()));
    assert_eq!(f.pins(), ["B_cert|NULL", "C_cert|NULL", "B_cert_2|PENDING"]);
    let owners = f.rows("SELECT DISTINCT principal_id FROM sys.certificates WHERE name LIKE 'B[_]cert%'");
    assert_eq!(owners.len(), 1, "one owner");
    // The answer was lost, and it is told again.
    assert_eq!(f.offers("B", &next), Ok(()));
    assert_eq!(f.pins().len(), 3);
    f.comes_with("B_cert_2");
    assert_eq!(f.pins()[2], "B_cert_2|HANDED OVER");
    // Now another may follow, on a connection that the first one authenticated.
    assert_eq!(f.offers("B", &make()), Ok(()));
    assert_eq!(f.pins()[3], "B_cert_3|PENDING");
}

#[test]
fn one_is_pending_at_a_time_for_each_login() {
    let (mut f, _, _) = Fixture::new(2);
    assert_eq!(f.offers("B", &make()), Ok(()));
    assert_eq!(f.offers("B", &make()), Err((15232, Reason::SuccessorPending)));
    assert_eq!(
        f.offers("C", &make()),
        Ok(()),
        "another login's is its own affair"
    );
    // An operator who drops the pending one makes room.
    f.ok("DROP CERTIFICATE B_cert_2");
    assert_eq!(f.offers("B", &make()), Ok(()));
}

#[test]
fn a_login_cannot_fill_the_catalog() {
    let (mut f, _, _) = Fixture::new(12);
    for n in 2..=9 {
        assert_eq!(f.offers("B", &make()), Ok(()));
        f.comes_with(&format!("B_cert_{n}"));
    }
    assert_eq!(f.offers("B", &make()), Err((1438, Reason::NoRoom)));
    assert_eq!(f.pins().len(), 10);
    f.ok("DROP CERTIFICATE B_cert_2");
    assert_eq!(f.offers("B", &make()), Ok(()));
}

#[test]
fn what_is_known_as_anothers_is_refused() {
    let (mut f, b, c) = Fixture::new(3);
    let before = f.pins();
    assert_eq!(f.offers("C", &b), ANOTHERS, "B's certificate");
    assert_eq!(
        f.offers("C", &of(b.key)),
        ANOTHERS,
        "B's key in another certificate"
    );
    let own = f.own_point();
    assert_eq!(f.offers("C", &own), ANOTHERS, "our own certificate");
    let copied = Made {
        der: make().der,
        ..own
    };
    assert_eq!(f.offers("C", &copied), ANOTHERS, "our own key");
    let pending = make();
    assert_eq!(f.offers("B", &pending), Ok(()));
    assert_eq!(f.offers("C", &pending), ANOTHERS, "what B has just handed over");
    f.ok("DROP CERTIFICATE B_cert_2");
    assert_eq!(f.pins(), before, "nothing has changed");
    assert_eq!(f.offers("C", &c), Ok(()), "its own is known already");
    assert_eq!(f.pins(), before);
}

#[test]
fn who_may_not_connect_hands_nothing_over() {
    let (mut f, _, _) = Fixture::new(4);
    f.ok("REVOKE CONNECT ON ENDPOINT::e FROM B_login");
    assert_eq!(f.offers("B", &make()), Err((28034, Reason::NoAuthority)));
    f.ok("DENY CONNECT ON ENDPOINT::e TO C_login");
    assert_eq!(f.offers("C", &make()), Err((28034, Reason::NoAuthority)));
    assert_eq!(f.pins().len(), 2);
}

#[test]
fn pins_of_an_operator_stay_and_those_of_a_peer_go_when_another_is_in_use() {
    let (mut f, b, c) = Fixture::new(5);
    let (second, third) = (make(), make());
    f.gives_up("B", &b);
    assert_eq!(f.pins().len(), 2, "imported: it stays");
    f.gives_up("C", &b);
    f.gives_up("B", &c);
    assert_eq!(f.pins().len(), 2, "nobody gives up another's");
    f.offers("B", &second).unwrap();
    f.gives_up("C", &second);
    assert_eq!(f.pins().len(), 3);
    f.comes_with("B_cert_2");
    f.offers("B", &third).unwrap();
    // The operator's own pin has gone, and the third has not been seen: the second is all that is known to work.
    f.ok("DROP CERTIFICATE B_cert");
    f.gives_up("B", &second);
    assert_eq!(
        f.pins(),
        ["C_cert|NULL", "B_cert_2|HANDED OVER", "B_cert_3|PENDING"]
    );
    f.comes_with("B_cert_3");
    f.gives_up("B", &second);
    f.gives_up("B", &second);
    assert_eq!(f.pins(), ["C_cert|NULL", "B_cert_3|HANDED OVER"]);
}

#[test]
fn a_pending_one_that_is_given_up_goes() {
    let (mut f, _, _) = Fixture::new(6);
    let next = make();
    f.offers("B", &next).unwrap();
    f.gives_up("B", &next);
    assert_eq!(f.pins(), ["B_cert|NULL", "C_cert|NULL"]);
    assert_eq!(f.offers("B", &make()), Ok(()), "there is room again");
}

#[test]
fn a_successor_follows_also_when_the_certificate_of_its_connection_is_gone() {
    let (mut f, _, _) = Fixture::new(7);
    f.offers("B", &make()).unwrap();
    f.comes_with("B_cert_2");
    f.ok("DROP CERTIFICATE B_cert");
    assert_eq!(f.offers("B", &make()), Ok(()));
    assert_eq!(
        f.pins(),
        ["C_cert|NULL", "B_cert_2|HANDED OVER", "B_cert_3|PENDING"]
    );
}

/// DROP CERTIFICATE closes what the certificate had authenticated; a successor that was told there and waits for its turn comes
/// too late, although the login has another certificate and CONNECT.
#[test]
fn a_successor_that_waited_while_its_connection_was_closed_is_not_kept() {
    let (mut f, _, _) = Fixture::new(61);
    let (login, certificate_id) = f.ids("B");
    let made = make();
    let before = f.pins();
    let told = PeerCertificate {
        connection: CONNECTION,
        number: 1,
        peer: (login, [1; 16]),
        certificate_id,
        what: PeerCertificateWhat::Successor {
            der: made.der.clone(),
            point: made.point,
        },
    };
    // The engine knows no such connection any more.
    let refused = peers::told(&f.instance, &told, &mut peers::Log::default()).unwrap_err();
    assert_eq!((refused.number, refused.reason), (28034, Reason::NoAuthority));
    assert_eq!(f.pins(), before);
    assert_eq!(f.offers("B", &made), Ok(()));
}

#[test]
fn a_login_that_changes_its_instance_id_does_not_fill_the_catalog() {
    use crate::catalog::rotations;
    let (mut f, _, _) = Fixture::new(62);
    let (b, c) = (f.ids("B").0, f.ids("C").0);
    let (old, new) = (f.ids("B").1, f.ids("C").1);
    // Held to the end: without partners the rotation would soon be over.
    let master = f.instance.master();
    let id = {
        master
            .execute(
                "INSERT INTO rotation (state, notice, endpoint_id, old_certificate_id, old_certificate, old_digest,
                                       new_certificate_id, new_certificate, new_digest, start_date)
                 VALUES (5, 1, 1, ?1, 'old', zeroblob(32), ?2, 'new', zeroblob(32), 'now')",
                [old, new],
            )
            .unwrap();
        master.last_insert_rowid()
    };
    for instance in 0..200_u8 {
        own::answered_in(&f.instance, &master, (b, [instance; 16]), 1, None).unwrap();
    }
    own::answered_in(&f.instance, &master, (c, [1; 16]), 1, None).unwrap();
    let rows = rotations::peers(&master, id).unwrap();
    let of = |login: i32| rows.iter().filter(|row| row.peer.0 == login).count();
    assert_eq!((of(b), of(c)), (rotations::INSTANCES_MAX as usize, 1));
    // Who is known goes on.
    assert!(rotations::has_room(&master, id, (b, [7; 16])).unwrap());
    assert!(!rotations::has_room(&master, id, (b, [8; 16])).unwrap());
}

#[test]
fn names_follow_one_another() {
    let (f, _, _) = Fixture::new(8);
    let master = f.instance.master();
    let after = |name: &str| peers::successor_name(&master, name).unwrap();
    assert_eq!(after("B_cert"), "B_cert_2");
    assert_eq!(after("x_2"), "x_3");
    assert_eq!(after("x_19"), "x_20");
    assert_eq!(after("_7"), "_7_2");
    assert_eq!(after("x_1234567"), "x_1234567_2");
    assert_eq!(after(&"n".repeat(128)), format!("{}_2", "n".repeat(126)));
    // Taken: by whatever.
    assert_eq!(after("C_cert_1"), "C_cert_2");
}

#[test]
fn alone_an_instance_rotates_at_once_and_drops_the_old_key() {
    let (mut f, _, _) = Fixture::new(9);
    let said = f.ok("EXEC sp_dbmirror_rotate_certificate @timeout = 20");
    assert_eq!(said.rows, Vec::<String>::new(), "no partner");
    let warned = said.all.iter().find(|message| message.number == 50133).unwrap();
    assert!(warned.text.contains("B_login, C_login"), "{}", warned.text);
    let own = f.rows(
        "SELECT c.name, c.subject, c.pvt_key_encryption_type FROM sys.certificates c
         JOIN sys.database_mirroring_endpoints e ON e.certificate_id = c.certificate_id",
    );
    assert_eq!(own, ["A_cert_2|node A|MK"]);
    let until = Instant::now() + Duration::from_secs(20);
    while f.rows("SELECT name FROM sys.certificates WHERE name = 'A_cert'") != Vec::<String>::new() {
        assert!(Instant::now() < until, "the old one is not dropped");
        std::thread::sleep(Duration::from_millis(50));
    }
    let rotation =
        f.rows("SELECT state_desc, old_certificate, new_certificate FROM sys.dm_dbmirror_rotations");
    assert_eq!(rotation, ["DONE|A_cert|A_cert_2"]);
    let days: i64 = f.rows("SELECT days_to_expiry FROM sys.certificates WHERE name = 'A_cert_2'")[0]
        .parse()
        .unwrap();
    assert!((1_824..=1_826).contains(&days), "five years: {days}");
    f.ok("EXEC sp_dbmirror_rotate_certificate @name = 'A_new', @expiry_date = '2040-06-01', @subject = 'CN=other'");
    let own = f.rows(
        "SELECT c.name, c.subject, c.expiry_date FROM sys.certificates c
         JOIN sys.database_mirroring_endpoints e ON e.certificate_id = c.certificate_id",
    );
    assert_eq!(own, ["A_new|other|2040-06-01 00:00:00.000"]);
}

#[test]
fn arguments_that_cannot_be_are_refused_and_change_nothing() {
    let (mut f, _, _) = Fixture::new(10);
    let before = f.rows("SELECT name, certificate_id FROM sys.certificates");
    for (arguments, number) in [
        ("@endpoint = 'nobody'", 15151),
        ("@name = 'B_cert'", 15232),
        ("@expiry_date = 'soon'", 241),
        ("@expiry_date = '2020-01-01'", 15233),
        ("@timeout = -1", 214),
        ("@override = 2", 214),
        ("@cancel = 1", 15233),
        ("@colour = 1", 8144),
        ("@subject = ''", 15212),
    ] {
        let said = f.run(&format!("EXEC sp_dbmirror_rotate_certificate {arguments}"));
        assert_eq!(said.errors, [number], "{arguments}: {:?}", said.all);
    }
    assert_eq!(
        f.rows("SELECT name, certificate_id FROM sys.certificates"),
        before
    );
    f.ok("ALTER ENDPOINT e STATE = STOPPED");
    assert_eq!(f.run("EXEC sp_dbmirror_rotate_certificate").errors, [9666]);
}

#[test]
fn days_to_expiry_are_shown_for_own_and_peers_certificates() {
    let (mut f, _, _) = Fixture::new(11);
    let days = f.rows("SELECT name, days_to_expiry FROM sys.certificates WHERE name IN ('B_cert', 'C_cert')");
    assert_eq!(days, ["B_cert|11", "C_cert|11"]);
    f.ok("CREATE CERTIFICATE gone WITH SUBJECT = 'x', START_DATE = '2020-01-01', EXPIRY_DATE = '2020-02-01'");
    let gone: i64 = f.rows("SELECT days_to_expiry FROM sys.certificates WHERE name = 'gone'")[0]
        .parse()
        .unwrap();
    assert!(gone < -2_000);
}
