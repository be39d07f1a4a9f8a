//! `dbmirror provision`: the memory of an appliance, made from the same Transact-SQL that a server takes (`docs/appliance.md`).
//!
//! The script runs against an instance of its own in a directory that is thrown away; then what its catalog says is put into
//! the layout of `docs/nvm.md`, with the keys wrapped by the device's key. Nothing of the server's forms reaches the device.

mod image;
mod scratch;
mod show;

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use dbmirror_adapters::nvm::DeviceKey;
use dbmirror_core::crypto::Hash as _;
use dbmirror_core::keys::{SERVICE_KEY_FILE_LEN, ServiceMasterKey};

use crate::catalog::keys::Sha256;
use crate::cli::ProvisionArgs;
use crate::instance::read_bounded;
use crate::terminal::complain;
use crate::{exit, terminal};

/// Mode of what nobody else may read.
const SECRET: u32 = 0o600;
/// Mode of what is given to everybody, less what the umask takes.
const PUBLIC: u32 = 0o666;

/// What a user asked for that cannot be, with the exit code.
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn usage(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: exit::USAGE,
        }
    }

    fn statement(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            code: exit::STATEMENT_ERROR,
        }
    }
}

/// The device's place in its network, as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of the network in it.
    pub prefix: u8,
}

/// A partner that the device dials, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialedPeer {
    /// The login.
    pub login: String,
    /// Where.
    pub address: SocketAddrV4,
}

/// `A.B.C.D/BITS`, for the command line.
///
/// # Errors
/// What is wrong with it.
pub fn network(text: &str) -> Result<Network, String> {
    let (address, prefix) = text
        .split_once('/')
        .ok_or("expected ADDRESS/BITS, as in 192.168.1.9/24")?;
    let address: Ipv4Addr = address
        .parse()
        .map_err(|_| "the device has an IPv4 address, as in 192.168.1.9/24")?;
    let prefix: u8 = prefix.parse().map_err(|_| "BITS is a number from 1 to 30")?;
    if !(1..=30).contains(&prefix) {
        return Err("BITS is a number from 1 to 30".to_owned());
    }
    if address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast() {
        return Err(format!("{address} cannot be a device's address"));
    }
    Ok(Network { address, prefix })
}

/// `LOGIN=A.B.C.D:PORT`, for the command line.
///
/// # Errors
/// What is wrong with it.
pub fn dialed_peer(text: &str) -> Result<DialedPeer, String> {
    let (login, address) = text
        .rsplit_once('=')
        .ok_or("expected LOGIN=ADDRESS:PORT, as in HOST_A_login=192.168.1.10:7024")?;
    let address: SocketAddrV4 = address
        .parse()
        .map_err(|_| "the device asks no name server: the address must be IPv4, as in 192.168.1.10:7024")?;
    if login.is_empty() || address.port() == 0 {
        return Err("expected LOGIN=ADDRESS:PORT, as in HOST_A_login=192.168.1.10:7024".to_owned());
    }
    Ok(DialedPeer {
        login: login.to_owned(),
        address,
    })
}

/// `02:00:00:12:34:56`, for the command line.
///
/// # Errors
/// What is wrong with it.
pub fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = "expected six hexadecimal bytes, as in 02:00:00:12:34:56";
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2).ok_or(wrong)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| wrong)?;
    }
    match (parts.next(), mac) {
        (Some(_), _) => Err(wrong.to_owned()),
        (None, [first, ..]) if first & 1 == 1 => Err("that is a group address".to_owned()),
        (None, mac) => Ok(mac),
    }
}

/// Runs the command; returns its exit code.
#[must_use]
pub fn run(args: &ProvisionArgs) -> u8 {
    let done = match &args.show {
        Some(image) => show::run(image, &args.device_key),
        None => provision(args),
    };
    match done {
        Ok(()) => exit::DONE,
        Err(failure) => {
            complain(format_args!("dbmirror provision: {}", failure.text));
            failure.code
        }
    }
}

fn provision(args: &ProvisionArgs) -> Result<(), Failure> {
    // clap asks for all of them where there is no --show.
    let (Some(out), Some(network), Some(name)) = (&args.out, args.address, &args.name) else {
        return Err(Failure::usage("--out, --name and --address are needed"));
    };
    let Some(script) = &args.script else {
        return Err(Failure::usage("a script is needed"));
    };
    let certificate = args
        .certificate
        .clone()
        .unwrap_or_else(|| out.with_extension("cer"));
    not_there(out, "--out")?;
    not_there(&certificate, "--certificate")?;
    let text = read_bounded(script, 1 << 20)
        .map_err(|error| error.to_string())
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned()))
        .map_err(|error| Failure::usage(format!("{}: {error}", script.display())))?;
    let files = match &args.files {
        Some(files) => files.clone(),
        None => match script.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        },
    };
    let (device, made) = device_key(&args.device_key)?;

    let scratch = scratch::Scratch::start(name, &files)?;
    scratch.run(&text)?;
    let plan = image::Plan {
        network,
        gateway: args.gateway,
        mac: args.mac,
        peers: &args.peers,
    };
    let (bytes, summary) = image::build(scratch.instance(), &plan, &device)?;
    scratch.keep_new_files(&files)?;

    write_new(out, &bytes, SECRET)?;
    write_new(&certificate, &summary.certificate, PUBLIC)?;
    tell(&summary, made, args, out, &certificate)
        .and_then(|()| show::print(&bytes, &device))
        .map_err(|failure| Failure {
            text: format!(
                "{}. The image and its certificate were written; `dbmirror provision --show {}` tells of them",
                failure.text,
                out.display()
            ),
            ..failure
        })
}

/// What was made.
fn tell(
    summary: &image::Summary,
    made: bool,
    args: &ProvisionArgs,
    out: &Path,
    certificate: &Path,
) -> Result<(), Failure> {
    if made {
        let key = args.device_key.display();
        say(format_args!(
            "device key       {key} (new; keep it apart from the image)"
        ))?;
    }
    say(format_args!("image            {}", out.display()))?;
    let file = certificate.display();
    say(format_args!(
        "certificate      {file} (import it on every partner)"
    ))?;
    let fingerprint = hex(&Sha256::digest(&summary.certificate));
    say(format_args!("fingerprint      {fingerprint}"))?;
    for line in &summary.notes {
        say(format_args!("note             {line}"))?;
    }
    Ok(())
}

/// A line of output.
fn say(line: fmt::Arguments<'_>) -> Result<(), Failure> {
    terminal::say(line).map_err(|error| Failure::usage(format!("the output cannot be written: {error}")))
}

/// Reads the device's key; makes it where there is none.
fn device_key(path: &Path) -> Result<(DeviceKey, bool), Failure> {
    let failed = |what: String| Failure::usage(format!("the device key {}: {what}", path.display()));
    let made = !path.exists();
    if made {
        let key = ServiceMasterKey::generate(&mut dbmirror_adapters::entropy::OsEntropy)
            .map_err(|error| failed(error.to_string()))?;
        write_new(path, key.to_file::<Sha256>().expose(), SECRET)?;
    }
    read_device_key(path).map(|key| (key, made))
}

fn read_device_key(path: &Path) -> Result<DeviceKey, Failure> {
    let failed = |what: String| Failure::usage(format!("the device key {}: {what}", path.display()));
    let limit = u64::try_from(SERVICE_KEY_FILE_LEN).unwrap_or(u64::MAX);
    let bytes =
        zeroize::Zeroizing::new(read_bounded(path, limit).map_err(|error| failed(error.to_string()))?);
    DeviceKey::from_file::<Sha256>(&bytes).map_err(|error| failed(error.to_string()))
}

/// Writes a file that is not there yet, with that mode, whole or not at all. Its directory is the user's: unlike an instance's own,
/// it is left as it is.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", path.display()));
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // What is there is ours, and not whole.
        let _ = fs::remove_file(path);
    }
    written.map_err(failed)
}

/// Refuses to write over anything: a device's memory or certificate is not to be lost by a slip.
fn not_there(path: &Path, option: &str) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        return Err(Failure::usage(format!(
            "{} exists and is not overwritten. Move it away, or choose another {option}",
            path.display()
        )));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
