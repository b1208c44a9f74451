//! What does that key say?

use std::collections::BTreeMap;

use super::file::{Bytes, GgufError};

/// Arrays of arrays are allowed by the format and used by nobody.
const DEPTH_MAX: usize = 4;

/// A metadata value. Integers and floats of all widths are one kind each.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaValue {
    /// Any unsigned integer.
    Unsigned(u64),
    /// Any signed integer.
    Signed(i64),
    /// A float; an f32 keeps its value.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// Texts: tokens, merges.
    Texts(Vec<String>),
    /// Signed or unsigned integers: token types.
    Integers(Vec<i64>),
    /// Floats: token scores.
    Floats(Vec<f32>),
    /// Any other array; its values are not kept.
    OtherArray,
}

/// All keys and what they say, with readers that name what is wrong.
#[derive(Debug, Default)]
pub(super) struct Metadata(pub(super) BTreeMap<String, MetaValue>);

impl Metadata {
    pub(super) fn optional_text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(MetaValue::Text(text)) => Ok(Some(text)),
            Some(_) => Err(GgufError::key(key, "not a text")),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<&str, GgufError> {
        self.optional_text(key)?.ok_or_else(|| GgufError::key(key, "missing"))
    }

    /// A non-negative integer.
    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, GgufError> {
        let value = match self.0.get(key) {
            None => return Ok(None),
            Some(&MetaValue::Unsigned(value)) => usize::try_from(value).ok(),
            Some(&MetaValue::Signed(value)) => usize::try_from(value).ok(),
            Some(_) => None,
        };
        value.map(Some).ok_or_else(|| GgufError::key(key, "not a count"))
    }

    pub(super) fn size(&self, key: &str) -> Result<usize, GgufError> {
        self.optional_size(key)?.ok_or_else(|| GgufError::key(key, "missing"))
    }

    pub(super) fn optional_float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(&MetaValue::Float(value)) if value.is_finite() => Ok(Some(value)),
            Some(_) => Err(GgufError::key(key, "not a finite float")),
        }
    }

    pub(super) fn optional_bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(&MetaValue::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(GgufError::key(key, "not a truth value")),
        }
    }

    pub(super) fn texts(&self, key: &str) -> Result<&[String], GgufError> {
        match self.0.get(key) {
            Some(MetaValue::Texts(texts)) => Ok(texts),
            Some(_) => Err(GgufError::key(key, "not a list of texts")),
            None => Err(GgufError::key(key, "missing")),
        }
    }

    pub(super) fn floats(&self, key: &str) -> Result<&[f32], GgufError> {
        match self.0.get(key) {
            Some(MetaValue::Floats(floats)) => Ok(floats),
            Some(_) => Err(GgufError::key(key, "not a list of numbers")),
            None => Err(GgufError::key(key, "missing")),
        }
    }

    pub(super) fn integers(&self, key: &str) -> Result<&[i64], GgufError> {
        match self.0.get(key) {
            Some(MetaValue::Integers(integers)) => Ok(integers),
            Some(_) => Err(GgufError::key(key, "not a list of integers")),
            None => Err(GgufError::key(key, "missing")),
        }
    }
}

/// Reads a value of the type that stands before it.
pub(super) fn read_value(bytes: &mut Bytes<'_>, key: &str) -> Result<MetaValue, GgufError> {
    let kind = bytes.u32()?;
    value_of(bytes, key, kind, 0)
}

fn value_of(
    bytes: &mut Bytes<'_>,
    key: &str,
    kind: u32,
    depth: usize,
) -> Result<MetaValue, GgufError> {
    Ok(match kind {
        0 => MetaValue::Unsigned(bytes.array::<1>()?[0].into()),
        1 => MetaValue::Signed(i8::from_le_bytes(bytes.array()?).into()),
        2 => MetaValue::Unsigned(u16::from_le_bytes(bytes.array()?).into()),
        3 => MetaValue::Signed(i16::from_le_bytes(bytes.array()?).into()),
        4 => MetaValue::Unsigned(bytes.u32()?.into()),
        5 => MetaValue::Signed(i32::from_le_bytes(bytes.array()?).into()),
        6 => MetaValue::Float(f32::from_le_bytes(bytes.array()?).into()),
        7 => MetaValue::Bool(bytes.array::<1>()?[0] != 0),
        8 => MetaValue::Text(bytes.text(key)?),
        9 => read_array(bytes, key, depth + 1)?,
        10 => MetaValue::Unsigned(bytes.u64()?),
        11 => MetaValue::Signed(i64::from_le_bytes(bytes.array()?)),
        12 => MetaValue::Float(f64::from_le_bytes(bytes.array()?)),
        other => return Err(GgufError::key(key, format!("unknown value type {other}"))),
    })
}

fn read_array(bytes: &mut Bytes<'_>, key: &str, depth: usize) -> Result<MetaValue, GgufError> {
    if depth > DEPTH_MAX {
        return Err(GgufError::key(key, "arrays nested too deep"));
    }
    let kind = bytes.u32()?;
    // The smallest an element of that type can be: a length that cannot be there is refused before
    // anything is reserved for it.
    let least = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        other => return Err(GgufError::key(key, format!("array of unknown type {other}"))),
    };
    let count = bytes.count(least, key)?;
    let mut values = (0..count).map(|_| value_of(bytes, key, kind, depth));
    Ok(match kind {
        8 => MetaValue::Texts(
            values
                .map(|value| match value? {
                    MetaValue::Text(text) => Ok(text),
                    _ => Err(GgufError::key(key, "not a text")),
                })
                .collect::<Result<_, _>>()?,
        ),
        0..=5 | 10 | 11 => MetaValue::Integers(
            values
                .map(|value| match value? {
                    MetaValue::Signed(value) => Ok(value),
                    MetaValue::Unsigned(value) => i64::try_from(value)
                        .map_err(|_| GgufError::key(key, "an integer is too large")),
                    _ => Err(GgufError::key(key, "not an integer")),
                })
                .collect::<Result<_, _>>()?,
        ),
        6 | 12 => MetaValue::Floats(
            values
                .map(|value| match value? {
                    MetaValue::Float(value) => Ok(value as f32),
                    _ => Err(GgufError::key(key, "not a float")),
                })
                .collect::<Result<_, _>>()?,
        ),
        _ => {
            values.try_for_each(|value| value.map(drop))?;
            MetaValue::OtherArray
        }
    })
}
