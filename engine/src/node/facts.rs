//! What this node is and has: the machine, how fast it is, the models on its disk, and which start
//! of its program this is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, Product, RefreshKind, System};

use crate::{
    fabric::{
        Endpoint,
        record::{ADDRESSES_MAX, Facts, HeldModel, LinkAddress, MODELS_MAX},
    },
    model::ModelConfig,
    stage::measure::{Measured, measure},
    weights::{ModelFolder, ModelLibrary},
};

const SOFTWARE: &str = concat!("exo-node/", env!("CARGO_PKG_VERSION"));

/// Of this start of the program.
pub(super) fn facts(data: &Path, endpoint: &Endpoint) -> io::Result<Facts> {
    let system = System::new_with_specifics(
        RefreshKind::nothing()
            .with_memory(MemoryRefreshKind::nothing().with_ram())
            .with_cpu(CpuRefreshKind::nothing()),
    );
    let (memory_total, chip) = match &system {
        Ok(system) => {
            let chip = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
            (system.total_memory(), chip.unwrap_or_default())
        }
        Err(_) => (0, String::new()),
    };
    let device = Product::name().unwrap_or_default();
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(Facts {
        incarnation: incarnation(data)?,
        instance: u64::from_le_bytes(random),
        revision: 0,
        memory_total,
        device,
        addresses: addresses(endpoint),
        speed: speed(data, &chip).map(|it| (it.bytes_per_s, it.multiplies_per_s)),
        models: models(data),
        software: SOFTWARE.to_owned(),
        chip,
    })
}

/// Where it listens: on the link's addresses, or the one it was pinned to.
fn addresses(endpoint: &Endpoint) -> Vec<LinkAddress> {
    let (link, local) = (endpoint.link(), endpoint.local_addr());
    let address = LinkAddress {
        interface: link.name().to_owned(),
        kind: link.kind().to_string(),
        address: local.to_string(),
    };
    let others = link.addresses().iter().map(ipnet::IpNet::addr).filter(|ip| *ip != local.ip());
    let others = others.map(|ip| LinkAddress {
        address: link.peer_addr(ip, local.port()).to_string(),
        ..address.clone()
    });
    std::iter::once(address.clone()).chain(others).take(ADDRESSES_MAX).collect()
}

/// The number of this start: one more than that of the last on this data folder, whatever any clock
/// says.
fn incarnation(data: &Path) -> io::Result<u64> {
    let file = data.join("incarnation");
    let last = match fs::read_to_string(&file) {
        Ok(text) => text.trim().parse().unwrap_or(0_u64),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let this = last.saturating_add(1);
    write(&file, this.to_string().as_bytes())?;
    Ok(this)
}

/// Never half of it, should the machine lose its power.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new: PathBuf = file.with_extension("new");
    fs::write(&new, bytes)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, file)
}

/// What was measured, and of what: another chip or program is measured anew.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct SpeedFile {
    chip: String,
    software: String,
    bytes_per_s: u64,
    multiplies_per_s: u64,
}

/// Measured at the first start on this data folder.
fn speed(data: &Path, chip: &str) -> Option<Measured> {
    let file = data.join("speed.json");
    if let Some(known) = fs::read(&file).ok().and_then(|bytes| known_speed(&bytes, chip)) {
        return Some(known);
    }
    let measured = match measure() {
        Ok(measured) => measured,
        Err(error) => {
            tracing::warn!(%error, "this machine's speed is not known");
            return None;
        }
    };
    tracing::info!(
        gigabytes_per_s = measured.bytes_per_s / 1_000_000_000,
        gigamultiplies_per_s = measured.multiplies_per_s / 1_000_000_000,
        "measured this machine"
    );
    let known = SpeedFile {
        chip: chip.to_owned(),
        software: SOFTWARE.to_owned(),
        bytes_per_s: measured.bytes_per_s,
        multiplies_per_s: measured.multiplies_per_s,
    };
    let written = serde_json::to_vec_pretty(&known).map_err(io::Error::other);
    if let Err(error) = written.and_then(|bytes| write(&file, &bytes)) {
        tracing::warn!(%error, file = %file.display(), "not kept: it is measured anew next time");
    }
    Some(measured)
}

fn known_speed(bytes: &[u8], chip: &str) -> Option<Measured> {
    let known: SpeedFile = serde_json::from_slice(bytes).ok()?;
    let same = known.chip == chip && known.software == SOFTWARE;
    (same && known.bytes_per_s > 0 && known.multiplies_per_s > 0).then_some(Measured {
        bytes_per_s: known.bytes_per_s,
        multiplies_per_s: known.multiplies_per_s,
    })
}

/// The models on this disk, and which of their layers are there.
pub(super) fn models(data: &Path) -> Vec<HeldModel> {
    let entries = ModelLibrary::new(data).list().unwrap_or_default();
    let held = entries.into_iter().filter_map(|entry| {
        let folder = ModelFolder::open(&entry.dir).ok()?;
        let config = ModelConfig::from_json(folder.config()).ok()?;
        let layers = layers_there(&folder, config.layers);
        Some(HeldModel { name: entry.name, fingerprint: folder.fingerprint(), layers })
    });
    held.take(MODELS_MAX).collect()
}

/// The runs of layers of which a tensor is there.
fn layers_there(folder: &ModelFolder, layers: u32) -> Vec<(u32, u32)> {
    let mut there = vec![false; layers as usize];
    for tensor in folder.tensors() {
        let number = tensor.name.strip_prefix("model.layers.").and_then(|rest| {
            rest.split('.').next().and_then(|number| number.parse::<usize>().ok())
        });
        if let Some(there) = number.and_then(|number| there.get_mut(number)) {
            *there = true;
        }
    }
    runs(&there)
}

fn runs(there: &[bool]) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for (number, _) in (0_u32..).zip(there).filter(|(_, there)| **there) {
        match runs.last_mut() {
            Some((_, end)) if *end == number => *end += 1,
            _ => runs.push((number, number + 1)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_higher_number_than_the_one_before() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(incarnation(data.path()).unwrap(), 1);
        assert_eq!(incarnation(data.path()).unwrap(), 2);
        fs::write(data.path().join("incarnation"), "41\n").unwrap();
        assert_eq!(incarnation(data.path()).unwrap(), 42);
    }

    #[test]
    fn a_speed_is_kept_for_the_chip_and_the_program_it_was_measured_with() {
        let file = |chip: &str, software: &str, bytes_per_s| {
            let (chip, software) = (chip.to_owned(), software.to_owned());
            let speed = SpeedFile { chip, software, bytes_per_s, multiplies_per_s: 5 };
            serde_json::to_vec(&speed).unwrap()
        };
        let measured = Measured { bytes_per_s: 9, multiplies_per_s: 5 };
        assert_eq!(known_speed(&file("M4", SOFTWARE, 9), "M4"), Some(measured));
        assert_eq!(known_speed(&file("M4", SOFTWARE, 9), "M5"), None);
        assert_eq!(known_speed(&file("M4", "exo-node/0.0.0", 9), "M4"), None);
        assert_eq!(known_speed(&file("M4", SOFTWARE, 0), "M4"), None);
        assert_eq!(known_speed(b"{", "M4"), None);
    }

    #[test]
    fn layers_that_are_there_are_told_in_runs() {
        let there = [true, true, false, true, false, false, true];
        assert_eq!(runs(&there), [(0, 2), (3, 4), (6, 7)]);
        assert_eq!(runs(&[false, false]), []);
    }
}
