//! The summary in Markdown: for an issue, a message, a note.

use std::fmt::Write as _;

use super::{meaning, report::Report, tables};

pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# {}\n", super::heading(report));
    for notice in super::notices(report) {
        let _ = writeln!(text, "> **{notice}**\n");
    }
    for meaning in &report.meaning {
        let _ = writeln!(text, "- {}", meaning.in_words(report.titles()));
    }
    if let Some(late) = report.lateness() {
        let _ = writeln!(text, "- {late}");
    }
    for prompt in report.meaning.iter().filter_map(|one| one.prompt_in_words(report.titles())) {
        let _ = writeln!(text, "- {prompt}");
    }
    let _ = writeln!(text, "\n{}", meaning::assumption());
    for table in tables::all(report) {
        let _ = writeln!(text, "\n## {}\n", table.heading);
        for (number, row) in table.rows.iter().enumerate() {
            let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
            if number == 0 {
                let _ = writeln!(text, "|{}", " --- |".repeat(row.len()));
            }
        }
    }
    let _ = writeln!(text, "\n## Machines\n");
    for machine in &report.machines {
        let _ = writeln!(text, "- {}", machine.in_words());
    }
    let _ = writeln!(text, "\n{}", super::how(report));
    text
}
