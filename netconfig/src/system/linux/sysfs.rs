//! sysfs: network devices, the drivers behind them, and what is on the Thunderbolt bus.
//!
//! Every function takes the root under which sysfs is mounted, so that a recorded or made-up tree
//! serves as well as `/sys`. The attributes are those of the kernel's
//! `Documentation/ABI/testing/sysfs-class-net` and `sysfs-bus-thunderbolt`.

use std::{
    collections::BTreeMap,
    fs, io,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use crate::snapshot::{
    CablePort, Driver, Interface, InterfaceType, Reading, Source, ThunderboltDevice,
    ThunderboltPort, Unknown,
};

// <linux/if.h>
const IFF_UP: u32 = 0x1;
const IFF_LOOPBACK: u32 = 0x8;
const IFF_POINTOPOINT: u32 = 0x10;

/// Folders that only a Wi-Fi interface has; drivers of old have the second alone.
const WIFI_MARKS: [&str; 2] = ["phy80211", "wireless"];

/// Whether a tree holds everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Mounted by the kernel: what is not in it does not exist.
    Live,
    /// Recorded: what is not in it is not known.
    Recorded,
}

/// A recorded tree has no links: here it holds the name of the device behind an interface.
const DEVICE_NAME: &str = "device/name";

/// Adds what sysfs knows of the device behind `interface`: its driver, the port it is at, and whether
/// it is Wi-Fi.
pub fn attach_device(root: &Path, interface: &mut Interface) {
    let folder = shown(root, interface);
    let folder = folder.as_deref();
    interface.driver = folder.and_then(driver);
    interface.cable_port = folder.and_then(cable_port);
    interface.wireless = folder.filter(|f| f.is_dir()).map(|f| wifi_marks(f).next().is_some());
}

/// The driver behind the interface of this folder.
fn driver(folder: &Path) -> Option<Driver> {
    let link = folder.join("device/driver");
    if let Ok(target) = fs::read_link(&link) {
        let name = target.file_name()?.to_string_lossy().into_owned();
        return Some(Driver { name, source: Source::new(link.display().to_string()) });
    }
    let uevent = folder.join("device/uevent");
    let name = field(&text(&uevent)?, "DRIVER")?;
    Some(Driver { name, source: Source::new(uevent.display().to_string()) })
}

/// The Thunderbolt port that the cable of this folder's interface is plugged into: its device stands on
/// a service (`0-1.0`) of the computer at a route (`0-1`).
fn cable_port(folder: &Path) -> Option<CablePort> {
    let (device, path) = device_name(folder)?;
    let (domain, route) = route_of_service(&device)?;
    Some(CablePort {
        bus: bus(domain),
        receptacle: receptacle(route),
        source: Source::new(path.display().to_string()),
    })
}

/// The folder of `interface`, if sysfs shows this very device: in a network namespace `/sys` may
/// still show the devices of another one, so index and hardware address must agree.
fn shown(root: &Path, interface: &Interface) -> Option<PathBuf> {
    let folder = root.join("class/net").join(&interface.name);
    let same = |file: &str, ours: Option<String>| match (ours, text(&folder.join(file))) {
        (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(&theirs),
        _ => true,
    };
    let is_shown = same("ifindex", interface.index.map(|i| i.to_string()))
        && same("address", interface.mac.clone());
    is_shown.then_some(folder)
}

/// What the device behind an interface is called on its bus, and where that stands.
fn device_name(folder: &Path) -> Option<(String, PathBuf)> {
    let link = folder.join("device");
    if let Ok(target) = fs::read_link(&link) {
        return Some((target.file_name()?.to_string_lossy().into_owned(), link));
    }
    let copy = folder.join(DEVICE_NAME);
    Some((text(&copy)?, copy))
}

/// The network devices of a tree. sysfs knows no addresses: those stay unknown.
pub fn interfaces(root: &Path) -> Reading<Vec<Interface>> {
    let folder = root.join("class/net");
    let source = Source::new(folder.display().to_string());
    match names(&folder) {
        Ok(names) => {
            let mut interfaces: Vec<Interface> =
                names.iter().map(|name| interface(&folder.join(name), name)).collect();
            super::super::fill_members(&mut interfaces);
            Reading::known(interfaces, source)
        }
        Err(why) => Reading::Unknown { source, why },
    }
}

/// The network devices of a tree that are Wi-Fi.
pub fn wifi(root: &Path) -> Vec<String> {
    let folder = root.join("class/net");
    let mut names = names(&folder).unwrap_or_default();
    names.retain(|name| wifi_marks(&folder.join(name)).next().is_some());
    names
}

fn wifi_marks(folder: &Path) -> impl Iterator<Item = &'static str> {
    WIFI_MARKS.into_iter().filter(|mark| folder.join(mark).is_dir())
}

fn interface(folder: &Path, name: &str) -> Interface {
    let read = |file: &str| text(&folder.join(file));
    let flags = read("flags")
        .and_then(|f| u32::from_str_radix(f.strip_prefix("0x").unwrap_or(&f), 16).ok());
    let is = |bit: u32| flags.is_some_and(|flags| flags & bit != 0);
    let interface_type = if folder.join("bridge").is_dir() {
        InterfaceType::Bridge
    } else if folder.join("bonding").is_dir() {
        InterfaceType::Bond
    } else if is(IFF_LOOPBACK) {
        InterfaceType::Loopback
    } else if is(IFF_POINTOPOINT) {
        InterfaceType::PointToPoint
    } else {
        InterfaceType::Unspecified
    };
    let master = fs::read_link(folder.join("master"))
        .ok()
        .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
    Interface {
        name: name.to_owned(),
        index: read("ifindex").and_then(|i| i.parse().ok()).and_then(NonZeroU32::new),
        interface_type,
        up: flags.map(|flags| flags & IFF_UP != 0),
        // Reading it fails while the device is down.
        carrier: read("carrier").map(|carrier| carrier == "1"),
        mtu: read("mtu").and_then(|mtu| mtu.parse().ok()),
        mac: read("address").filter(|mac| !mac.is_empty()),
        master,
        ..Interface::default()
    }
}

/// What is plugged into this machine's Thunderbolt ports, by the first hop of each route.
///
/// Idle ports are not on the bus: only ports with something in them are listed.
pub fn thunderbolt_ports(root: &Path, tree: Tree) -> Reading<Vec<ThunderboltPort>> {
    let folder = root.join("bus/thunderbolt/devices");
    let source = Source::new(folder.display().to_string());
    let names = match names(&folder) {
        Ok(names) => names,
        Err(Unknown::Missing { .. }) if tree == Tree::Live => Vec::new(),
        Err(why) => return Reading::Unknown { source, why },
    };
    let mut ports: BTreeMap<(String, u64), ThunderboltPort> = BTreeMap::new();
    for name in &names {
        let Some((domain, route)) = route_of(name) else { continue };
        let device = folder.join(name);
        let read = |file: &str| text(&device.join(file)).filter(|text| !text.is_empty());
        let lanes = lanes(&read);
        let port = ports.entry((domain.to_owned(), first_hop(route))).or_insert_with(|| {
            let own = folder.join(format!("{domain}-0"));
            ThunderboltPort {
                bus: bus(domain),
                receptacle: Some(receptacle(route)),
                domain_uuid: text(&own.join("unique_id")),
                speed: None,
                generation: text(&own.join("generation")).and_then(|n| n.parse().ok()),
                connected: Some(true),
                devices: Vec::new(),
            }
        });
        if route <= 0xff {
            port.speed.clone_from(&lanes);
        }
        let is_computer = is_xdomain(&device, &read);
        let keys = service_keys(&folder, name, &names);
        let offers = |key: &str| {
            (is_computer && !keys.is_empty()).then(|| keys.iter().any(|offered| offered == key))
        };
        port.devices.push(ThunderboltDevice {
            name: read("device_name"),
            model: None,
            vendor: read("vendor_name"),
            domain_uuid: read("unique_id").filter(|_| is_computer),
            is_computer,
            offers_ip: offers("network"),
            offers_rdma: None,
            lanes,
        });
    }
    Reading::known(ports.into_values().collect(), source)
}

/// `0-1` and `0-301` are devices at a route; `0-0` is this machine, `0-1.0` a service, `0-0:1.1` a
/// retimer.
fn route_of(name: &str) -> Option<(&str, u64)> {
    let (domain, route) = name.split_once('-')?;
    if domain.is_empty() || !domain.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let route = u64::from_str_radix(route, 16).ok()?;
    (route != 0).then_some((domain, route))
}

/// `0-1.0` is a service of the computer at the route `0-1`.
fn route_of_service(name: &str) -> Option<(&str, u64)> {
    let (computer, service) = name.split_once('.')?;
    let is_number = !service.is_empty() && service.chars().all(|c| c.is_ascii_digit());
    route_of(computer).filter(|_| is_number)
}

/// The low byte of a route is the port of this machine's own router.
fn first_hop(route: u64) -> u64 {
    route & 0xff
}

fn bus(domain: &str) -> String {
    format!("domain{domain}")
}

fn receptacle(route: u64) -> String {
    first_hop(route).to_string()
}

/// The services of the computer at `name`: `0-1.0` holds one in `key`.
fn service_keys(folder: &Path, name: &str, names: &[String]) -> Vec<String> {
    let services = names
        .iter()
        .filter(|other| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')));
    services.filter_map(|service| text(&folder.join(service).join("key"))).collect()
}

/// Another computer: the kernel says so, or (in a recording without the uevent) it has no
/// `authorized` attribute, which every device has.
fn is_xdomain(device: &Path, read: &impl Fn(&str) -> Option<String>) -> bool {
    match read("uevent").and_then(|uevent| field(&uevent, "DEVTYPE")) {
        Some(kind) => kind == "thunderbolt_xdomain",
        None => device.is_dir() && read("authorized").is_none(),
    }
}

/// `20.0 Gb/s x 2`: speed is per lane.
fn lanes(read: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let way = |speed: &str, lanes: &str| {
        let speed = read(speed)?;
        Some(match read(lanes) {
            Some(lanes) => format!("{speed} x {lanes}"),
            None => speed,
        })
    };
    match (way("rx_speed", "rx_lanes"), way("tx_speed", "tx_lanes")) {
        // Thunderbolt 5 can give three lanes to one way, and one to the other.
        (Some(receive), Some(transmit)) if receive != transmit => {
            Some(format!("{receive} (transmit {transmit})"))
        }
        (receive, transmit) => receive.or(transmit),
    }
}

/// The files of a tree that [`interfaces`], [`attach_device`], [`wifi`] and
/// [`thunderbolt_ports`] read, with their contents. Links become files: `device/driver` is kept as the line `DRIVER=` of
/// `device/uevent`, and `device`, where it leads to the Thunderbolt bus, as [`DEVICE_NAME`].
pub(super) fn worth_recording(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut keep = |folder: &str, names: &[String], attributes: &[&str]| {
        for name in names {
            for attribute in attributes {
                let file = format!("{folder}/{name}/{attribute}");
                if let Some(text) = text(&root.join(&file)) {
                    files.push((file, format!("{text}\n")));
                }
            }
        }
    };
    let listed = |folder: &str| names(&root.join(folder)).unwrap_or_default();
    keep(
        "class/net",
        &listed("class/net"),
        &["ifindex", "flags", "mtu", "carrier", "operstate", "address", "device/uevent"],
    );
    keep(
        "bus/thunderbolt/devices",
        &listed("bus/thunderbolt/devices"),
        &[
            "uevent",
            "unique_id",
            "device_name",
            "vendor_name",
            "authorized",
            "generation",
            "rx_speed",
            "rx_lanes",
            "tx_speed",
            "tx_lanes",
            "key",
        ],
    );
    for name in listed("class/net") {
        let device = device_name(&root.join("class/net").join(&name));
        if let Some((device, _)) = device.filter(|(device, _)| route_of_service(device).is_some()) {
            files.push((format!("class/net/{name}/{DEVICE_NAME}"), format!("{device}\n")));
        }
    }
    for name in wifi(root) {
        for mark in wifi_marks(&root.join("class/net").join(&name)) {
            files.push((format!("class/net/{name}/{mark}/.recorded"), String::new()));
        }
    }
    // An empty bus is known to be empty: the folder must be there to say so.
    if listed("bus/thunderbolt/devices").is_empty() {
        files.push(("bus/thunderbolt/devices/.recorded".to_owned(), String::new()));
    }
    files
}

fn names(folder: &Path) -> Result<Vec<String>, Unknown> {
    let unreadable = |error: io::Error| {
        crate::system::recorded::unreadable(&folder.display().to_string(), &error)
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        // `/sys/class/net/bonding_masters` is a file among folders.
        if folder.join(&name).is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn field(uevent: &str, key: &str) -> Option<String> {
    uevent
        .lines()
        .find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

/// The trimmed text of a small file, if it can be read (some attributes answer with an error while
/// the link is down).
fn text(path: &Path) -> Option<String> {
    // In a recording it may be anything, such as a pipe without an end.
    fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests;
