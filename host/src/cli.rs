//! The command line. `sql` follows sqlcmd's letters, so there `-h` is not help.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::instance::ServiceKeySource;

/// Database mirroring for SQLite, set up with Transact-SQL.
#[derive(Debug, Parser)]
#[command(
    name = "dbmirror",
    version = crate::provider::VERSION,
    propagate_version = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an instance until SIGTERM or SIGINT.
    Serve(ServeArgs),
    /// Send Transact-SQL to an instance, with sqlcmd's habits.
    Sql(SqlArgs),
    /// Let an instance dial a partner's endpoint, authenticate, and report each step.
    TestConnection(TestConnectionArgs),
    /// Replace the certificate of an instance's endpoint; its connections and sessions go on.
    Rotate(RotateArgs),
    /// Pair two instances: each learns the other's certificate, without a file that somebody carries.
    Pair(PairArgs),
    /// Make the memory of an appliance from a script, or show what one holds.
    Provision(ProvisionArgs),
    /// Two instances, the certificate procedure, a mirrored database: the whole product in a minute.
    Quickstart(QuickstartArgs),
    /// The application of the quickstart: appends so many transactions to a SQLite file.
    #[command(hide = true)]
    QuickstartWriter(QuickstartWriterArgs),
}

/// `dbmirror serve`
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Data directory of the instance; made on the first start.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Name of the instance (@@SERVERNAME).
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Address that LISTENER_IP = ALL means for this instance [default: every address].
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<IpAddr>,
    /// What protects the service master key: file (DIR/smk.key as it is), passphrase-file=PATH, or credential
    /// ($CREDENTIALS_DIRECTORY/dbmirror-smk).
    #[arg(long, value_name = "HOW", default_value = "file")]
    pub service_key: ServiceKeySource,
    /// Make a new service master key where the old one is missing or cannot be opened; master keys then open by password.
    #[arg(long)]
    pub new_service_key: bool,
    /// Print only the ready line; the log still goes to DIR/log/errorlog.
    #[arg(long)]
    pub quiet: bool,
}

/// `dbmirror pair`
#[derive(Clone, Debug, Args)]
#[command(group = clap::ArgGroup::new("side").required(true).args(["open", "with", "show"]))]
pub struct PairArgs {
    /// Data directory of the instance on this side.
    #[arg(short = 'S', long = "server", value_name = "DIR")]
    pub server: PathBuf,
    /// Hold a window open and show a one-time code; ends with a pairing, after the minutes, or with Ctrl-C.
    #[arg(long)]
    pub open: bool,
    /// Pair with the instance at this endpoint, whose operator holds a window open.
    #[arg(long, value_name = "TCP://HOST:PORT")]
    pub with: Option<String>,
    /// Show the fingerprint of this side's certificate and do nothing else.
    #[arg(long)]
    pub show: bool,
    /// The code that the other side shows; asked for on standard input when neither it nor a fingerprint is given.
    #[arg(long, value_name = "CODE", requires = "with", conflicts_with = "fingerprint")]
    pub code: Option<String>,
    /// The fingerprint that the other side shows (64 hexadecimal digits), instead of a code. Both sides need the other's.
    #[arg(long, value_name = "HEX", conflicts_with = "show")]
    pub fingerprint: Option<String>,
    /// How long the window stays open.
    #[arg(long, value_name = "MINUTES", default_value_t = 10, requires = "open", value_parser = clap::value_parser!(u8).range(1..=10))]
    pub minutes: u8,
    /// What the other side's login, user and certificate are called after [default: its own name].
    #[arg(long, value_name = "NAME", conflicts_with = "show")]
    pub name: Option<String>,
    /// How steps are written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `dbmirror provision`
#[derive(Clone, Debug, Args)]
pub struct ProvisionArgs {
    /// Transact-SQL that makes the device what it is: master key, certificate, endpoint, partners.
    #[arg(value_name = "SCRIPT", required_unless_present = "show")]
    pub script: Option<PathBuf>,
    /// Where the memory's image is written; it must not be there yet.
    #[arg(long, value_name = "FILE", required_unless_present = "show")]
    pub out: Option<PathBuf>,
    /// The device's own key (48 bytes); made when the file is missing. It is put into the device apart from the image.
    #[arg(long, value_name = "FILE")]
    pub device_key: PathBuf,
    /// Name of the device (@@SERVERNAME).
    #[arg(long, value_name = "NAME", required_unless_present = "show")]
    pub name: Option<String>,
    /// The device's IPv4 address and the bits of its network.
    #[arg(long, value_name = "ADDRESS/BITS", required_unless_present = "show", value_parser = crate::provision::network)]
    pub address: Option<crate::provision::Network>,
    /// The way to other networks.
    #[arg(long, value_name = "ADDRESS")]
    pub gateway: Option<std::net::Ipv4Addr>,
    /// The device's Ethernet address [default: a locally administered one from its instance id].
    #[arg(long, value_name = "MAC", value_parser = crate::provision::mac)]
    pub mac: Option<[u8; 6]>,
    /// Where the partner with that login is, so that the device dials it; may be repeated. No names: the device asks no name server.
    #[arg(long = "peer", value_name = "LOGIN=IP:PORT", value_parser = crate::provision::dialed_peer)]
    pub peers: Vec<crate::provision::DialedPeer>,
    /// Where FROM FILE and TO FILE of the script lead [default: the script's directory].
    #[arg(long, value_name = "DIR")]
    pub files: Option<PathBuf>,
    /// Where the device's certificate is written, for the partners [default: --out with the ending .cer].
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// Show what an image holds, without its secrets.
    #[arg(long, value_name = "IMAGE", conflicts_with_all = ["script", "out", "name", "address", "gateway", "mac", "peers", "files", "certificate"])]
    pub show: Option<PathBuf>,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns under headings, as sqlcmd prints them.
    #[default]
    Table,
    /// JSON, one object a line (docs/tsql.md, "JSON output").
    Json,
}

/// `dbmirror sql`
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
pub struct SqlArgs {
    /// Data directory of the instance.
    #[arg(short = 'S', long = "server", value_name = "DIR")]
    pub server: PathBuf,
    /// Run a script; may be repeated, `-` is standard input.
    #[arg(short = 'i', long = "input", value_name = "FILE")]
    pub input: Vec<PathBuf>,
    /// Run a query and exit.
    #[arg(short = 'Q', long = "query", value_name = "SQL", conflicts_with = "input")]
    pub query: Option<String>,
    /// Run a query, then go on reading standard input.
    #[arg(short = 'q', long = "initial-query", value_name = "SQL", conflicts_with_all = ["input", "query"])]
    pub initial_query: Option<String>,
    /// Write results to a file instead of standard output.
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Rows between column headings: 0 prints them once, -1 never.
    #[arg(
        short = 'h',
        long = "headers",
        value_name = "ROWS",
        default_value_t = 0,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i32).range(-1..)
    )]
    pub headers: i32,
    /// Remove trailing blanks from columns.
    #[arg(short = 'W', long = "trim")]
    pub trim: bool,
    /// What stands between columns.
    #[arg(
        short = 's',
        long = "separator",
        value_name = "SEP",
        default_value = " ",
        allow_hyphen_values = true
    )]
    pub separator: String,
    /// Stop at the first error.
    #[arg(short = 'b', long = "stop")]
    pub stop: bool,
    /// Define a scripting variable, written $(NAME) in scripts; may be repeated.
    #[arg(short = 'v', long = "variable", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,
    /// Wait up to so many seconds for the instance to answer.
    #[arg(
        short = 'l',
        long = "login-timeout",
        value_name = "SECONDS",
        default_value_t = 0
    )]
    pub login_timeout: u32,
    /// Login; reserved: the admin socket knows who you are.
    #[arg(short = 'U', long = "user", value_name = "LOGIN")]
    pub user: Option<String>,
    /// Password; reserved.
    #[arg(short = 'P', long = "password", value_name = "PASSWORD")]
    pub password: Option<Hidden>,
    /// How results are written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Print help.
    #[arg(short = '?', long = "help", action = ArgAction::Help)]
    help: Option<bool>,
}

/// A password of the command line: its `Debug` form says nothing.
#[derive(Clone)]
pub struct Hidden(pub zeroize::Zeroizing<String>);

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

/// `dbmirror test-connection`
#[derive(Clone, Debug, Args)]
pub struct TestConnectionArgs {
    /// Data directory of the instance that dials.
    #[arg(short = 'S', long = "server", value_name = "DIR")]
    pub server: PathBuf,
    /// Where to: TCP://host:port.
    #[arg(value_name = "ADDRESS")]
    pub address: String,
    /// Keep the authenticated connection open for so long.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub hold: u32,
    /// How steps are written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// `dbmirror rotate`: `EXEC sp_dbmirror_rotate_certificate` with these arguments.
#[derive(Clone, Debug, Args)]
pub struct RotateArgs {
    /// Data directory of the instance.
    #[arg(short = 'S', long = "server", value_name = "DIR")]
    pub server: PathBuf,
    /// Name of the new certificate [default: the old one's with the next number].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Subject of the new certificate [default: the old one's].
    #[arg(long, value_name = "TEXT")]
    pub subject: Option<String>,
    /// When the new certificate expires, UTC [default: in five years].
    #[arg(long, value_name = "DATE")]
    pub expiry_date: Option<String>,
    /// How long to wait for the partners.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u32,
    /// Switch when the time is over although partners are missing; they are listed.
    #[arg(long = "override")]
    pub force: bool,
    /// Give up the rotation that is under way and has not switched.
    #[arg(long, conflicts_with_all = ["name", "subject", "expiry_date", "force"])]
    pub cancel: bool,
    /// How the partners' rows are written.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

impl RotateArgs {
    /// The same as a query for `dbmirror sql`.
    #[must_use]
    pub fn as_sql(&self) -> SqlArgs {
        let mut arguments = vec![format!("@timeout = {}", self.timeout)];
        for (name, value) in [
            ("name", &self.name),
            ("subject", &self.subject),
            ("expiry_date", &self.expiry_date),
        ] {
            if let Some(value) = value {
                arguments.push(format!("@{name} = N'{}'", value.replace('\'', "''")));
            }
        }
        for (name, set) in [("override", self.force), ("cancel", self.cancel)] {
            if set {
                arguments.push(format!("@{name} = 1"));
            }
        }
        SqlArgs {
            server: self.server.clone(),
            input: Vec::new(),
            query: Some(format!(
                "EXEC sp_dbmirror_rotate_certificate {}",
                arguments.join(", ")
            )),
            initial_query: None,
            output: None,
            headers: 0,
            trim: true,
            separator: "  ".to_owned(),
            stop: true,
            variables: Vec::new(),
            login_timeout: 0,
            user: None,
            password: None,
            format: self.format,
            help: None,
        }
    }
}

/// `dbmirror quickstart`
#[derive(Clone, Debug, Args)]
pub struct QuickstartArgs {
    /// Directory for both instances; an existing one resumes [default: a fresh temporary one].
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Mirror a copy of this SQLite database instead of a sample.
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// Stop everything at the end; exit 0 only if every check passed.
    #[arg(long)]
    pub exit: bool,
}

/// `dbmirror quickstart-writer`, which `quickstart` starts as a process of its own.
#[derive(Clone, Debug, Args)]
pub struct QuickstartWriterArgs {
    /// The SQLite file.
    pub file: PathBuf,
    /// How many transactions.
    pub transactions: u64,
}

/// `NAME=VALUE`, the name being one that `$(NAME)` can say; the value may stand in double quotes.
fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    if !is_variable_name(name) {
        return Err(format!(
            "'{name}' cannot name a variable: letters, digits, '_' and '-' can"
        ));
    }
    let value = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    Ok((name.to_owned(), value.to_owned()))
}

/// Whether `$(name)` is how a script refers to it.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.chars().all(is_variable_character)
}

/// Whether the name of a scripting variable can hold it.
#[must_use]
pub fn is_variable_character(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sql(arguments: &[&str]) -> Result<SqlArgs, clap::Error> {
        let line = ["dbmirror", "sql"].iter().chain(arguments);
        match Cli::try_parse_from(line)?.command {
            Command::Sql(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn definition_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn sqlcmd_letters() {
        let args = sql(&[
            "-S",
            "/d",
            "-i",
            "a.sql",
            "-i",
            "b.sql",
            "-o",
            "out",
            "-h",
            "-1",
            "-W",
            "-s",
            ",",
            "-b",
            "-v",
            "X=1",
            "-v",
            "Y=\"a b\"",
        ])
        .unwrap();
        assert_eq!(args.input, [PathBuf::from("a.sql"), PathBuf::from("b.sql")]);
        assert_eq!(args.headers, -1);
        assert!(args.trim && args.stop);
        assert_eq!(args.separator, ",");
        assert_eq!(
            args.variables,
            [("X".into(), "1".into()), ("Y".into(), "a b".into())]
        );
        let attached = sql(&["-S/d", "-h-1", "-s|", "-QSELECT 1"]).unwrap();
        assert_eq!((attached.headers, attached.separator.as_str()), (-1, "|"));
        assert_eq!(attached.query.as_deref(), Some("SELECT 1"));
    }

    #[test]
    fn rotate_is_a_procedure_call() {
        let line = [
            "dbmirror",
            "rotate",
            "-S",
            "/d",
            "--subject",
            "it's $(x)",
            "--timeout",
            "5",
            "--override",
        ];
        let Command::Rotate(args) = Cli::try_parse_from(line).unwrap().command else {
            panic!("rotate");
        };
        assert_eq!(
            args.as_sql().query.as_deref(),
            Some("EXEC sp_dbmirror_rotate_certificate @timeout = 5, @subject = N'it''s $(x)', @override = 1")
        );
        let both = ["dbmirror", "rotate", "-S", "/d", "--cancel", "--override"];
        assert!(Cli::try_parse_from(both).is_err());
    }

    #[test]
    fn wrong_letters_are_refused() {
        assert!(sql(&["-Q", "SELECT 1"]).is_err(), "no -S");
        assert!(sql(&["-S", "/d", "-h"]).is_err(), "-h wants a number");
        assert!(sql(&["-S", "/d", "-h", "-2"]).is_err());
        assert!(sql(&["-S", "/d", "-i", "x", "-Q", "y"]).is_err());
        for bad in ["X", "=1", "a b=1", "a)=1"] {
            assert!(sql(&["-S", "/d", "-v", bad]).is_err(), "{bad}");
        }
        assert_eq!(
            sql(&["-?"]).unwrap_err().kind(),
            clap::error::ErrorKind::DisplayHelp
        );
    }
}
