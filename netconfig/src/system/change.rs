//! The only place that changes the system: runs the commands of a plan, reads the state to come back
//! to, and sees what a step has done.

use std::{collections::BTreeMap, fmt, fs, io, path::Path, time::Duration};

use super::{Request, command, linux};
use crate::{
    plan::{
        Action, CommandLine, Keeper, State,
        action::{PROFILE_SETTINGS, networkd_file, profile_name},
        state::{FileState, ProfileState},
    },
    snapshot::{Snapshot, Unknown},
    text::{Lang, Text, apply as say},
};

#[cfg(target_os = "linux")]
use {crate::plan::state::RouteState, serde_json::Value};

/// Bound on a command that changes something. A password may be asked for in between.
const LIMIT: Duration = Duration::from_secs(120);
/// Bound on a command that only asks.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// A profile larger than this is none of ours.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A command that failed, or a state that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeError {
    /// The command, or the file, as a person would type it.
    pub command: String,
    /// Why.
    pub why: Unknown,
}

impl ChangeError {
    /// What failed, and why.
    pub fn text(&self) -> Text {
        say::command_said(&self.command, self.why.text())
    }

    /// What to do next.
    pub fn hint(&self) -> Text {
        match &self.why {
            Unknown::Missing { what } if what == "ip" => say::install("iproute2"),
            Unknown::Missing { what } if what == "sudo" => say::no_sudo(),
            Unknown::Missing { what } => say::install(what),
            _ => say::try_it(&self.command),
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

impl std::error::Error for ChangeError {}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs a command of a plan, through sudo if it needs root and we are not.
///
/// # Errors
/// The command's words.
pub fn run(line: &CommandLine) -> Result<(), ChangeError> {
    let words = line.words(is_root());
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    match command::feed(program, args, line.stdin.as_deref(), LIMIT) {
        Ok(_) => Ok(()),
        Err(why) => Err(ChangeError { command: line.to_string(), why }),
    }
}

/// The state of everything that `actions` may change on `interfaces`.
///
/// # Errors
/// If something of it cannot be read: it could not be put back.
pub fn state(interfaces: &[String], actions: &[Action]) -> Result<State, ChangeError> {
    let mut state = State::of_snapshot(&settings(&Request::default()), interfaces);
    // What is not there (unplugged) has nothing that could be put back.
    state.links.retain(|link| link.up.is_some());
    #[cfg(target_os = "linux")]
    for link in state.links.iter_mut().filter(|link| interfaces.contains(&link.name)) {
        (link.addresses, link.routes) = rows(&link.name)?;
        if actions.iter().any(|action| action.loses_inet6_of() == Some(&link.name)) {
            (link.addresses6, link.routes6) = rows6(&link.name)?;
        }
    }
    for action in actions {
        match action {
            Action::KeepNetworkd { interface, .. } => {
                state.files.push(file(&networkd_file(interface))?);
            }
            Action::KeepNetworkManager { interface, .. } => state.profiles.push(profile(interface)),
            _ => {}
        }
    }
    Ok(state)
}

/// The IPv4 addresses and routes of an interface, as iproute2 prints them.
#[cfg(target_os = "linux")]
fn rows(name: &str) -> Result<(Vec<Value>, Vec<RouteState>), ChangeError> {
    let addresses = addresses(name, "-4")?;
    let routes = ask(&["-j", "-d", "-4", "route", "show", "table", "all"])?;
    Ok((addresses, RouteState::over(name, &routes)))
}

/// The IPv6 addresses and routes that somebody made: those that the kernel or a router makes come by
/// themselves.
#[cfg(target_os = "linux")]
fn rows6(name: &str) -> Result<(Vec<Value>, Vec<Value>), ChangeError> {
    let mut addresses = addresses(name, "-6")?;
    let is_fixed = |row: &Value| row["scope"] != "link" && row.get("dynamic").is_none();
    addresses.retain(is_fixed);
    let mut routes = ask(&["-j", "-d", "-6", "route", "show", "table", "all"])?;
    routes
        .retain(|row| row["dev"] == name && row["protocol"] != "kernel" && row["protocol"] != "ra");
    Ok((addresses, routes))
}

#[cfg(target_os = "linux")]
fn addresses(name: &str, family: &str) -> Result<Vec<Value>, ChangeError> {
    let links = ask(&["-j", family, "address", "show", "dev", name])?;
    // Older versions print empty objects for the interfaces that were left out.
    let rows = links.iter().filter_map(|link| link.get("addr_info")?.as_array());
    Ok(rows.flatten().cloned().collect())
}

#[cfg(target_os = "linux")]
fn ask(args: &[&str]) -> Result<Vec<Value>, ChangeError> {
    let error = |why| ChangeError { command: format!("ip {}", args.join(" ")), why };
    let bytes = command::run("ip", args, ASK_LIMIT).map_err(error)?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&bytes).map_err(|e| error(Unknown::Unreadable { detail: e.to_string() }))
}

fn file(path: &str) -> Result<FileState, ChangeError> {
    let text = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Ok(found) if found.len() > FILE_BYTES_MAX => {
            Err(Unknown::Failed { detail: format!("larger than {FILE_BYTES_MAX} bytes") })
        }
        Ok(_) => fs::read_to_string(path)
            .map(Some)
            .map_err(|error| super::recorded::unreadable(path, &error)),
        Err(error) => Err(super::recorded::unreadable(path, &error)),
    };
    match text {
        Ok(text) => Ok(FileState { path: path.to_owned(), text }),
        Err(why) => Err(ChangeError { command: path.to_owned(), why }),
    }
}

fn profile(interface: &str) -> ProfileState {
    let name = profile_name(interface);
    let line = |args: &[&str]| {
        let bytes = command::run("nmcli", args, ASK_LIMIT).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let addresses = line(&["-g", "ipv4.addresses", "connection", "show", &name]);
    let value = |setting: &str| {
        let value = line(&["-e", "no", "-g", setting, "connection", "show", &name])?;
        Some((setting.to_owned(), value))
    };
    let settings = addresses.iter().flat_map(|_| PROFILE_SETTINGS.into_iter().filter_map(value));
    let settings = settings.collect();
    // For addresses that were given without it, NetworkManager makes up a profile that goes with them.
    let state = line(&["-g", "GENERAL.STATE", "device", "show", interface]);
    let made_up = state.is_some_and(|state| state.contains("externally"));
    let active = line(&["-g", "GENERAL.CONNECTION", "device", "show", interface]);
    let active = active.filter(|active| !active.is_empty() && !made_up);
    ProfileState { interface: interface.to_owned(), name, addresses, settings, active }
}

/// Who keeps the configuration of each of these interfaces across restarts; those that nobody known
/// keeps are left out.
pub fn keepers<'a>(interfaces: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, Keeper> {
    interfaces.into_iter().filter_map(|name| Some((name.to_owned(), keeper(name)?))).collect()
}

fn keeper(interface: &str) -> Option<Keeper> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let says = |args: &[&str]| {
        let bytes = command::run("nmcli", args, ASK_LIMIT).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    if says(&["-g", "RUNNING", "general"]).as_deref() == Some("running") {
        let state = says(&["-g", "GENERAL.STATE", "device", "show", interface]);
        // 10 is "unmanaged": somebody else looks after it.
        if state.is_some_and(|state| !state.starts_with("10 ")) {
            let has_profile = profile(interface).addresses.is_some();
            return Some(Keeper::NetworkManager { has_profile });
        }
    }
    let networkd = ["is-active", "--quiet", "systemd-networkd.service"];
    command::run("systemctl", &networkd, ASK_LIMIT).is_ok().then_some(Keeper::Networkd)
}

/// The interfaces that are Wi-Fi by sysfs; none on other systems, whose snapshots say it.
pub fn wifi() -> Vec<String> {
    linux::sysfs::wifi(Path::new("/sys"))
}

/// What shows whether a step took effect.
pub(crate) fn look(request: &Request) -> Snapshot {
    settings(request)
}

fn settings(request: &Request) -> Snapshot {
    #[cfg(target_os = "linux")]
    return linux::live::full(request);
    #[cfg(not(target_os = "linux"))]
    return super::macos::settings(&super::macos::Live, request);
}
