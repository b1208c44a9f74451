//! sysfs: which driver is behind a network device.
//!
//! Every function takes the root under which sysfs is mounted, so that a recorded or made-up tree
//! serves as well as `/sys`.

use std::{fs, path::Path};

use crate::snapshot::{Driver, Interface, Source};

/// The driver behind `interface`, if sysfs shows this very device: in a network namespace `/sys`
/// may still show the devices of another one, so index and hardware address must agree.
pub fn driver(root: &Path, interface: &Interface) -> Option<Driver> {
    let folder = root.join("class/net").join(&interface.name);
    let same = |file: &str, ours: Option<String>| match (ours, text(&folder.join(file))) {
        (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(&theirs),
        _ => true,
    };
    if !same("ifindex", interface.index.map(|i| i.to_string()))
        || !same("address", interface.mac.clone())
    {
        return None;
    }
    let link = folder.join("device/driver");
    if let Ok(target) = fs::read_link(&link) {
        let name = target.file_name()?.to_string_lossy().into_owned();
        return Some(Driver { name, source: Source::new(link.display().to_string()) });
    }
    let uevent = folder.join("device/uevent");
    let name = text(&uevent)?
        .lines()
        .find_map(|line| line.trim().strip_prefix("DRIVER=").map(str::to_owned))?;
    Some(Driver { name, source: Source::new(uevent.display().to_string()) })
}

/// The trimmed text of a small file, if it can be read (some attributes answer with an error while
/// the link is down).
fn text(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
