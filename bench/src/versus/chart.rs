//! A chart: a legend, two axes with their units, and lines between them.

use std::ops::Range;

use super::svg::{Anchor, Svg};

/// Where a picture is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    Page,
    Phone,
}

impl Width {
    pub(super) const BOTH: [Self; 2] = [Self::Page, Self::Phone];

    const fn pixels(self) -> (f64, f64) {
        match self {
            Self::Page => (860.0, 400.0),
            Self::Phone => (380.0, 380.0),
        }
    }

    /// The class by which the page shows or hides it.
    const fn class(self) -> &'static str {
        match self {
            Self::Page => "on-page",
            Self::Phone => "on-phone",
        }
    }
}

/// Pixels to the left of the axes, to their right, and below them.
const MARGINS: (f64, f64, f64) = (58.0, 14.0, 46.0);
/// Height of a row of the legend.
const ROW: f64 = 20.0;

/// A line and what it is called.
pub(super) struct Line {
    pub(super) words: String,
    /// Which of both links.
    pub(super) link: usize,
    pub(super) dashed: bool,
    pub(super) points: Vec<(f64, f64)>,
    /// Points that are drawn as such.
    pub(super) dots: Vec<(f64, f64)>,
}

/// An axis.
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub(super) words: &'static str,
    pub(super) range: Range<f64>,
    pub(super) logarithmic: bool,
    /// Where labels stand, and what they say.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Where a value lies: 0 is where the axis begins, 1 where it ends. What lies outside is at the
    /// nearer end.
    fn at(&self, value: f64) -> f64 {
        let Range { start, end } = self.range;
        let at = match self.logarithmic {
            true => (value.max(f64::MIN_POSITIVE) / start).ln() / (end / start).ln(),
            false => (value - start) / (end - start),
        };
        at.clamp(0.0, 1.0)
    }

    /// A logarithmic axis that holds these values, with a label at each power of ten and at its
    /// triple.
    pub(super) fn powers_of_ten(
        words: &'static str,
        values: impl Iterator<Item = f64>,
        label: fn(f64) -> String,
    ) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| *value > 0.0) {
            least = least.min(value);
            most = most.max(value);
        }
        if least > most {
            (least, most) = (1.0, 10.0);
        }
        let steps = (-9..9).flat_map(|power| [1.0, 3.0].map(|step| step * 10_f64.powi(power)));
        let steps: Vec<f64> = steps.collect();
        let start = steps.iter().rev().find(|step| **step <= least * 1.0001).copied();
        let end = steps.iter().find(|step| **step >= most * 0.9999).copied();
        let start = start.unwrap_or(least);
        let end = end.unwrap_or(most).max(start * 3.0);
        let inside = steps.into_iter().filter(|step| (start..=end * 1.0001).contains(step));
        let ticks: Vec<_> = inside.map(|step| (step, label(step))).collect();
        // Over many powers their triples only crowd.
        let crowded = ticks.len() > 8;
        let is_power = |value: f64| (value.log10() - value.log10().round()).abs() < 1e-6;
        let ticks = ticks.into_iter().filter(|(value, _)| !crowded || is_power(*value)).collect();
        Self { words, range: start..end, logarithmic: true, ticks }
    }
}

/// A range of the horizontal axis that means something.
pub(super) struct Band {
    pub(super) range: Range<f64>,
    pub(super) words: &'static str,
}

pub(super) struct Chart {
    pub(super) title: &'static str,
    /// Said in the picture itself: it may be shown without its page.
    pub(super) emulated: bool,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) bands: Vec<Band>,
    pub(super) lines: Vec<Line>,
}

impl Chart {
    /// The picture, twice: as a page shows it and as a phone does.
    pub(super) fn draw(&self) -> String {
        Width::BOTH.map(|width| self.draw_for(width)).concat()
    }

    fn draw_for(&self, width: Width) -> String {
        let (right, bottom) = width.pixels();
        let mut svg = Svg::new(right, bottom);
        let heading = match (self.emulated, width) {
            (true, _) => format!("{} · emulated", self.title),
            (false, _) => self.title.to_owned(),
        };
        svg.words((0.0, 15.0), Anchor::Start, "title", &heading);
        let columns = if width == Width::Page { 2 } else { 1 };
        let rows = self.legend(&mut svg, right, columns);
        let top = 30.0 + ROW * (rows + 1) as f64 + if self.bands.is_empty() { 0.0 } else { 16.0 };
        let place =
            Place { left: MARGINS.0, right: right - MARGINS.1, top, bottom: bottom - MARGINS.2 };
        self.axes(&mut svg, place);
        let at = |(x, y): (f64, f64)| place.at(self.x.at(x), self.y.at(y));
        for line in &self.lines {
            let class = class_of(line);
            let points: Vec<_> = line.points.iter().copied().map(at).collect();
            svg.line(&points, &class);
            for dot in &line.dots {
                svg.circle(at(*dot), 3.5, &format!("dot{}", line.link));
            }
        }
        let lines: Vec<_> = self.lines.iter().map(|line| line.words.as_str()).collect();
        svg.finish(width.class(), &format!("{heading}: {}", lines.join("; ")))
    }

    /// Draws the legend and says how many rows it takes.
    fn legend(&self, svg: &mut Svg, right: f64, columns: usize) -> usize {
        for (number, line) in self.lines.iter().enumerate() {
            let x = right / columns as f64 * (number % columns) as f64;
            let y = 34.0 + ROW * (number / columns) as f64;
            svg.line(&[(x, y - 4.0), (x + 26.0, y - 4.0)], &class_of(line));
            svg.words((x + 32.0, y), Anchor::Start, "label", &line.words);
        }
        self.lines.len().div_ceil(columns)
    }

    fn axes(&self, svg: &mut Svg, place: Place) {
        for Band { range, words } in &self.bands {
            let (left, right) = (self.x.at(range.start), self.x.at(range.end));
            svg.rectangle(place.at(left, 1.0), place.at(right, 0.0), "band");
            let (x, y) = place.at(f64::midpoint(left, right), 1.0);
            svg.words((x, y - 6.0), Anchor::Middle, "note", words);
        }
        for (value, words) in &self.y.ticks {
            let (left, right) =
                (place.at(0.0, self.y.at(*value)), place.at(1.0, self.y.at(*value)));
            svg.line(&[left, right], "grid");
            svg.words((left.0 - 7.0, left.1 + 4.0), Anchor::End, "label", words);
        }
        for (value, words) in &self.x.ticks {
            let (low, high) = (place.at(self.x.at(*value), 0.0), place.at(self.x.at(*value), 1.0));
            svg.line(&[low, high], "grid");
            svg.words((low.0, low.1 + 17.0), Anchor::Middle, "label", words);
        }
        svg.line(&[place.at(0.0, 1.0), place.at(0.0, 0.0), place.at(1.0, 0.0)], "axis");
        let (x, y) = place.at(0.5, 0.0);
        svg.words((x, y + 38.0), Anchor::Middle, "note", self.x.words);
        let above = if self.bands.is_empty() { 12.0 } else { 28.0 };
        svg.words((0.0, place.top - above), Anchor::Start, "note", self.y.words);
    }
}

fn class_of(line: &Line) -> String {
    let dashed = if line.dashed { " dashed" } else { "" };
    format!("link{}{dashed}", line.link)
}

/// Where the axes are, in pixels.
#[derive(Clone, Copy)]
struct Place {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Place {
    fn at(self, x: f64, y: f64) -> (f64, f64) {
        let Self { left, right, top, bottom } = self;
        (left + x * (right - left), bottom - y * (bottom - top))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_holds_its_values_and_has_few_labels() {
        let axis = Axis::powers_of_ten("ms", [0.31, 95.0].into_iter(), |value| value.to_string());
        assert!((axis.range.start - 0.3).abs() < 1e-9 && (axis.range.end - 100.0).abs() < 1e-9);
        assert_eq!(axis.ticks.len(), 6);
        assert!((axis.at(0.3) - 0.0).abs() < 1e-9 && (axis.at(100.0) - 1.0).abs() < 1e-9);
        assert!((axis.at(30.0) - axis.at(3.0) - (axis.at(3.0) - axis.at(0.3))).abs() < 1e-9);
        let wide = Axis::powers_of_ten("ms", [1e-4, 1e4].into_iter(), |value| value.to_string());
        assert_eq!(wide.ticks.len(), 9);
        let none = Axis::powers_of_ten("ms", std::iter::empty(), |value| value.to_string());
        assert_eq!(none.range, 1.0..10.0);
    }

    #[test]
    fn a_chart_of_an_emulated_link_says_so_in_both_pictures() {
        let axis = |words| Axis { words, range: 0.0..1.0, logarithmic: false, ticks: Vec::new() };
        let line = Line {
            words: "Wi-Fi".into(),
            link: 1,
            dashed: true,
            points: vec![(0.0, 0.0), (1.0, 1.0)],
            dots: Vec::new(),
        };
        let chart = Chart {
            title: "Round trips",
            emulated: true,
            x: axis("seconds"),
            y: axis("ms"),
            bands: Vec::new(),
            lines: vec![line],
        };
        let pictures = chart.draw();
        assert_eq!(pictures.matches("Round trips · emulated</text>").count(), 2);
        assert_eq!(pictures.matches("link1 dashed").count(), 4);
        assert!(!Chart { emulated: false, ..chart }.draw().contains("emulated"));
    }
}
