//! Two programs, one on each machine: the one that serves is waited for, the other says what came of
//! it. Neither outlives the measurement.

use std::{
    fs,
    io::{Read as _, Seek as _},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

pub(crate) use crate::interrupt::{catch_interrupts, interrupted};
use crate::{namespace::Machine, turns};

/// How long a program may take to listen.
const LISTEN_PATIENCE: Duration = Duration::from_secs(20);
/// How long one measurement may take.
const RUN_PATIENCE: Duration = Duration::from_secs(120);
/// How long the serving side may take to end by itself.
const END_PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// How a measurement's two programs come together.
pub(crate) struct Job {
    /// Runs on machine B.
    pub(crate) server: Command,
    /// It listens there before the client starts; `None` if both may start at once.
    pub(crate) port: Option<u16>,
    /// Runs on machine A.
    pub(crate) client: Command,
    /// Whether the server ends by itself after one client.
    pub(crate) server_ends: bool,
}

/// What the two said.
pub(crate) struct Said {
    pub(crate) client: String,
    pub(crate) server: String,
}

impl Job {
    /// Runs both to the end.
    pub(crate) fn run(mut self) -> anyhow::Result<Said> {
        let mut server = Running::start(&mut self.server)?;
        if let Some(port) = self.port {
            server.wait_listening(port)?;
        }
        let mut client = Running::start(&mut self.client)?;
        if let Err(error) = client.wait(RUN_PATIENCE) {
            // The reason is often the other side's.
            bail!("{error:#}; the other side said: {}", server.complaint());
        }
        if self.server_ends {
            server.wait(END_PATIENCE)?;
        }
        Ok(Said { client: client.output()?, server: server.output()? })
    }
}

/// A program that serves until this is dropped.
pub(crate) struct Server {
    _running: Running,
}

impl Server {
    /// Starts it, and waits until it listens on `port`.
    pub(crate) fn start(command: &mut Command, port: u16) -> anyhow::Result<Self> {
        let mut running = Running::start(command)?;
        running.wait_listening(port)?;
        Ok(Self { _running: running })
    }
}

/// Where `machine` is reached on `port`.
pub(crate) fn at(machine: Machine, port: u16) -> String {
    SocketAddr::new(machine.address(), port).to_string()
}

struct Running {
    what: String,
    child: Child,
    said: fs::File,
    complained: fs::File,
}

impl Running {
    fn start(command: &mut Command) -> anyhow::Result<Self> {
        let what = format!("{command:?}").replace('"', "");
        let (said, complained) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let child = command
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(complained.try_clone()?)
            .env_remove("RUST_BACKTRACE")
            .spawn()
            .with_context(|| format!("{what} does not start"))?;
        turns::note_started(child.id());
        Ok(Self { what, child, said, complained })
    }

    /// Waits until the process' namespace has a listening TCP socket on `port`.
    fn wait_listening(&mut self, port: u16) -> anyhow::Result<()> {
        let deadline = Instant::now() + LISTEN_PATIENCE;
        loop {
            if is_listening(self.child.id(), port) {
                return Ok(());
            }
            if self.child.try_wait()?.is_some() {
                let complaint = self.complaint();
                bail!("{} ended before it listened: {complaint}", self.what);
            }
            self.go_on(deadline, "listens on no port")?;
        }
    }

    fn wait(&mut self, patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait()? {
                turns::note_ended(self.child.id());
                if status.success() {
                    return Ok(());
                }
                let complaint = self.complaint();
                bail!("{}: {status}: {complaint}", self.what);
            }
            self.go_on(deadline, "does not end")?;
        }
    }

    fn go_on(&self, deadline: Instant, else_it: &str) -> anyhow::Result<()> {
        if interrupted() {
            bail!("interrupted");
        }
        if Instant::now() > deadline {
            bail!("{} {else_it}", self.what);
        }
        std::thread::sleep(LOOK);
        Ok(())
    }

    fn output(&mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        self.said.rewind()?;
        self.said.read_to_string(&mut text)?;
        Ok(text)
    }

    /// The last lines of what it had to complain of.
    fn complaint(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.complained.rewind().and_then(|()| self.complained.read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        let mut last: Vec<_> = text.lines().rev().filter(|line| !line.is_empty()).take(3).collect();
        last.reverse();
        if read.is_ok() { last.join(" | ") } else { String::new() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        turns::note_ended(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `/proc/PID/net/tcp` shows the sockets of the namespace that the process is in.
fn is_listening(pid: u32, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        text.lines().any(|line| {
            // sl, local address, remote address, state; 0A is LISTEN.
            let mut words = line.split_whitespace().skip(1);
            let local = words.next().is_some_and(|local| local.ends_with(&wanted));
            local && words.nth(1) == Some("0A")
        })
    })
}
