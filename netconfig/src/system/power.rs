//! Does this machine run on a battery, and may it fall asleep?
//!
//! [`keep_awake`] has the system's own program hold sleep off: `caffeinate` on macOS,
//! `systemd-inhibit` on Linux. Both end by themselves when this process does, however it ends.

use std::{
    fmt,
    process::{Child, Command, Stdio},
};

use crate::snapshot::Unknown;

/// Where a machine's power comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// The wall; or the machine has no battery.
    Mains,
    /// A battery.
    Battery {
        /// How full, in percent.
        percent: Option<u8>,
    },
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mains => f.write_str("mains"),
            Self::Battery { percent: Some(percent) } => write!(f, "battery, {percent} %"),
            Self::Battery { percent: None } => f.write_str("battery"),
        }
    }
}

/// Where this machine's power comes from, if the system tells.
#[must_use]
pub fn power() -> Option<Power> {
    #[cfg(target_os = "linux")]
    return of_supplies(&supplies(std::path::Path::new("/sys/class/power_supply")));
    #[cfg(not(target_os = "linux"))]
    {
        /// It answers at once, or something is wrong.
        const LIMIT: std::time::Duration = std::time::Duration::from_secs(2);
        let output = super::command::run("/usr/bin/pmset", &["-g", "batt"], LIMIT).ok()?;
        parse_pmset(&String::from_utf8_lossy(&output))
    }
}

/// One of Linux's power supplies, as its files say.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
#[derive(Debug, Default, PartialEq, Eq)]
struct Supply {
    kind: String,
    status: String,
    online: Option<bool>,
    scope: String,
    percent: Option<u8>,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn supplies(folder: &std::path::Path) -> Vec<Supply> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let read = |name: &str| {
                let text = std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
                text.trim().to_owned()
            };
            Supply {
                kind: read("type"),
                status: read("status"),
                online: match read("online").as_str() {
                    "" => None,
                    online => Some(online != "0"),
                },
                scope: read("scope"),
                percent: read("capacity").parse().ok(),
            }
        })
        .collect()
}

/// A mouse has a battery, too: only those that feed the machine count.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn of_supplies(supplies: &[Supply]) -> Option<Power> {
    let own = || supplies.iter().filter(|supply| supply.scope != "Device");
    if own().any(|supply| supply.kind != "Battery" && supply.online == Some(true)) {
        return Some(Power::Mains);
    }
    let discharging =
        own().find(|supply| supply.kind == "Battery" && supply.status == "Discharging");
    let percent = discharging.map(|battery| battery.percent);
    Some(percent.map_or(Power::Mains, |percent| Power::Battery { percent }))
}

/// macOS's `pmset -g batt`.
#[cfg_attr(target_os = "linux", allow(dead_code))]
fn parse_pmset(text: &str) -> Option<Power> {
    let from = text.lines().find_map(|line| line.split_once("drawing from '"))?.1;
    match from.split('\'').next()? {
        "AC Power" => Some(Power::Mains),
        "Battery Power" => {
            let before = text.split_once('%')?.0;
            let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next();
            Some(Power::Battery { percent: digits.and_then(|digits| digits.parse().ok()) })
        }
        _ => None,
    }
}

/// Sleep is held off until this is dropped.
#[derive(Debug)]
pub struct Awake {
    child: Child,
    program: &'static str,
}

/// Holds sleep off, for as long as this process runs and the result lives. That the system agreed
/// is known only a moment later: [`Awake::is_held`].
///
/// # Errors
/// The system has no such program.
pub fn keep_awake(why: &str) -> Result<Awake, Unknown> {
    let id = std::process::id().to_string();
    let (program, words) = holder(&id, why);
    let spawned = Command::new(program)
        .args(&words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let child = spawned.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Unknown::Missing { what: program.to_owned() },
        _ => Unknown::Failed { detail: error.to_string() },
    })?;
    Ok(Awake { child, program })
}

/// The program that holds sleep off while process `id` runs.
fn holder(id: &str, why: &str) -> (&'static str, Vec<String>) {
    if cfg!(target_os = "macos") {
        return ("/usr/bin/caffeinate", ["-i", "-w", id].map(str::to_owned).to_vec());
    }
    let why = format!("--why={why}");
    let pid = format!("--pid={id}");
    let words = [
        "--what=sleep:idle",
        "--who=exo-node",
        &why,
        "--mode=block",
        "tail",
        &pid,
        "-f",
        "/dev/null",
    ];
    ("systemd-inhibit", words.map(str::to_owned).to_vec())
}

impl Awake {
    /// Whether sleep is held off still.
    pub fn is_held(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The program that holds it off.
    #[must_use]
    pub fn program(&self) -> &'static str {
        self.program
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supply(kind: &str, status: &str, online: Option<bool>) -> Supply {
        let (kind, status) = (kind.to_owned(), status.to_owned());
        Supply { kind, status, online, percent: Some(85), ..Supply::default() }
    }

    #[test]
    fn a_laptop_on_battery_is_told_from_one_on_the_wall_and_from_a_mouse() {
        let battery = || supply("Battery", "Discharging", None);
        assert_eq!(of_supplies(&[]), Some(Power::Mains));
        let on_battery = Some(Power::Battery { percent: Some(85) });
        assert_eq!(of_supplies(&[supply("Mains", "", Some(false)), battery()]), on_battery);
        let plugged = [supply("Battery", "Charging", None), supply("USB", "", Some(true))];
        assert_eq!(of_supplies(&plugged), Some(Power::Mains));
        let mouse = Supply { scope: "Device".into(), ..battery() };
        assert_eq!(of_supplies(&[mouse]), Some(Power::Mains));
    }

    #[test]
    fn linux_s_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let battery = folder.path().join("BAT0");
        std::fs::create_dir(&battery).unwrap();
        for (name, text) in
            [("type", "Battery\n"), ("status", "Discharging\n"), ("capacity", "41\n")]
        {
            std::fs::write(battery.join(name), text).unwrap();
        }
        let power = of_supplies(&supplies(folder.path()));
        assert_eq!(power.unwrap().to_string(), "battery, 41 %");
        assert_eq!(of_supplies(&supplies(&folder.path().join("none"))), Some(Power::Mains));
    }

    #[test]
    fn macos_s_words_are_read() {
        let battery = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=4653155)\t85%; \
                       discharging; 4:36 remaining present: true\n";
        assert_eq!(parse_pmset(battery), Some(Power::Battery { percent: Some(85) }));
        let wall = "Now drawing from 'AC Power'\n -InternalBattery-0 (id=4653155)\t100%; charged; \
                    0:00 remaining present: true\n";
        assert_eq!(parse_pmset(wall), Some(Power::Mains));
        assert_eq!(parse_pmset("Now drawing from 'AC Power'\n"), Some(Power::Mains));
        assert_eq!(parse_pmset("Now drawing from 'UPS Power'\n"), None);
        assert_eq!(parse_pmset(""), None);
    }

    #[test]
    fn what_holds_sleep_off_ends_with_this_process() {
        let (_, words) = holder("4711", "serving");
        assert!(words.iter().any(|word| word.contains("4711")), "{words:?}");
    }
}
