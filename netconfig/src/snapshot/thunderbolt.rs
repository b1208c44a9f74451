//! Thunderbolt ports and what is plugged into them.

use serde::Serialize;

/// A Thunderbolt port of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThunderboltPort {
    /// The bus or domain it belongs to.
    pub bus: String,
    /// The receptacle on the case, where known.
    pub receptacle: Option<String>,
    /// The port's own domain UUID.
    pub domain_uuid: Option<String>,
    /// The speed as the source writes it, for example `80 Gb/s` or `Up to 120 Gb/s`.
    pub speed: Option<String>,
    /// The generation of Thunderbolt that the port can do, as far as its source tells: on macOS
    /// only the fifth shows itself, by its speed.
    pub generation: Option<u8>,
    /// Whether anything is plugged in.
    pub connected: Option<bool>,
    /// What is plugged in, hubs and what hangs below them included.
    pub devices: Vec<ThunderboltDevice>,
}

impl ThunderboltPort {
    /// The computers at the other end.
    pub fn peers(&self) -> impl Iterator<Item = &ThunderboltDevice> {
        self.devices.iter().filter(|d| d.is_computer)
    }

    /// The speed as a number of Gb/s: negotiated if something is plugged in, else the most the
    /// port can do.
    pub fn gbps(&self) -> Option<u32> {
        let speed = self.speed.as_deref()?;
        // `20.0 Gb/s x 2` is per lane.
        let (number, rest) = speed.trim_start_matches("Up to ").split_once(" Gb/s")?;
        let number: f64 = number.trim().parse().ok()?;
        // `20.0 Gb/s x 1 (transmit 20.0 Gb/s x 3)`: what comes in.
        let rest = rest.split(" (").next().unwrap_or(rest);
        let lanes = rest.trim().strip_prefix('x').and_then(|n| n.trim().parse::<u32>().ok());
        Some((number * f64::from(lanes.unwrap_or(1))).round() as u32)
    }
}

/// Something at the other end of a cable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ThunderboltDevice {
    /// Its name, for example `Mac Studio` or a Linux host name.
    pub name: Option<String>,
    /// Its model, for example `Mac15,14`.
    pub model: Option<String>,
    /// Its vendor.
    pub vendor: Option<String>,
    /// For a computer: the UUID of the domain at its end of the cable.
    pub domain_uuid: Option<String>,
    /// A computer (it has a domain of its own), not a dock or a drive.
    pub is_computer: bool,
    /// A computer that offers IP over the cable, where the source lists its services.
    pub offers_ip: Option<bool>,
    /// A computer that offers RDMA over the cable, where the source lists its services.
    pub offers_rdma: Option<bool>,
    /// Linux: receive and transmit lanes and speed, as the kernel prints them.
    pub lanes: Option<String>,
}
