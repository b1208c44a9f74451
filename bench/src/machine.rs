//! What a machine is: what its figures depend on.

use std::{fs, process::Command, thread::available_parallelism};

use serde::{Deserialize, Serialize};

/// A machine, in its own words. What it does not say is not known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) name: Option<String>,
    /// The maker's name for it: `Mac16,11`.
    pub(crate) model: Option<String>,
    pub(crate) processor: Option<String>,
    pub(crate) processors: usize,
    /// `macOS 26.2`, `Linux 6.18.4`.
    pub(crate) system: Option<String>,
    /// Mains or battery, and whether it saves power.
    pub(crate) power: Option<String>,
    /// Processes that ran or wanted to, on average over the minute before.
    pub(crate) load: Option<String>,
    pub(crate) tbbench: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn this() -> Self {
        Self {
            name: said("hostname", &["-s"]).or_else(|| line("/proc/sys/kernel/hostname")),
            processors: available_parallelism().map_or(0, usize::from),
            tbbench: env!("CARGO_PKG_VERSION").into(),
            ..system()
        }
    }

    /// The machine in a line.
    pub(crate) fn in_words(&self) -> String {
        let told = [&self.model, &self.processor, &self.system, &self.power];
        let told: Vec<_> = told.into_iter().flatten().map(String::as_str).collect();
        let name = self.name.as_deref().unwrap_or("a machine");
        format!("{name}: {} · {} processors", told.join(" · "), self.processors)
    }
}

#[cfg(target_os = "macos")]
fn system() -> Machine {
    let of = |name: &str| said("sysctl", &["-n", name]);
    let version = said("sw_vers", &["-productVersion"]);
    Machine {
        name: None,
        model: of("hw.model"),
        processor: of("machdep.cpu.brand_string"),
        processors: 0,
        system: version.map(|version| format!("macOS {version}")),
        power: macos_power(),
        load: of("vm.loadavg").and_then(|load| load.split_whitespace().nth(1).map(str::to_owned)),
        tbbench: String::new(),
    }
}

#[cfg(target_os = "macos")]
fn macos_power() -> Option<String> {
    // Now drawing from 'AC Power'
    let source = output("pmset", &["-g", "batt"])?;
    let source = source.split('\'').nth(1)?.to_owned();
    let settings = output("pmset", &["-g"]).unwrap_or_default();
    let saves = settings.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some("lowpowermode") && words.next() == Some("1")
    });
    Some(if saves { format!("{source}, low power mode") } else { source })
}

#[cfg(not(target_os = "macos"))]
fn system() -> Machine {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = line("/proc/loadavg");
    Machine {
        name: None,
        model: line("/sys/devices/virtual/dmi/id/product_name"),
        processor: processor.map(|(_, name)| name.to_owned()),
        processors: 0,
        system: line("/proc/sys/kernel/osrelease").map(|release| format!("Linux {release}")),
        power: linux_power(),
        load: load.and_then(|load| load.split(' ').next().map(str::to_owned)),
        tbbench: String::new(),
    }
}

#[cfg(not(target_os = "macos"))]
fn linux_power() -> Option<String> {
    let supplies = fs::read_dir("/sys/class/power_supply").ok()?;
    let online = supplies.flatten().find_map(|supply| {
        let path = supply.path();
        line(path.join("online").to_str()?).map(|online| online == "1")
    });
    online.map(|online| if online { "mains" } else { "battery" }.to_owned())
}

/// The first line of a file.
fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

/// The first line that a program says.
fn said(program: &str, words: &[&str]) -> Option<String> {
    let first = output(program, words)?.lines().next()?.trim().to_owned();
    (!first.is_empty()).then_some(first)
}

fn output(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_what_it_runs() {
        let machine = Machine::this();
        assert!(machine.processors > 0);
        let system = machine.system.as_deref().unwrap();
        assert!(machine.in_words().contains(system), "{}", machine.in_words());
    }
}
