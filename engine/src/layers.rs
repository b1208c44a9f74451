//! Which layers of a model a node holds.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Layers `start..end` of a model (end exclusive), never empty.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    rkyv::Archive,
    rkyv::Serialize,
    rkyv::Deserialize,
)]
#[serde(try_from = "Bounds", into = "Bounds")]
pub struct LayerRange {
    start: u32,
    end: u32,
}

#[derive(Serialize, Deserialize)]
struct Bounds {
    start: u32,
    end: u32,
}

/// A range that holds no layer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("layers {start}..{end} hold no layer")]
pub struct EmptyLayerRange {
    start: u32,
    end: u32,
}

impl LayerRange {
    /// The layers `start..end`.
    ///
    /// # Errors
    /// [`EmptyLayerRange`] unless `start < end`.
    pub fn checked(start: u32, end: u32) -> Result<Self, EmptyLayerRange> {
        if start < end { Ok(Self { start, end }) } else { Err(EmptyLayerRange { start, end }) }
    }

    /// The first layer.
    #[must_use]
    pub fn start(self) -> u32 {
        self.start
    }

    /// One past the last layer.
    #[must_use]
    pub fn end(self) -> u32 {
        self.end
    }

    /// How many layers: at least 1.
    #[must_use]
    pub fn count(self) -> u32 {
        self.end - self.start
    }

    /// Whether `layer` is one of these.
    #[must_use]
    pub fn contains(self, layer: u32) -> bool {
        (self.start..self.end).contains(&layer)
    }

    /// Whether this range begins the model, so that its stage embeds.
    #[must_use]
    pub fn is_first(self) -> bool {
        self.start == 0
    }

    /// Whether this range ends a model of `layers` layers, so that its stage projects and samples.
    #[must_use]
    pub fn is_last(self, layers: u32) -> bool {
        self.end == layers
    }
}

impl fmt::Display for LayerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

impl TryFrom<Bounds> for LayerRange {
    type Error = EmptyLayerRange;

    fn try_from(bounds: Bounds) -> Result<Self, Self::Error> {
        Self::checked(bounds.start, bounds.end)
    }
}

impl From<LayerRange> for Bounds {
    fn from(range: LayerRange) -> Self {
        Self { start: range.start, end: range.end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_never_empty_not_even_from_json() {
        assert_eq!(LayerRange::checked(3, 3), Err(EmptyLayerRange { start: 3, end: 3 }));
        assert!(serde_json::from_str::<LayerRange>(r#"{"start":5,"end":4}"#).is_err());
        let range: LayerRange = serde_json::from_str(r#"{"start":0,"end":4}"#).unwrap();
        assert_eq!((range.count(), range.is_first(), range.is_last(4)), (4, true, true));
        assert_eq!(serde_json::to_string(&range).unwrap(), r#"{"start":0,"end":4}"#);
    }
}
