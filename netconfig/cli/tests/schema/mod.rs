//! docs/tbnet-json.md, held against what tbnet really prints: nothing undocumented, nothing missing,
//! and in the end nothing documented that was never printed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use serde_json::Value;

/// One row of a table: which values there may be, and whether the key may be left out.
#[derive(Clone, Debug)]
struct Row {
    kinds: BTreeSet<String>,
    optional: bool,
    /// Told of elsewhere: it need not be seen here.
    borrowed: bool,
}

/// What is documented of one command, and what of it was seen so far.
pub(crate) struct Documented {
    command: String,
    rows: BTreeMap<String, Row>,
    reading: BTreeMap<String, Row>,
    seen: BTreeSet<(String, String)>,
    wrong: BTreeSet<String>,
}

impl Documented {
    /// The section of `tbnet COMMAND … --json`.
    pub(crate) fn of(command: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/tbnet-json.md");
        let text = fs::read_to_string(path).expect("the page is there");
        let section = |begins: &str| -> BTreeMap<String, Row> {
            let text = text.split_once(begins).unwrap_or_else(|| panic!("no {begins}")).1;
            let text = text.split_once("\n## ").map_or(text, |(section, _)| section);
            text.lines().filter_map(row).collect()
        };
        let mut rows = section(&format!("\n## `tbnet {command} "));
        if rows.contains_key("now") {
            let interface = "snapshot.interfaces.value[]";
            for (path, row) in section("\n## `tbnet show ") {
                if let Some(rest) = path.strip_prefix(interface) {
                    rows.insert(format!("now{rest}"), Row { borrowed: true, ..row });
                }
            }
        }
        let reading = section("# The JSON of tbnet");
        assert!(rows.len() > 5 && reading.len() > 5, "{command}: the tables were not found");
        let (seen, wrong) = (BTreeSet::new(), BTreeSet::new());
        Self { command: command.to_owned(), rows, reading, seen, wrong }
    }

    /// Walks through what was printed.
    pub(crate) fn hold(&mut self, printed: &Value) {
        assert_eq!(printed["schema"], 1);
        self.walk("", printed);
    }

    /// Adds a section of a snapshot, whatever is in it.
    pub(crate) fn hold_reading(&mut self, reading: &Value) {
        self.reading("a reading", reading);
    }

    /// That these keys were seen, and nothing undocumented.
    pub(crate) fn assert_seen(&self, keys: &[&str]) {
        assert!(self.wrong.is_empty(), "tbnet {}: {:#?}", self.command, self.wrong);
        for key in keys {
            assert!(self.rows.contains_key(*key), "{key} is not documented");
            assert!(self.seen.iter().any(|(seen, _)| seen == key), "{key} was not printed");
        }
    }

    /// Ends the comparison, in both directions. What only a running machine prints is named, and
    /// shown where one runs.
    pub(crate) fn assert_agrees(&self, shown_elsewhere: &[&str]) {
        let command = &self.command;
        assert!(self.wrong.is_empty(), "tbnet {command}: {:#?}", self.wrong);
        let all = self.rows.iter().chain(&self.reading).filter(|(_, row)| !row.borrowed);
        let unseen: Vec<_> = all
            .flat_map(|(path, row)| row.kinds.iter().map(move |kind| (path.clone(), kind.clone())))
            .filter(|one| one.1 != "any" && one.1 != "reading" && !self.seen.contains(one))
            .filter(|(path, _)| self.rows.contains_key(path) || self.has_readings())
            .filter(|(path, _)| !shown_elsewhere.contains(&path.as_str()))
            .collect();
        assert!(unseen.is_empty(), "documented and never printed by tbnet {command}: {unseen:#?}");
    }

    fn has_readings(&self) -> bool {
        self.rows.values().any(|row| row.kinds.contains("reading"))
    }

    fn walk(&mut self, path: &str, value: &Value) {
        match value {
            Value::Null => self.leaf(path, "null"),
            Value::Bool(_) => self.leaf(path, "bool"),
            Value::Number(_) => self.leaf(path, "number"),
            Value::String(word) => {
                let quoted = format!("\"{word}\"");
                let listed = |row: &Row| row.kinds.iter().any(|kind| kind.starts_with('"'));
                if self.row(path).is_some_and(listed) {
                    self.leaf(path, &quoted);
                } else {
                    self.leaf(path, "string");
                }
            }
            Value::Array(items) => {
                self.container(path, "list", &format!("{path}[]"));
                for item in items {
                    self.walk(&format!("{path}[]"), item);
                }
            }
            Value::Object(_) if self.is_reading(path) => self.reading(path, value),
            Value::Object(keys) => {
                self.container(path, "object", &below(path, ""));
                self.require(path, value);
                let map = self.rows.keys().find_map(|row| {
                    let rest = row.strip_prefix(&below(path, "<"))?;
                    Some(below(path, &format!("<{}>", rest.split_once('>')?.0)))
                });
                for (key, value) in keys {
                    let path = map.clone().unwrap_or_else(|| below(path, key));
                    self.walk(&path, value);
                }
            }
        }
    }

    /// A section with its source: the keys of its own are in a table of their own.
    fn reading(&mut self, path: &str, value: &Value) {
        for (key, part) in value.as_object().into_iter().flatten() {
            match (key.as_str(), part) {
                ("value", part) => self.walk(&below(path, "value"), part),
                ("why", Value::Object(why)) => {
                    for (key, value) in why {
                        self.of_reading(path, &format!("why.{key}"), value);
                    }
                }
                (key, part) => self.of_reading(path, key, part),
            }
        }
        if !value["state"].is_string() {
            self.wrong.insert(format!("{path}: a reading without a state"));
        }
    }

    fn of_reading(&mut self, path: &str, key: &str, value: &Value) {
        let Some(row) = self.reading.get(key) else {
            self.wrong.insert(format!("{path}.{key}: no such key of a reading"));
            return;
        };
        let kind = match value {
            Value::String(word) if row.kinds.iter().any(|k| k.starts_with('"')) => {
                format!("\"{word}\"")
            }
            Value::String(_) => "string".to_owned(),
            Value::Number(_) => "number".to_owned(),
            other => other.to_string(),
        };
        if row.kinds.contains(&kind) {
            self.seen.insert((key.to_owned(), kind));
        } else {
            self.wrong.insert(format!("{path}.{key}: {kind} is not documented"));
        }
    }

    fn row(&self, path: &str) -> Option<&Row> {
        self.rows.get(path)
    }

    fn is_reading(&self, path: &str) -> bool {
        self.row(path).is_some_and(|row| row.kinds.contains("reading"))
    }

    fn leaf(&mut self, path: &str, kind: &str) {
        if self.row(path).is_some_and(|row| row.kinds.contains(kind)) {
            self.seen.insert((path.to_owned(), kind.to_owned()));
        } else {
            self.wrong.insert(format!("{path}: {kind} is not documented"));
        }
    }

    /// Something with parts: documented itself or by its parts.
    fn container(&mut self, path: &str, kind: &str, part: &str) {
        if self.row(path).is_some_and(|row| row.kinds.contains(kind)) {
            self.seen.insert((path.to_owned(), kind.to_owned()));
        } else if !self.rows.keys().any(|row| row.starts_with(part)) {
            self.wrong.insert(format!("{path}: {kind} is not documented"));
        }
    }

    /// What is not marked as optional must be there.
    fn require(&mut self, path: &str, value: &Value) {
        let prefix = below(path, "");
        let missing: Vec<String> = self
            .rows
            .iter()
            .filter_map(|(row, about)| {
                let rest = row.strip_prefix(&prefix)?;
                let (key, is_last) = match rest.split_once('.') {
                    Some((key, _)) => (key, false),
                    None => (rest, true),
                };
                let key = key.trim_end_matches("[]");
                let itself = self.row(&below(path, key)).is_some_and(|row| row.optional);
                let optional = itself || (is_last && about.optional) || key.starts_with('<');
                (!optional && value.get(key).is_none()).then(|| format!("{path}: no {key}"))
            })
            .collect();
        self.wrong.extend(missing);
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// `| `key` *(optional)* | kinds | what |`
fn row(line: &str) -> Option<(String, Row)> {
    let mut cells = line.strip_prefix("| `")?.split('|');
    let (path, mark) = cells.next()?.split_once('`')?;
    let kinds = cells.next()?.split(',').map(|kind| kind.trim().to_owned()).collect();
    let optional = mark.contains("optional");
    Some((path.to_owned(), Row { kinds, optional, borrowed: false }))
}
