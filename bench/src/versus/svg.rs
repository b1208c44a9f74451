//! Writes SVG: lines, points and words, styled by classes of the page, so that a dark page has dark
//! pictures.

use std::fmt::Write as _;

/// A picture that is being drawn, in pixels from its upper left corner.
pub(super) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Which end of words stands at their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    pub(super) fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// A line through these points.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str) {
        let _ = write!(self.body, r#"<polyline class="{class}" points=""#);
        for (at, (x, y)) in points.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            let _ = write!(self.body, "{space}{x:.1},{y:.1}");
        }
        self.body.push_str("\"/>\n");
    }

    pub(super) fn circle(&mut self, (x, y): (f64, f64), radius: f64, class: &str) {
        let _ = writeln!(
            self.body,
            r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{radius}"/>"#
        );
    }

    /// A rectangle from one corner to the other.
    pub(super) fn rectangle(&mut self, (x, y): (f64, f64), (right, down): (f64, f64), class: &str) {
        let (width, height) = (right - x, down - y);
        let _ = writeln!(
            self.body,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"/>"#
        );
    }

    pub(super) fn words(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, words: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let words = escaped(words);
        let _ = writeln!(
            self.body,
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{words}</text>"#
        );
    }

    /// The picture, with what it shows for those who do not see it.
    pub(super) fn finish(self, class: &str, shows: &str) -> String {
        let Self { width, height, body } = self;
        let shows = escaped(shows);
        format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             xmlns=\"http://www.w3.org/2000/svg\"><title>{shows}</title>\n{body}</svg>\n"
        )
    }
}

/// Words that may stand in a page.
pub(super) fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_leave_their_place() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.words((1.0, 2.0), Anchor::End, "label", "</text><script>\"a\" & b");
        svg.line(&[(0.0, 0.0), (1.25, 2.0)], "link0");
        let picture = svg.finish("page", "a <b>");
        assert!(picture.contains("&lt;/text&gt;&lt;script&gt;&quot;a&quot; &amp; b</text>"));
        assert!(picture.contains(r#"points="0.0,0.0 1.2,2.0""#), "{picture}");
        assert!(picture.contains("<title>a &lt;b&gt;</title>"));
    }
}
