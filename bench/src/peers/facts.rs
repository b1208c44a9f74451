//! Where a run was made: what its figures depend on.

use std::{fmt, fs, thread::available_parallelism};

use serde::Serialize;

use crate::namespace;

#[derive(Serialize)]
pub(super) struct Facts {
    processor: String,
    processors: usize,
    kernel: String,
    congestion_control: &'static str,
    /// Processes that ran or wanted to, on average over the minute before.
    load_before: String,
    tbbench: &'static str,
}

impl Facts {
    pub(super) fn now() -> Self {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let processor = line("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or("unknown".into(), |(_, name)| name.to_owned());
        Self {
            processor,
            processors: available_parallelism().map_or(0, usize::from),
            kernel: line("/proc/sys/kernel/osrelease"),
            congestion_control: namespace::CONGESTION_CONTROL,
            load_before: line("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            tbbench: env!("CARGO_PKG_VERSION"),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tbbench {} · {} × {} · Linux {} · TCP {} · load before {}\n\
             two network namespaces and a veth pair, one processor for each side",
            self.tbbench,
            self.processors,
            self.processor,
            self.kernel,
            self.congestion_control,
            self.load_before,
        )
    }
}
