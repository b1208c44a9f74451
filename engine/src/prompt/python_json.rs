//! How would Python write that value as JSON?
//!
//! Models were trained on prompts that Python's `json.dumps` wrote, so tools in a prompt have to
//! look the same to the byte: `", "` and `": "` on one line, `","` and `": "` over several lines,
//! floats as `repr` writes them, nothing escaped that need not be (unless `ensure_ascii`).

use std::fmt::Write;

use serde_json::Value;

/// `json.dumps`'s arguments of that name.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) ensure_ascii: bool,
    pub(super) indent: Option<usize>,
    pub(super) item_separator: String,
    pub(super) key_separator: String,
    pub(super) sort_keys: bool,
}

impl Style {
    /// The style for an indent, with the separators that Python takes for it.
    pub(super) fn new(indent: Option<usize>) -> Self {
        Self {
            ensure_ascii: false,
            indent,
            item_separator: if indent.is_some() { "," } else { ", " }.to_owned(),
            key_separator: ": ".to_owned(),
            sort_keys: false,
        }
    }

    /// `value` as `json.dumps` writes it.
    pub(super) fn write(&self, value: &Value) -> String {
        let mut out = String::new();
        self.value(value, 0, &mut out);
        out
    }

    fn value(&self, value: &Value, depth: usize, out: &mut String) {
        match value {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Number(number) => match number.as_f64() {
                Some(float) if number.is_f64() => out.push_str(&float_repr(float)),
                _ => {
                    let _ = write!(out, "{number}");
                }
            },
            Value::String(text) => self.string(text, out),
            Value::Array(items) => {
                self.list(['[', ']'], items.iter(), depth, out, |item, out| {
                    self.value(item, depth + 1, out);
                });
            }
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                if self.sort_keys {
                    entries.sort_by_key(|(key, _)| key.chars().map(u32::from).collect::<Vec<_>>());
                }
                self.list(['{', '}'], entries.into_iter(), depth, out, |(key, item), out| {
                    self.string(key, out);
                    out.push_str(&self.key_separator);
                    self.value(item, depth + 1, out);
                });
            }
        }
    }

    fn list<T>(
        &self,
        [open, close]: [char; 2],
        items: impl ExactSizeIterator<Item = T>,
        depth: usize,
        out: &mut String,
        mut item: impl FnMut(T, &mut String),
    ) {
        out.push(open);
        let empty = items.len() == 0;
        for (number, entry) in items.enumerate() {
            if number > 0 {
                out.push_str(&self.item_separator);
            }
            self.new_line(depth + 1, out);
            item(entry, out);
        }
        if !empty {
            self.new_line(depth, out);
        }
        out.push(close);
    }

    fn new_line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn string(&self, text: &str, out: &mut String) {
        out.push('"');
        for character in text.chars() {
            match character {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' => {
                    let _ = write!(out, "\\u{:04x}", u32::from(c));
                }
                c if self.ensure_ascii && !(' '..='~').contains(&c) => {
                    if c == '\u{7f}' {
                        out.push(c);
                    } else {
                        for unit in c.encode_utf16(&mut [0; 2]) {
                            let _ = write!(out, "\\u{unit:04x}");
                        }
                    }
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// A float as Python's `repr` writes it: shortest digits that read back the same, scientific when
/// the decimal exponent is below −4 or at least 16.
fn float_repr(float: f64) -> String {
    if !float.is_finite() {
        // serde_json holds no such number; Python would write these words.
        return if float.is_nan() { "NaN" } else { "Infinity" }.to_owned();
    }
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{float}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_what_python_writes() {
        let value = json!({"b": [1, 2.0, -0.5, null, true], "a": {}, "c": [], "é": "\"\\\n\u{1}\u{7f}😀/<"});
        assert_eq!(
            Style::new(None).write(&value),
            "{\"b\": [1, 2.0, -0.5, null, true], \"a\": {}, \"c\": [], \
             \"é\": \"\\\"\\\\\\n\\u0001\u{7f}😀/<\"}"
        );
        assert_eq!(
            Style::new(Some(2)).write(&json!({"a": [1, {"b": 2}], "c": []})),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": 2\n    }\n  ],\n  \"c\": []\n}"
        );
        let ascii = Style { ensure_ascii: true, sort_keys: true, ..Style::new(None) };
        assert_eq!(
            ascii.write(&json!({"b": "é😀\u{7f}", "a": 1})),
            "{\"a\": 1, \"b\": \"\\u00e9\\ud83d\\ude00\u{7f}\"}"
        );
    }

    #[test]
    fn floats_are_pythons_repr() {
        for (float, repr) in [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e300, "1.5e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.25e-7, "1.25e-07"),
            (123_456_789.125, "123456789.125"),
        ] {
            assert_eq!(float_repr(float), repr);
        }
    }
}
