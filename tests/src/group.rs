//! Two partners and a witness, as processes.

use std::path::{Path, PathBuf};

use crate::processes::{Host, assert_equal, attach, copy_certificate, mirror, open};

/// Two partners and a witness that the documented scripts have introduced to each other.
pub struct Group {
    /// The first principal of most tests.
    pub a: Host,
    /// Its mirror.
    pub b: Host,
    /// The witness.
    pub w: Host,
    /// Where all live, and the databases.
    pub root: tempfile::TempDir,
}

/// Three configured instances on 127.`block`.0.1, .2 and .3.
pub fn group(block: u8) -> Group {
    let root = tempfile::tempdir().expect("a temporary directory");
    let [a, b, w] = [("a", 1), ("b", 2), ("w", 3)].map(|(name, last)| {
        let name = format!("HOST_{}", name.to_uppercase());
        Host::start(root.path(), &name, &format!("127.{block}.0.{last}"))
    });
    let group = Group { a, b, w, root };
    let hosts = [(&group.a, "a"), (&group.b, "b"), (&group.w, "w")];
    for (host, name) in hosts {
        host.script(&script(&format!("{name}_outbound")));
    }
    for (from, name) in hosts {
        for (to, _) in hosts.iter().filter(|(to, _)| to.name != from.name) {
            copy_certificate(from, to, &format!("{}_cert.cer", name.to_uppercase()));
        }
    }
    for (host, name) in hosts {
        host.script(&script(&format!("{name}_inbound")));
    }
    group
}

fn script(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/scripts/three_hosts");
    std::fs::read_to_string(path.join(format!("{name}.sql"))).expect("a script")
}

impl Group {
    /// A database attached to A, seeded to B, with W as its witness, SYNCHRONIZED. Gives the files of A and B.
    pub fn mirrored(&self, name: &str) -> (PathBuf, PathBuf) {
        let file = attach(&self.a, self.root.path(), name);
        mirror(&self.a, &self.b, name);
        self.a.ok(&format!(
            "ALTER DATABASE [{name}] SET WITNESS = '{}'",
            self.w.url()
        ));
        self.ready(&self.a, name);
        (file, self.b.dir.join(format!("data/{name}.db")))
    }

    /// Waits until an automatic fail-over from `principal` is possible.
    pub fn ready(&self, principal: &Host, name: &str) {
        principal.await_mirroring(name, "mirroring_state_desc", "SYNCHRONIZED");
        principal.await_mirroring(name, "mirroring_witness_state_desc", "CONNECTED");
        self.w.wait("the witness knows", || {
            let known = self.w.lines(WITNESSED);
            if known == all_well(principal) {
                Ok(())
            } else {
                Err(format!("{known:?}"))
            }
        });
    }

    /// A or B.
    pub fn partner(&mut self, is_a: bool) -> &mut Host {
        if is_a { &mut self.a } else { &mut self.b }
    }

    /// One commit on the principal's file, of A's and B's, that both then have.
    pub fn commit_to_both(&self, principal_is_a: bool, [file_a, file_b]: [&Path; 2]) {
        let (principal, mirror, file) = if principal_is_a {
            (&self.a, &self.b, file_a)
        } else {
            (&self.b, &self.a, file_b)
        };
        open(file)
            .execute("INSERT INTO t (v) VALUES (hex(randomblob(40)))", [])
            .expect("a commit");
        assert_equal(principal, mirror, "shop");
    }

    /// Waits until one of the partners is the principal and serves, the other its mirror, and everything is as before a fail-over.
    /// Whether it is A.
    pub fn settled(&self, name: &str) -> bool {
        // All in one look: an ask that was open when the witness came back may still change the roles.
        self.a.wait("one principal that its witness knows", || {
            let roles = [&self.a, &self.b].map(|h| h.mirroring(name, "mirroring_role_desc"));
            let state = [&self.a, &self.b].map(|h| h.mirroring(name, "mirroring_state_desc"));
            let principal_is_a = match roles.each_ref().map(String::as_str) {
                ["PRINCIPAL", "MIRROR"] if state == ["SYNCHRONIZED", "SYNCHRONIZED"] => true,
                ["MIRROR", "PRINCIPAL"] if state == ["SYNCHRONIZED", "SYNCHRONIZED"] => false,
                _ => return Err(format!("{roles:?} {state:?}")),
            };
            let principal = if principal_is_a { &self.a } else { &self.b };
            let witness = principal.mirroring(name, "mirroring_witness_state_desc");
            let known = self.w.lines(WITNESSED);
            if witness == "CONNECTED" && known == all_well(principal) {
                Ok(principal_is_a)
            } else {
                Err(format!(
                    "{roles:?} {state:?}, witness {witness}, which knows {known:?}"
                ))
            }
        })
    }
}

/// What the witness says of its sessions.
pub const WITNESSED: &str = "SELECT principal_server_name, partner_sync_state_desc, is_principal_connected, is_mirror_connected FROM \
                         sys.database_mirroring_witnesses";

/// What it says ([`WITNESSED`]) of the one session of a level group.
fn all_well(principal: &Host) -> [String; 1] {
    [format!("{}|SYNCHRONIZED|1|1", principal.name)]
}
