//! Numbers within bounds, refused in words of the catalogue.

use std::{
    error::Error,
    fmt,
    num::{IntErrorKind, ParseIntError},
    ops::RangeInclusive,
};

use exo_netconfig::text::{Lang, Text, usage};

/// Why this is no such number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoNumber {
    NotWhole,
    OutOfBounds { min: u64, max: u64 },
}

impl NoNumber {
    pub(crate) fn text(&self) -> Text {
        match self {
            Self::NotWhole => usage::no_number(),
            Self::OutOfBounds { min, max } => usage::out_of_bounds(min, max),
        }
    }
}

impl fmt::Display for NoNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().words(Lang::En))
    }
}

impl Error for NoNumber {}

/// Reads a number of these.
pub(super) fn number<T>(
    bounds: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, NoNumber> + Clone + Send + Sync + 'static
where
    T: Copy + Into<u64> + TryFrom<u64> + Send + Sync + 'static,
{
    let (min, max) = ((*bounds.start()).into(), (*bounds.end()).into());
    let out_of_bounds = move || NoNumber::OutOfBounds { min, max };
    move |typed| {
        let number: u64 = typed.parse().map_err(|error: ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => out_of_bounds(),
            _ if is_negative(typed) => out_of_bounds(),
            _ => NoNumber::NotWhole,
        })?;
        let within = Some(number).filter(|number| (min..=max).contains(number));
        within.and_then(|number| T::try_from(number).ok()).ok_or_else(out_of_bounds)
    }
}

fn is_negative(typed: &str) -> bool {
    let digits = typed.strip_prefix('-').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_within_its_bounds_or_the_bounds_are_named() {
        let read = number(16..=65_000_u32);
        assert_eq!((read("16"), read("65000")), (Ok(16), Ok(65_000)));
        let bounds = NoNumber::OutOfBounds { min: 16, max: 65_000 };
        for typed in ["15", "65001", "-20", "99999999999999999999999"] {
            assert_eq!(read(typed), Err(bounds.clone()), "{typed}");
        }
        for typed in ["", "many", "1.5", "-", "16 "] {
            assert_eq!(read(typed), Err(NoNumber::NotWhole), "{typed:?}");
        }
        let port = number(0..=u16::MAX);
        assert_eq!((port("0"), port("65535")), (Ok(0), Ok(u16::MAX)));
        assert_eq!(port("65536"), Err(NoNumber::OutOfBounds { min: 0, max: 65_535 }));
    }
}
