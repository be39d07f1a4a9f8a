//! Linker scripts and log level of the image. Emitted only for the device, so that hosts build the stub as usual.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=memory.x");
    println!("cargo:rerun-if-changed=device.x");
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo names the package's directory");
    println!("cargo:rustc-link-search={here}");
    for argument in ["--nmagic", "-Tlink.x", "-Tdefmt.x"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    // Without a level defmt keeps errors only, and the log of a healthy device would be empty.
    println!("cargo:rustc-env=DEFMT_LOG=info");
}
