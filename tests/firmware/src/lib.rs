//! The appliance's image in QEMU: a child process, its memory, and its log in clear text.

pub mod budget;
pub mod group;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dbmirror_tests::processes::PATIENCE;
use defmt_decoder::{DecodeError, Table};

/// The endpoint's port on the device.
pub const PORT: u16 = 7024;

/// The image under test: the ELF that `FIRMWARE_ELF` names, which `firmware/build` makes.
///
/// # Panics
/// When there is none: a test that is skipped says nothing.
#[must_use]
pub fn image() -> PathBuf {
    let named = std::env::var_os("FIRMWARE_ELF")
        .expect("FIRMWARE_ELF names the image: run tests/firmware/run, which builds it and QEMU's part");
    let path = PathBuf::from(named);
    assert!(
        path.is_file(),
        "FIRMWARE_ELF names {}, which is no file",
        path.display()
    );
    path
}

/// A board that runs. It is killed when the value goes.
pub struct Board {
    child: Child,
    log: PathBuf,
    elf: PathBuf,
}

/// What is at the other end of a board's network cable.
#[derive(Clone, Copy, Debug)]
pub enum Cable {
    /// QEMU's own network, in which the host reaches the device's endpoint at this address.
    Host(Ipv4Addr),
    /// A UDP socket: every datagram is a frame. The device's end is the first, the test's the second.
    Frames(SocketAddrV4, SocketAddrV4),
}

/// What a board is started with.
pub struct Setup<'a> {
    /// Its memory; it stays over starts.
    pub nvm: &'a Path,
    /// Its key.
    pub key: &'a Path,
    /// Where its log goes: a new file for each start.
    pub log: &'a Path,
    /// What is at the other end of its network cable.
    pub cable: Cable,
    /// Counted instructions instead of the host's clock.
    pub counted: bool,
}

impl Board {
    /// Starts the image.
    ///
    /// # Panics
    /// When QEMU is not there.
    #[must_use]
    pub fn start(setup: &Setup<'_>) -> Self {
        let elf = image();
        let drive = format!("if=none,id=nvm,format=raw,file={}", setup.nvm.display());
        let network = match setup.cable {
            Cable::Host(reached_at) => {
                format!("user,id=net,restrict=off,hostfwd=tcp:{reached_at}:{PORT}-10.0.2.15:{PORT}")
            }
            Cable::Frames(device, test) => format!(
                "dgram,id=net,local.type=inet,local.host={},local.port={},remote.type=inet,remote.host={},remote.port={}",
                device.ip(),
                device.port(),
                test.ip(),
                test.port()
            ),
        };
        let mut command = Command::new("qemu-system-arm");
        command
            .args(["-M", "mps2-an386", "-display", "none", "-monitor"])
            .arg(format!(
                "unix:{},server=on,wait=off",
                setup.log.with_extension("monitor").display()
            ))
            .arg("-kernel")
            .arg(&elf)
            .args(["-drive", &drive])
            .args([
                "-device",
                "at24c-eeprom,bus=i2c,address=0x50,rom-size=65536,drive=nvm",
            ])
            .arg("-device")
            .arg(format!(
                "loader,file={},addr=0x21000000,force-raw=on",
                setup.key.display()
            ))
            .arg("-serial")
            .arg(format!("file:{}", setup.log.display()))
            .args(["-netdev", &network, "-net", "nic,model=lan9118,netdev=net"]);
        if setup.counted {
            command.args(["-icount", "shift=0"]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("qemu-system-arm runs; `apt-get install qemu-system-arm` brings it");
        Self {
            child,
            log: setup.log.to_owned(),
            elf,
        }
    }

    /// The log so far: `seconds LEVEL text`, one line for each.
    ///
    /// # Panics
    /// When the log is not one of this image.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        decode(&self.elf, &std::fs::read(&self.log).unwrap_or_default())
    }

    /// Waits until a line of the log has `text` in it, and gives that line.
    ///
    /// # Panics
    /// When it does not come, with the whole log.
    pub fn await_line(&mut self, text: &str) -> String {
        self.await_line_for(text, PATIENCE)
    }

    /// The same, for no longer than `patience`.
    ///
    /// # Panics
    /// When it does not come, with the whole log.
    pub fn await_line_for(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let lines = self.log();
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return line.clone();
            }
            let ended = self.child.try_wait().expect("a child can be waited for");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "waited in vain for {text:?} (QEMU ended: {ended:?}):\n{}",
                lines.join("\n")
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Most bytes of stack that the device has told so far.
    #[must_use]
    pub fn stack(&self) -> u64 {
        let log = self.log();
        let told = log.iter().filter_map(|line| {
            let (_, rest) = line.split_once("stack: ")?;
            rest.split_once(' ')?.0.parse().ok()
        });
        told.max().unwrap_or(0)
    }

    /// Neither a panic nor a fault nor the watchdog has reset the device.
    ///
    /// # Panics
    /// When one has.
    pub fn assert_one_start(&self) {
        let log = self.log();
        let starts = log
            .iter()
            .filter(|line| line.contains("dbmirror appliance"))
            .count();
        assert!(
            starts == 1 && !log.iter().any(|line| line.contains("reset by")),
            "{}",
            log.join("\n")
        );
    }

    /// Pulls the network cable out, or puts it in again.
    ///
    /// # Panics
    /// When QEMU does not take the command.
    pub fn cable(&self, plugged: bool) {
        let state = if plugged { "on" } else { "off" };
        self.command(&format!("set_link net {state}"));
    }

    /// Gives a command to QEMU's monitor, and waits until it is done.
    ///
    /// # Panics
    /// When QEMU does not take it.
    pub fn command(&self, command: &str) {
        let mut monitor =
            UnixStream::connect(self.log.with_extension("monitor")).expect("QEMU's monitor answers");
        writeln!(monitor, "{command}").expect("QEMU takes a command");
        // The prompt comes again once it is done.
        monitor.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (mut said, mut buffer) = (Vec::new(), [0; 256]);
        while said.windows(6).filter(|window| window == b"(qemu)").count() < 2 {
            let read = monitor.read(&mut buffer).expect("QEMU answers");
            assert!(read > 0, "QEMU's monitor is gone");
            said.extend_from_slice(&buffer[..read]);
        }
    }

    /// The process id of QEMU.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Cuts the power.
    pub fn cut(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a log that the image `elf` wrote.
///
/// # Panics
/// When the image has no log strings.
#[must_use]
pub fn decode(elf: &Path, bytes: &[u8]) -> Vec<String> {
    let elf = std::fs::read(elf).expect("the image can be read");
    let table = Table::parse(&elf)
        .expect("the image's log strings can be read")
        .expect("the image has log strings");
    let mut decoder = table.new_stream_decoder();
    decoder.received(bytes);
    let mut lines = Vec::new();
    loop {
        match decoder.decode() {
            Ok(frame) => {
                let level = frame.level().map_or("PRINT", |level| level.as_str());
                let time = frame
                    .display_timestamp()
                    .map_or_else(String::new, |time| time.to_string());
                lines.push(format!(
                    "{time} {} {}",
                    level.to_uppercase(),
                    frame.display_message()
                ));
            }
            // A frame that is still being written.
            Err(DecodeError::UnexpectedEof) => return lines,
            Err(DecodeError::Malformed) => lines.push("malformed frame".to_owned()),
        }
    }
}

/// A free port of 127.0.0.1, which is where 10.0.2.2 leads from inside QEMU.
///
/// # Panics
/// When the system has none.
#[must_use]
pub fn free_port() -> u16 {
    let listener =
        std::net::TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
