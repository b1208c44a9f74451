//! What the tests share: real `exo-node` processes, and a clean place for each to live in.
//!
//! Tests that need something a machine may not have ask for it by [`needed`], which says
//! `skipped: needs …` where it is not there.

pub mod http;
pub mod hub;
pub mod lines;
pub mod namespaces;
mod node;
pub mod ring;

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

pub use node::{Node, NodeOptions};

/// The value of an environment variable that a test needs, or `None` after saying that it is
/// skipped: written past the test harness, which swallows what passing tests print.
#[must_use]
pub fn needed(variable: &str) -> Option<PathBuf> {
    let value = env::var_os(variable).filter(|value| !value.is_empty());
    if value.is_none() {
        let _ = writeln!(std::io::stderr(), "skipped: needs {variable}");
    }
    value.map(PathBuf::from)
}

/// A program of this workspace, built beside the running test.
///
/// # Panics
/// If it is not there: `cargo test` alone does not build it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = env::current_exe().expect("a test knows its own file");
    // target/<profile>/deps/<test>
    let profile = test.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let program = profile.join(name);
    let release = if profile.ends_with("release") { " --release" } else { "" };
    assert!(
        program.is_file(),
        "{} is not there: build it with `cargo build --bin {name}{release}`",
        program.display()
    );
    program
}

/// A TCP port of loopback that nobody used a moment ago.
///
/// # Panics
/// If the system has none left.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of loopback");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Writes a new cluster key to `dir`, as the nodes want it: 64 hexadecimal digits, mode 0600.
///
/// # Panics
/// If it cannot be written.
#[must_use]
pub fn key_file(dir: &Path) -> PathBuf {
    let mut key = [0; 32];
    let mut random = fs::File::open("/dev/urandom").expect("every Unix has randomness");
    random.read_exact(&mut key).expect("as much of it as one likes");
    let file = dir.join("cluster.key");
    fs::write(&file, hex::encode(key)).expect("a key file can be written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("and made private");
    file
}
