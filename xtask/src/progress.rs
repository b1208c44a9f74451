//! What does the user see while something takes time? Steps go to standard error, one line each,
//! with the time they took; what a command was asked for goes to standard output.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use anyhow::Result;

/// One line of progress.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Runs one step and says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    say(&format!("{what} …"));
    let start = Instant::now();
    let result = work()?;
    say(&format!("{what}: done in {}", human(start.elapsed())));
    Ok(result)
}

/// Whether a person watches.
pub(crate) fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// `0.2 s`, `48 s`, `3 min 5 s`.
pub(crate) fn human(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{} s", time.as_secs()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_well() {
        assert_eq!(human(Duration::from_millis(240)), "0.2 s");
        assert_eq!(human(Duration::from_secs(48)), "48 s");
        assert_eq!(human(Duration::from_secs(185)), "3 min 5 s");
    }
}
