//! What becomes of a panic: the device is reset, tells where it was, and serves again.

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;

use dbmirror_firmware_tests::group::Group;
use dbmirror_firmware_tests::image;
use dbmirror_tests::processes::PATIENCE;
use object::{Object as _, ObjectSymbol as _};

/// The functions of the image: start, end, name.
fn functions() -> Vec<(u32, u32, String)> {
    let bytes = std::fs::read(image()).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let functions = file.symbols().filter(|symbol| symbol.size() > 0);
    functions
        .map(|symbol| {
            // Bit 0 says Thumb.
            let start = u32::try_from(symbol.address() & !1).unwrap();
            let end = start + u32::try_from(symbol.size()).unwrap();
            (start, end, symbol.name().unwrap_or_default().to_owned())
        })
        .collect()
}

/// One packet to a debugger's stub and its answer (GDB's remote protocol). That the device stands still comes in between, and is skipped.
fn packet(stub: &mut UnixStream, body: &str) -> String {
    let sum = body.bytes().fold(0_u8, u8::wrapping_add);
    write!(stub, "${body}#{sum:02x}").unwrap();
    loop {
        let mut answer = Vec::new();
        while !(answer.len() >= 4 && answer[answer.len() - 3] == b'#') {
            let mut byte = [0];
            stub.read_exact(&mut byte).unwrap();
            if !answer.is_empty() || byte[0] == b'$' {
                answer.push(byte[0]);
            }
        }
        write!(stub, "+").unwrap();
        let answer = String::from_utf8(answer).unwrap();
        if !answer.starts_with("$T") {
            return answer;
        }
    }
}

#[test]
fn a_panic_is_told_after_the_reset_with_the_calls_that_led_to_it() {
    let functions = functions();
    let function_at = |address: u32| {
        let found = functions
            .iter()
            .find(|(start, end, _)| (*start..*end).contains(&address));
        found.map_or("", |(_, _, name)| name.as_str())
    };
    let mut group = Group::new(Ipv4Addr::new(127, 200, 1, 31), &["HOST_A"]);
    let mut board = group.board();
    board.await_line("HOST_A_login is online");

    // The device is made to go on in the function that a bounds check calls when it fails.
    let panics = functions
        .iter()
        .find(|(_, _, name)| name.contains("panic_bounds_check"));
    let (start, ..) = panics.expect("there are bounds checks in the image");
    let path = group.path("debugger");
    board.command(&format!("gdbserver unix:{},server=on,wait=off", path.display()));
    let mut stub = UnixStream::connect(path).unwrap();
    stub.set_read_timeout(Some(PATIENCE)).unwrap();
    // Registers are written by their numbers once their description was read.
    let description = packet(&mut stub, "qXfer:features:read:target.xml:0,ffb");
    assert!(description.contains("<target>"), "{description}");
    // Register 15 is the program counter; bytes in the target's order.
    let to = start.swap_bytes();
    assert_eq!(packet(&mut stub, &format!("Pf={to:08x}")), "$OK#9a");
    assert_eq!(packet(&mut stub, "D"), "$OK#9a");

    let line = board.await_line("reset by panic");
    assert!(line.contains("1 since power-on"), "{line}");
    let addresses: Vec<u32> = line
        .split("0x")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_hexdigit()).next().unwrap())
        .map(|digits| u32::from_str_radix(digits, 16).unwrap())
        .collect();
    let names: Vec<&str> = addresses.iter().map(|address| function_at(*address)).collect();
    let told = |part: &str| names.iter().position(|name| name.contains(part));
    let (check, main) = (told("panic_bounds_check"), told("main"));
    assert!(check.is_some() && check < main, "{line}: {names:?}");

    board.await_line("boot=2");
    assert!(group.hosts[0].test_connection(&group.url()).status.success());
}
