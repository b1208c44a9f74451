//! The tables of a report, as rows of words: the page and the summary show the same.

use super::{
    doors::LinkFacts,
    meaning::ms,
    plan::{COUNT_FOR_P99, COUNT_FOR_P999, Waits, bytes, marks},
    report::{LinkReport, Report, RoundTrips},
};
use crate::exercise::flow::Way;

/// A heading and rows; the first of them names the columns.
pub(super) struct Table {
    pub(super) heading: String,
    pub(super) rows: Vec<Vec<String>>,
    /// Whether its last column is sentences: on a phone they stand below what they are about.
    pub(super) in_words: bool,
}

/// All of them.
pub(super) fn all(report: &Report) -> Vec<Table> {
    let mut all = vec![links(report), examples(report), sizes(report), throughput(report)];
    all.extend(report.links.iter().filter_map(|link| emulation(&link.facts)));
    all
}

fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

fn links(report: &Report) -> Table {
    let mut rows =
        vec![row(&["", "interface", "known by", "speed", "MTU", "sealed", "interruptions"])];
    for link in &report.links {
        let LinkFacts { interface, title, mtu, speed, encrypted, .. } = &link.facts;
        let sealed = encrypted.map_or("–", |sealed| if sealed { "yes" } else { "no" });
        rows.push(row(&[
            title,
            interface,
            link.evidence(),
            speed.as_deref().unwrap_or("–"),
            &mtu.to_string(),
            sealed,
            &link.interruptions.to_string(),
        ]));
    }
    Table { heading: "Links".into(), rows, in_words: false }
}

fn examples(report: &Report) -> Table {
    let mut rows = vec![row(&[
        "",
        "both sides",
        "median",
        "90 %",
        "99 %",
        "99.9 %",
        "longest",
        "jitter",
        "trips",
    ])];
    for link in &report.links {
        for trips in link.examples() {
            rows.push(example(link, trips));
        }
    }
    let heading = "An activation of 10 KiB, there and back".into();
    Table { heading, rows, in_words: false }
}

fn example(link: &LinkReport, trips: &RoundTrips) -> Vec<String> {
    let waits = if trips.cell.waits == Waits::Asleep { "asleep" } else { "spinning" };
    let loaded = if trips.cell.loaded { ", beside bulk" } else { "" };
    let rtt = &trips.rtt_us;
    let mut cells = vec![link.facts.title.clone(), format!("{waits}{loaded}")];
    let percentiles = [rtt.p50, rtt.p90].map(|us| ms(us / 1e3));
    cells.extend(percentiles);
    cells.push(p99(trips));
    cells.push(if trips.count >= COUNT_FOR_P999 as u64 {
        ms(rtt.p999 / 1e3)
    } else {
        "–".into()
    });
    cells.extend([rtt.max, trips.jitter_us].map(|us| ms(us / 1e3)));
    cells.push(trips.count.to_string());
    cells
}

fn p99(trips: &RoundTrips) -> String {
    if trips.count >= COUNT_FOR_P99 as u64 { ms(trips.rtt_us.p99 / 1e3) } else { "–".into() }
}

fn sizes(report: &Report) -> Table {
    let [over, versus] = report.titles();
    let mut head = row(&["size"]);
    for title in [over, versus] {
        head.push(format!("{title}, median"));
        head.push("99 %".into());
    }
    head.push("ratio of medians".into());
    head.push("an activation of".into());
    let mut rows = vec![head];
    for size in super::plan::sizes() {
        let both = report.links.each_ref().map(|link| link.alone(size));
        if both.iter().all(Option::is_none) {
            continue;
        }
        let mut cells = vec![bytes(size)];
        for trips in both {
            let told = trips.map(|trips| [ms(trips.rtt_us.p50 / 1e3), p99(trips)]);
            cells.extend(told.unwrap_or_else(|| ["–".into(), "–".into()]));
        }
        cells.push(match both {
            [Some(over), Some(versus)] => {
                format!("{:.1} ×", versus.rtt_us.p50 / over.rtt_us.p50)
            }
            _ => "–".into(),
        });
        cells.push(marks(size).join("; "));
        rows.push(cells);
    }
    let heading = "Round trips by size, asleep between messages".into();
    Table { heading, rows, in_words: false }
}

fn throughput(report: &Report) -> Table {
    let mut rows = vec![row(&["", "there", "back"])];
    for link in &report.links {
        let most = |way| {
            link.most_gbps(way).map_or("–".into(), |gbps| match gbps {
                gbps if gbps < 1.0 => format!("{:.0} Mb/s", gbps * 1e3),
                gbps => format!("{gbps:.1} Gb/s"),
            })
        };
        rows.push(vec![link.title_of_rates(), most(Way::There), most(Way::Back)]);
    }
    Table { heading: "The most that goes one way".into(), rows, in_words: false }
}

fn emulation(facts: &LinkFacts) -> Option<Table> {
    let emulated = facts.emulated.as_ref()?;
    let mut rows = vec![row(&["", "emulated", "how it is known"])];
    for (name, value, basis) in &emulated.values {
        rows.push(row(&[name, value, basis]));
    }
    if let Some(mbps) = emulated.rate_capped_mbps {
        let carried = format!("{:.1} Gb/s", mbps / 1e3);
        rows.push(row(&["rate-capped", &carried, "measured: what the emulator carries here"]));
    }
    Some(Table { heading: format!("What {} is made of", facts.title), rows, in_words: true })
}
