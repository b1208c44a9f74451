//! What is shown: the machine, a table for each question, what holds and what does not.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::{facts::Facts, section::Answer};

/// Everything of one run, as `--json` prints it.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) facts: Facts,
    pub(super) answers: Vec<Answer>,
    /// Somebody ended it before all was measured.
    pub(super) interrupted: bool,
}

impl Report {
    pub(super) fn print(&self) {
        println!("{}\n", self.facts);
        for answer in &self.answers {
            print(answer);
        }
        if self.interrupted {
            println!("interrupted: the figures above are of the rounds until then");
        }
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn print(answer: &Answer) {
    println!("{} · median (least–most) of {} rounds, in turns", answer.title, answer.rounds);
    let mut values = table();
    values.set_header([&[""], answer.metrics].concat());
    for result in answer.results.iter().filter(|result| result.missing.is_none()) {
        let cell = |metric: &&str| match result.figures.get(metric) {
            Some(figure) => figure.to_string(),
            None => "–".into(),
        };
        let cells = answer.metrics.iter().map(cell);
        values.add_row(std::iter::once(result.name.clone()).chain(cells));
    }
    for column in values.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{values}");
    for result in &answer.results {
        if let Some(missing) = &result.missing {
            println!("missing: {}: {missing}", result.name);
        }
        if let Some(error) = &result.error {
            println!("failed {} times: {}: {error}", result.failed, result.name);
        }
    }
    let mut verdicts = table();
    for verdict in &answer.verdicts {
        verdicts.add_row([
            match verdict.holds {
                Some(true) => "holds".into(),
                Some(false) => "FALLS SHORT".into(),
                None => "not measured".to_owned(),
            },
            verdict.what.clone(),
            verdict.value.map_or("–".into(), |value| format!("{value:.3}")),
            verdict.limit.clone(),
        ]);
    }
    println!("{verdicts}\n");
}
