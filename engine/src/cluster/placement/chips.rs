//! What may be expected of a machine that is only described.
//!
//! Memory bandwidth is what Apple publishes for each chip; multiplications are its GPU's cores ×
//! 128 lanes × clock, of the variant with most cores. Of both a model gets less: [`SHARE`].

use std::str::FromStr;

use super::NodeSpeed;

/// How much of a chip's bandwidth and arithmetic a decode step gets, in percent.
const SHARE: u64 = 80;

/// Name, bytes per second in GB/s, multiplications (each with its addition) per second in 10⁹.
const CHIPS: [(&str, u64, u64); 18] = [
    ("m1", 68, 1_300),
    ("m1-pro", 200, 2_600),
    ("m1-max", 400, 5_300),
    ("m1-ultra", 800, 10_600),
    ("m2", 100, 1_800),
    ("m2-pro", 200, 3_400),
    ("m2-max", 400, 6_800),
    ("m2-ultra", 800, 13_600),
    ("m3", 100, 1_800),
    ("m3-pro", 150, 3_200),
    ("m3-max", 400, 7_100),
    ("m3-ultra", 819, 14_200),
    ("m4", 120, 2_100),
    ("m4-pro", 273, 4_200),
    ("m4-max", 546, 8_400),
    ("m5", 153, 2_100),
    ("m5-pro", 307, 4_200),
    ("m5-max", 614, 8_400),
];

/// A chip that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chip(usize);

impl Chip {
    /// What may be expected of it.
    #[must_use]
    pub fn speed(self) -> NodeSpeed {
        let (_, gigabytes, giga_multiplies) = CHIPS[self.0];
        NodeSpeed {
            bytes_per_s: gigabytes * 1_000_000_000 / 100 * SHARE,
            multiplies_per_s: giga_multiplies * 1_000_000_000 / 100 * SHARE,
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(self) -> &'static str {
        CHIPS[self.0].0
    }
}

impl FromStr for Chip {
    type Err = String;

    /// Its name as people or the system say it: `m4-pro`, `M4 Pro`, `Apple M4 Pro`.
    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase().replace([' ', '_'], "-");
        let name = lower.strip_prefix("apple-").unwrap_or(&lower);
        let found = CHIPS.iter().position(|(chip, ..)| *chip == name);
        found.map(Self).ok_or_else(|| {
            let names: Vec<&str> = CHIPS.iter().map(|(chip, ..)| *chip).collect();
            format!("no chip is known as {text}; known are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chip_is_known_as_people_and_the_system_say_it() {
        for said in ["m4-pro", "M4 Pro", "Apple M4 Pro"] {
            assert_eq!(said.parse::<Chip>().unwrap().name(), "m4-pro", "{said}");
        }
        assert!("m9".parse::<Chip>().unwrap_err().contains("m4-max"));
    }
}
