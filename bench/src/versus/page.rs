//! The report as one page: no network, no scripts, readable on a phone and in the dark.

use std::fmt::Write as _;

use super::{meaning, pictures, report::Report, svg::escaped, tables};

const STYLE: &str = include_str!("page.css");

pub(super) fn html(report: &Report) -> String {
    let heading = escaped(&super::heading(report));
    let mut body = format!("<h1>{heading}</h1>\n");
    for notice in super::notices(report) {
        let _ = writeln!(body, "<p class=\"notice\">{}</p>", escaped(&notice));
    }
    body.push_str("<h2>What it means for a model on two machines</h2>\n<ul>\n");
    let titles = report.titles();
    let prompts = report.meaning.iter().filter_map(|one| one.prompt_in_words(titles));
    let tokens = report.meaning.iter().map(|one| one.in_words(titles));
    for sentence in tokens.chain(report.lateness()).chain(prompts) {
        let _ = writeln!(body, "<li>{}</li>", escaped(&sentence));
    }
    let _ = writeln!(body, "</ul>\n<p class=\"small\">{}</p>", escaped(&meaning::assumption()));
    for (id, chart) in pictures::all(report) {
        let words = escaped(&pictures::explained(id));
        let picture = chart.draw();
        let _ = writeln!(
            body,
            "<figure id=\"{id}\">\n{picture}<figcaption>{words}</figcaption></figure>"
        );
    }
    for table in tables::all(report) {
        table_into(&mut body, &table);
    }
    body.push_str("<h2>Machines</h2>\n<ul>\n");
    for machine in &report.machines {
        let _ = writeln!(body, "<li>{}</li>", escaped(&machine.in_words()));
    }
    let _ = writeln!(body, "</ul>\n<p class=\"small\">{}</p>", escaped(&super::how(report)));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{heading}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\
         </body>\n</html>\n"
    )
}

fn table_into(body: &mut String, table: &tables::Table) {
    let heading = escaped(&table.heading);
    let class = if table.in_words { "words" } else { "figures" };
    let _ = writeln!(body, "<h2>{heading}</h2>\n<div class=\"wide\"><table class=\"{class}\">");
    for (number, row) in table.rows.iter().enumerate() {
        let (open, close) = if number == 0 { ("<th>", "</th>") } else { ("<td>", "</td>") };
        let cells: Vec<_> =
            row.iter().map(|cell| format!("{open}{}{close}", together(&escaped(cell)))).collect();
        let _ = writeln!(body, "<tr>{}</tr>", cells.concat());
    }
    body.push_str("</table></div>\n");
}

/// A number and its sign are not torn apart at a line's end.
fn together(words: &str) -> String {
    words.replace(" %", "\u{a0}%")
}
