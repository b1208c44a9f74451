//! Runs a program with a bound on its time and on its output.

use std::{
    io::{self, Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use crate::snapshot::Unknown;

/// No source of ours prints a tenth of this.
const OUTPUT_BYTES_MAX: u64 = 8 << 20;

/// How often to look whether a program that has closed its output has ended.
const POLL: Duration = Duration::from_millis(2);

/// What the program printed.
///
/// # Errors
/// If it is not there, does not end within `limit` (it is then killed), or ends in failure; the
/// words of the failure are in the reason.
pub(super) fn run(program: &str, args: &[&str], limit: Duration) -> Result<Vec<u8>, Unknown> {
    feed(program, args, None, limit)
}

/// As [`run`], with `input` on its standard input.
pub(super) fn feed(
    program: &str,
    args: &[&str],
    input: Option<&str>,
    limit: Duration,
) -> Result<Vec<u8>, Unknown> {
    let deadline = Instant::now() + limit;
    let spawned = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Unknown::Missing { what: program.to_owned() },
        io::ErrorKind::PermissionDenied => Unknown::Permission { detail: error.to_string() },
        _ => Unknown::Failed { detail: error.to_string() },
    })?;
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        // Ours fit into a pipe; what a program does not read shows in how it ends.
        let _ = pipe.write_all(input.as_bytes());
    }
    let answer = finish(&mut child, deadline);
    if answer.is_err() {
        // It may have ended by itself in between; either way it must not stay behind.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (status_ok, out, err) = answer.map_err(|stuck| match stuck {
        Stuck::Time => Unknown::TimedOut { limit_ms: limit.as_millis() as u64 },
        Stuck::Io(error) => Unknown::Failed { detail: error.to_string() },
    })?;
    if status_ok {
        return Ok(out);
    }
    // networksetup complains on its standard output, the others on their standard error.
    let words =
        [err, out].iter().map(|b| String::from_utf8_lossy(b).trim().to_owned()).collect::<Vec<_>>();
    let detail =
        words.into_iter().find(|text| !text.is_empty()).unwrap_or_else(|| "no words".into());
    Err(Unknown::Failed { detail })
}

enum Stuck {
    Time,
    Io(io::Error),
}

fn finish(child: &mut Child, deadline: Instant) -> Result<(bool, Vec<u8>, Vec<u8>), Stuck> {
    let out = read_aside(child.stdout.take());
    let err = read_aside(child.stderr.take());
    let out = wait_for(&out, deadline)?;
    let err = wait_for(&err, deadline)?;
    loop {
        if let Some(status) = child.try_wait().map_err(Stuck::Io)? {
            return Ok((status.success(), out, err));
        }
        if Instant::now() >= deadline {
            return Err(Stuck::Time);
        }
        thread::sleep(POLL);
    }
}

/// Reads on a thread of its own, so that the wait can be bounded even if a grandchild keeps the
/// pipe open; that thread ends when the pipe does.
fn read_aside(pipe: Option<impl Read + Send + 'static>) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = match pipe {
            Some(pipe) => pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes),
            None => Ok(0),
        };
        // Nobody waits any more once the deadline has passed.
        let _ = sender.send(read.map(|_| bytes));
    });
    receiver
}

fn wait_for(receiver: &Receiver<io::Result<Vec<u8>>>, deadline: Instant) -> Result<Vec<u8>, Stuck> {
    match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(read) => read.map_err(Stuck::Io),
        Err(RecvTimeoutError::Timeout) => Err(Stuck::Time),
        Err(RecvTimeoutError::Disconnected) => Err(Stuck::Io(io::ErrorKind::BrokenPipe.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn output_is_returned_and_failure_keeps_its_words() {
        assert_eq!(run("/bin/sh", &["-c", "echo yes"], LONG).unwrap(), b"yes\n");
        let failed = run("/bin/sh", &["-c", "echo on stdout; exit 4"], LONG).unwrap_err();
        assert_eq!(failed, Unknown::Failed { detail: "on stdout".into() });
        let missing = run("/no/such/program", &[], LONG).unwrap_err();
        assert_eq!(missing, Unknown::Missing { what: "/no/such/program".into() });
    }

    #[test]
    fn a_program_that_hangs_is_given_up_even_if_a_grandchild_keeps_its_pipe() {
        let limit = Duration::from_millis(200);
        for script in ["sleep 30", "sleep 30 & exit 0", "exec >&- 2>&-; sleep 30"] {
            let begun = Instant::now();
            let gone = run("/bin/sh", &["-c", script], limit).unwrap_err();
            assert_eq!(gone, Unknown::TimedOut { limit_ms: 200 }, "{script}");
            assert!(begun.elapsed() < Duration::from_secs(10), "{script}");
        }
    }
}
