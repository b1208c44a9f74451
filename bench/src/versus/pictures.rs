//! The four pictures of a report.

use super::{
    chart::{Axis, Band, Chart, Line},
    plan::{CHUNK_TOKENS, COUNT_FOR_P99, Cell, EXAMPLE, MODELS, bytes, marks},
    report::{LinkReport, Report},
};
use crate::exercise::flow::Way;

/// Pieces that the timeline is cut into; of each the shortest and the longest is drawn, so that no
/// spike is lost.
const TIMELINE_PIECES: usize = 400;

fn number(value: f64) -> String {
    match value {
        value if value >= 1000.0 => format!("{:.0}k", value / 1000.0),
        value => format!("{}", (value * 1e6).round() / 1e6),
    }
}

const ROUND_TRIP: &str = "milliseconds, there and back";

/// All of them, each with what it is about.
pub(super) fn all(report: &Report) -> Vec<(&'static str, Chart)> {
    vec![
        ("timeline", timeline(report)),
        ("shares", shares(report)),
        ("sizes", sizes(report)),
        ("throughput", throughput(report)),
    ]
}

/// A title for a line of either link.
fn lines<'a>(report: &'a Report, of: impl Fn(usize, &'a LinkReport) -> Vec<Line>) -> Vec<Line> {
    let links = report.links.iter().enumerate();
    links
        .flat_map(|(link, report)| of(link, report))
        .filter(|line| !line.points.is_empty())
        .collect()
}

fn all_y(lines: &[Line]) -> impl Iterator<Item = f64> + '_ {
    lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y))
}

fn timeline(report: &Report) -> Chart {
    let lines = lines(report, |link, of| {
        let points = of.timeline.iter().map(|(at_s, us)| (*at_s, us / 1e3)).collect::<Vec<_>>();
        vec![Line {
            words: of.facts.title.clone(),
            link,
            dashed: false,
            points: steps(&extremes(&points)),
            dots: Vec::new(),
        }]
    });
    let ends = lines.iter().flat_map(|line| line.points.last()).map(|(x, _)| *x);
    let end = ends.fold(1.0, f64::max).ceil();
    let step = (end / 5.0).max(1.0).round();
    let ticks = (0..=5).map(|at| step * f64::from(at)).filter(|at| *at <= end);
    Chart {
        title: "An activation each 5 ms",
        emulated: report.is_emulated(),
        x: Axis {
            words: "seconds",
            range: 0.0..end,
            logarithmic: false,
            ticks: ticks.map(|at| (at, number(at))).collect(),
        },
        y: Axis::powers_of_ten(ROUND_TRIP, all_y(&lines), number),
        bands: Vec::new(),
        lines,
    }
}

/// A message that is under way holds up the next: until it is back, its time is what a token waits.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut drawn = Vec::with_capacity(3 * points.len());
    for (at, point) in points.iter().enumerate() {
        let until = point.0 + point.1 / 1e3;
        let next = points.get(at + 1).map_or(until, |next| next.0);
        drawn.extend([*point, (until.min(next), point.1)]);
    }
    drawn
}

/// The shortest and the longest of each piece, in the order in which they came.
fn extremes(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let piece = points.len().div_ceil(TIMELINE_PIECES).max(1);
    let mut kept = Vec::new();
    for piece in points.chunks(piece) {
        let by_y = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let (Some(least), Some(most)) = (piece.iter().min_by(by_y), piece.iter().max_by(by_y))
        else {
            continue;
        };
        kept.extend(if least.0 <= most.0 { [*least, *most] } else { [*most, *least] });
    }
    kept.dedup();
    kept
}

fn shares(report: &Report) -> Chart {
    let lines = lines(report, |link, of| {
        let line = |loaded: bool| {
            let trips = of.trips(Cell { loaded, ..Cell::ALONE })?;
            let points = trips.shares.iter().map(|(us, share)| (us / 1e3, 100.0 * share)).collect();
            let beside = if loaded { ", beside bulk" } else { "" };
            let words = format!("{}{beside}", of.facts.title);
            Some(Line { words, link, dashed: loaded, points, dots: Vec::new() })
        };
        [line(false), line(true)].into_iter().flatten().collect()
    });
    let all_x = lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
    Chart {
        title: "10 KiB: how many took no longer",
        emulated: report.is_emulated(),
        x: Axis::powers_of_ten(ROUND_TRIP, all_x, number),
        y: Axis {
            words: "% of all",
            range: 0.0..100.0,
            logarithmic: false,
            ticks: [0, 25, 50, 75, 90, 100].map(|at| (f64::from(at), at.to_string())).to_vec(),
        },
        bands: Vec::new(),
        lines,
    }
}

/// Which sizes activations have: of one token, and of a chunk of a prompt.
fn bands() -> Vec<Band> {
    let of = |tokens: usize, words| {
        let [first, .., last] = MODELS;
        let edge = |bytes: usize| bytes as f64;
        let (least, most) = (first.activation_bytes(tokens), last.activation_bytes(tokens));
        Band { range: edge(least) / 1.1..edge(most) * 1.1, words }
    };
    vec![of(1, "1 token"), of(CHUNK_TOKENS, "512 tokens")]
}

fn by_size() -> Axis {
    let ticks = [64, 1 << 10, 16 << 10, 256 << 10, 4 << 20];
    Axis {
        words: "bytes of a message",
        range: 64.0..(16 << 20) as f64,
        logarithmic: true,
        ticks: ticks.map(|size: usize| (size as f64, bytes(size))).to_vec(),
    }
}

fn sizes(report: &Report) -> Chart {
    let lines = lines(report, |link, of| {
        let alone = || {
            of.round_trips.iter().filter(|trips| {
                let Cell { waits, loaded, .. } = trips.cell;
                (waits, loaded) == (Cell::ALONE.waits, Cell::ALONE.loaded)
            })
        };
        let median =
            |trips: &super::report::RoundTrips| (trips.cell.size as f64, trips.rtt_us.p50 / 1e3);
        let marked = alone().filter(|trips| !marks(trips.cell.size).is_empty());
        let slow = alone().filter(|trips| trips.count >= COUNT_FOR_P99 as u64);
        let slow = slow.map(|trips| (trips.cell.size as f64, trips.rtt_us.p99 / 1e3));
        let title = &of.facts.title;
        vec![
            Line {
                words: format!("{title}, median"),
                link,
                dashed: false,
                points: alone().map(median).collect(),
                dots: marked.map(median).collect(),
            },
            Line {
                words: format!("{title}, 99 %"),
                link,
                dashed: true,
                points: slow.collect(),
                dots: Vec::new(),
            },
        ]
    });
    Chart {
        title: "Round trips by size",
        emulated: report.is_emulated(),
        x: by_size(),
        y: Axis::powers_of_ten(ROUND_TRIP, all_y(&lines), number),
        bands: bands(),
        lines,
    }
}

fn throughput(report: &Report) -> Chart {
    let lines = lines(report, |link, of| {
        let flows = || of.flows.iter().filter(|flow| flow.way == Way::There);
        let point = |flow: &super::report::Flow| (flow.size as f64, flow.gbps.median);
        let marked = flows().filter(|flow| !marks(flow.size).is_empty());
        vec![Line {
            words: of.title_of_rates(),
            link,
            dashed: false,
            points: flows().map(point).collect(),
            dots: marked.map(point).collect(),
        }]
    });
    Chart {
        title: "Throughput by size",
        emulated: report.is_emulated(),
        x: by_size(),
        y: Axis::powers_of_ten("gigabits per second, one way", all_y(&lines), number),
        bands: bands(),
        lines,
    }
}

/// What a picture shows, for those who read it for the first time.
pub(super) fn explained(id: &str) -> String {
    match id {
        "timeline" => format!(
            "One message of {} (a token of {}) every 5 ms over both links at once, side by side. A spike \
             is a token that comes late.",
            bytes(EXAMPLE.activation_bytes(1)),
            EXAMPLE.name
        ),
        "shares" => {
            "Further left is faster; a line that leans to the right at its top has a long tail. \
                     Dashed: while bulk, as when weights are copied, goes the same way."
                .into()
        }
        "sizes" => {
            "Dots are activations of real models, by bfloat16 numbers: one token (3B to 70B), and \
                    a chunk of 512 tokens of a prompt."
                .into()
        }
        _ => "Messages one after the other without waiting for an answer.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_spike_is_lost_when_points_are_left_out() {
        let mut points: Vec<_> = (0..4000).map(|at| (f64::from(at), 1.0)).collect();
        points[1234].1 = 90.0;
        let kept = extremes(&points);
        assert!(kept.len() <= 2 * TIMELINE_PIECES);
        assert!(kept.contains(&(1234.0, 90.0)));
        assert!(kept.is_sorted_by(|one, other| one.0 <= other.0));
        assert!(extremes(&[]).is_empty());
    }
}
