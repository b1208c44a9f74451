//! How a process of a test and the test talk: lines in, one JSON object a line out.

use std::{
    io::{BufRead, Write},
    sync::mpsc,
    thread,
};

use serde_json::Value;

/// Says when a line comes on the standard input; disconnected at its end.
#[must_use]
pub fn read_input() -> mpsc::Receiver<()> {
    let (line, input) = mpsc::sync_channel(4);
    thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            if line.send(()).is_err() {
                return;
            }
        }
    });
    input
}

/// Says this on the standard output. Ends the process if nobody listens any more.
pub fn tell(words: &Value) {
    let mut out = std::io::stdout().lock();
    // Whoever does not listen any more has stopped us.
    if writeln!(out, "{words}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}
