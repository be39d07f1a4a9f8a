//! An appliance and the instances that it is the witness of, introduced to each other by the statements that a user types.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dbmirror_tests::processes::{Host, command, copy_certificate, open};

use crate::{Board, Cable, PORT, Setup, free_port};

const PASSWORD: &str = "<1_Strong_Password!>";

/// One or two instances on 127.0.0.1, which is where 10.0.2.2 leads from inside QEMU, each with a port of its own; and the memory
/// and key of a device.
pub struct Group {
    /// HOST_A and perhaps HOST_B.
    pub hosts: Vec<Host>,
    ports: Vec<u16>,
    device_at: Ipv4Addr,
    /// Of the device's certificate, in the words of CREATE CERTIFICATE.
    validity: String,
    starts: u32,
    // Last, so that processes end before their files go.
    dir: tempfile::TempDir,
}

impl Group {
    /// Instances by these names, and a device that they reach at `device_at`. All know each other; the device is not started.
    ///
    /// # Panics
    /// When any of it is refused.
    #[must_use]
    pub fn new(device_at: Ipv4Addr, names: &[&str]) -> Self {
        Self::with_validity(device_at, names, "")
    }

    /// The same, with what CREATE CERTIFICATE of the device is to say beside the subject.
    ///
    /// # Panics
    /// When any of it is refused.
    #[must_use]
    pub fn with_validity(device_at: Ipv4Addr, names: &[&str], validity: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut hosts = Vec::new();
        let mut ports = Vec::new();
        for name in names {
            let host = Host::start(dir.path(), name, "127.0.0.1");
            let port = free_port();
            host.ok(&format!(
                "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{PASSWORD}';
                 CREATE CERTIFICATE {name}_cert WITH SUBJECT = '{name}';
                 CREATE ENDPOINT Endpoint_Mirroring STATE = STARTED
                   AS TCP (LISTENER_PORT = {port}, LISTENER_IP = ALL)
                   FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE {name}_cert, ENCRYPTION = REQUIRED ALGORITHM AES, ROLE = ALL);
                 BACKUP CERTIFICATE {name}_cert TO FILE = '{name}_cert.cer';"
            ));
            fs::copy(
                host.dir.join(format!("backup/{name}_cert.cer")),
                dir.path().join(format!("{name}_cert.cer")),
            )
            .expect("a certificate");
            hosts.push(host);
            ports.push(port);
        }
        let group = Self {
            hosts,
            ports,
            device_at,
            validity: validity.to_owned(),
            starts: 0,
            dir,
        };
        group.provision();
        for host in &group.hosts {
            fs::copy(group.path("nvm.cer"), host.dir.join("backup/WITNESS_cert.cer"))
                .expect("the device's certificate");
            host.ok(&Self::login("WITNESS"));
            for other in group.hosts.iter().filter(|other| other.name != host.name) {
                copy_certificate(other, host, &format!("{}_cert.cer", other.name));
                host.ok(&Self::login(&other.name));
            }
        }
        group
    }

    /// The statements that let `name` in.
    fn login(name: &str) -> String {
        format!(
            "CREATE LOGIN {name}_login WITH PASSWORD = '=Sample#2_Strong_Password2';
             CREATE USER {name}_user FOR LOGIN {name}_login;
             CREATE CERTIFICATE {name}_cert AUTHORIZATION {name}_user FROM FILE = '{name}_cert.cer';
             GRANT CONNECT ON ENDPOINT::Endpoint_Mirroring TO {name}_login;\n"
        )
    }

    /// A file of this group.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes the device's memory (`nvm.img`), key (`device.key`, unless it is there) and certificate (`nvm.cer`).
    ///
    /// # Panics
    /// When the script is refused.
    pub fn provision(&self) {
        let validity = &self.validity;
        let mut script = format!(
            "CREATE MASTER KEY ENCRYPTION BY PASSWORD = '{PASSWORD}';
             CREATE CERTIFICATE WITNESS_cert WITH SUBJECT = 'WITNESS'{validity};
             CREATE ENDPOINT Endpoint_Mirroring STATE = STARTED
               AS TCP (LISTENER_PORT = {PORT}, LISTENER_IP = ALL)
               FOR DATABASE_MIRRORING (AUTHENTICATION = CERTIFICATE WITNESS_cert, ENCRYPTION = REQUIRED ALGORITHM AES, ROLE = WITNESS);\n"
        );
        let name = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        let mut args: Vec<String> = ["provision", "--name", "WITNESS", "--address", "10.0.2.15/24"]
            .map(str::to_owned)
            .into();
        args.extend(["--gateway".to_owned(), "10.0.2.2".to_owned()]);
        args.extend(["--out".to_owned(), name(&self.path("nvm.img"))]);
        args.extend(["--device-key".to_owned(), name(&self.path("device.key"))]);
        for (host, port) in self.hosts.iter().zip(&self.ports) {
            script += &Self::login(&host.name);
            args.extend([
                "--peer".to_owned(),
                format!("{}_login=10.0.2.2:{port}", host.name),
            ]);
        }
        fs::write(self.path("device.sql"), script).expect("the script can be written");
        args.push(name(&self.path("device.sql")));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (code, said, wrong) = command(&args);
        assert_eq!(code, 0, "{said}{wrong}");
    }

    /// Turns the device on.
    #[must_use]
    pub fn board(&mut self) -> Board {
        self.board_with(Cable::Host(self.device_at), false)
    }

    /// Turns the device on; with `counted` its time passes by instructions.
    #[must_use]
    pub fn board_with(&mut self, cable: Cable, counted: bool) -> Board {
        self.starts += 1;
        Board::start(&Setup {
            nvm: &self.path("nvm.img"),
            key: &self.path("device.key"),
            log: &self.path(&format!("uart-{}", self.starts)),
            cable,
            counted,
        })
    }

    /// The device's server network address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("TCP://{}:{PORT}", self.device_at)
    }

    /// The server network address of an instance.
    #[must_use]
    pub fn url_of(&self, index: usize) -> String {
        format!("TCP://127.0.0.1:{}", self.ports[index])
    }

    /// A database `name` attached to the first instance, seeded to the second, with the device as its witness, which has recorded that
    /// both are level. Gives the files of both.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn mirrored(&self, name: &str, board: &mut Board) -> [PathBuf; 2] {
        let [a, b] = [&self.hosts[0], &self.hosts[1]];
        let file = self.path(&format!("{name}.db"));
        let db = open(&file);
        db.pragma_update(None, "journal_mode", "WAL").expect("WAL mode");
        db.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
            .expect("a table");
        drop(db);
        a.ok(&format!(
            "CREATE DATABASE [{name}] ON (FILENAME = '{}') FOR ATTACH",
            file.display()
        ));
        b.ok(&format!(
            "ALTER DATABASE [{name}] SET PARTNER = '{}' WITH (SEEDING_MODE = AUTOMATIC)",
            self.url_of(0)
        ));
        a.ok(&format!(
            "ALTER DATABASE [{name}] SET PARTNER = '{}'",
            self.url_of(1)
        ));
        a.await_mirroring(name, "mirroring_state_desc", "SYNCHRONIZED");
        board.await_line("ready name=WITNESS");
        a.wait("the device takes the session", || {
            let said = a.sql(&[
                "-b",
                "-Q",
                &format!("ALTER DATABASE [{name}] SET WITNESS = '{}'", self.url()),
            ]);
            if said.status.success() {
                Ok(())
            } else {
                Err(format!(
                    "{}{}",
                    String::from_utf8_lossy(&said.stdout),
                    String::from_utf8_lossy(&said.stderr)
                ))
            }
        });
        self.ready(0, name, 1, board);
        [file, b.dir.join(format!("data/{name}.db"))]
    }

    /// Waits until an automatic failover from that instance is possible in this role_sequence: the device has recorded SYNC.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn ready(&self, principal: usize, name: &str, role_sequence: u32, board: &Board) {
        let host = &self.hosts[principal];
        host.await_mirroring(name, "mirroring_state_desc", "SYNCHRONIZED");
        host.await_mirroring(name, "mirroring_witness_state_desc", "CONNECTED");
        let wanted = format!("role {role_sequence} of {},", host.name);
        host.wait("the device has recorded SYNC", || {
            let sessions = self.sessions();
            match sessions.as_slice() {
                [only] if only.contains(&wanted) && only.ends_with(" SYNC") => Ok(()),
                _ => Err(format!("{sessions:?}\n{}", board.log().join("\n"))),
            }
        });
    }

    /// What the device's memory says of its sessions, also while it runs.
    #[must_use]
    pub fn sessions(&self) -> Vec<String> {
        let name = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        // A copy: the device goes on writing.
        let copy = self.path("shown.img");
        fs::copy(self.path("nvm.img"), &copy).expect("a copy");
        let (_, said, wrong) = command(&[
            "provision",
            "--show",
            &name(&copy),
            "--device-key",
            &name(&self.path("device.key")),
        ]);
        let lines = said.lines().chain(wrong.lines());
        lines
            .filter_map(|line| line.strip_prefix("session "))
            .map(|line| line.trim().to_owned())
            .collect()
    }
}

/// An application that commits numbered rows until it is told to stop. It uses SQLite and nothing of ours.
pub struct Application {
    stop: Arc<AtomicBool>,
    last: Arc<AtomicI64>,
    refused: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Application {
    /// Starts writing to `file`.
    #[must_use]
    pub fn start(file: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let last = Arc::new(AtomicI64::new(0));
        let refused = Arc::new(AtomicU64::new(0));
        let (stopping, committed, refusals) = (Arc::clone(&stop), Arc::clone(&last), Arc::clone(&refused));
        let file = file.to_owned();
        let thread = std::thread::spawn(move || {
            let db = open(&file);
            db.busy_timeout(Duration::from_millis(200)).expect("a timeout");
            while !stopping.load(Ordering::Relaxed) {
                match db.execute("INSERT INTO t (v) VALUES (hex(randomblob(40)))", []) {
                    Ok(_) => committed.store(db.last_insert_rowid(), Ordering::Relaxed),
                    Err(_) => {
                        refusals.fetch_add(1, Ordering::Relaxed);
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self {
            stop,
            last,
            refused,
            thread: Some(thread),
        }
    }

    /// The last row that it has committed.
    #[must_use]
    pub fn last(&self) -> i64 {
        self.last.load(Ordering::Relaxed)
    }

    /// Commits that were refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Ends it; gives the last row that it has committed.
    ///
    /// # Panics
    /// When it has.
    pub fn stop(&mut self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
        self.last()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
