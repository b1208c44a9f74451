//! Property lists in whatever form a person gets hold of them: XML or binary (through the plist
//! crate), what `plutil -p` prints (`{ "a" => 1 }`), and the old style of `defaults read`
//! (`{ a = 1; b = ( x, y ); }`), with or without the outermost braces.

use plist::{Dictionary, Value};

/// How deep a property list may nest: ours nest five deep.
const DEPTH_MAX: usize = 32;

/// Reads a property list in any of the forms.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, String> {
    let trimmed = bytes.trim_ascii_start();
    if trimmed.starts_with(b"bplist") || trimmed.starts_with(b"<") {
        return Value::from_reader(std::io::Cursor::new(trimmed)).map_err(|e| e.to_string());
    }
    let text = std::str::from_utf8(trimmed).map_err(|_| "it is not text".to_owned())?;
    let mut reader = Reader { rest: text.trim_start_matches('\u{feff}').trim() };
    if reader.rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    let value = if reader.rest.starts_with(['{', '[', '(']) {
        reader.value(0)?
    } else {
        Value::Dictionary(reader.dictionary(None, 0)?)
    };
    reader.skip();
    if reader.rest.is_empty() { Ok(value) } else { Err(reader.unexpected("the end")) }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.rest.lines().next() {
            Some(line) => {
                format!(
                    "expected {wanted}, found \"{}\"",
                    line.chars().take(40).collect::<String>()
                )
            }
            None => format!("expected {wanted}, found the end"),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        if self.eat("{") {
            return self.dictionary(Some("}"), depth).map(Value::Dictionary);
        }
        if self.eat("[") {
            return self.list("]", depth);
        }
        if self.eat("(") {
            return self.list(")", depth);
        }
        let (text, quoted) = self.word()?;
        if !quoted {
            self.skip_words_after(&text);
        }
        Ok(match text.as_str() {
            _ if quoted => Value::String(text),
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            _ => match text.parse::<i64>() {
                Ok(number) => Value::Integer(number.into()),
                Err(_) => Value::String(text),
            },
        })
    }

    fn dictionary(&mut self, close: Option<&str>, depth: usize) -> Result<Dictionary, String> {
        let mut dictionary = Dictionary::new();
        loop {
            self.skip();
            match close {
                Some(close) if self.eat(close) => return Ok(dictionary),
                None if self.rest.is_empty() => return Ok(dictionary),
                _ => {}
            }
            let (key, _) = self.word()?;
            if !self.eat("=>") && !self.eat("=") {
                return Err(self.unexpected("= or =>"));
            }
            dictionary.insert(key, self.value(depth + 1)?);
            while self.eat(";") || self.eat(",") {}
        }
    }

    fn list(&mut self, close: &str, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        loop {
            if self.eat(close) {
                return Ok(Value::Array(items));
            }
            let mut item = self.value(depth + 1)?;
            // `plutil -p` numbers the items of a list: 0 => "en1".
            if self.eat("=>") {
                item = self.value(depth + 1)?;
            }
            items.push(item);
            while self.eat(",") || self.eat(";") {}
        }
    }

    /// `plutil -p` prints data as `{length = 20, bytes = 0x62706c69 73743030 … }` and dates as
    /// `2026-01-02 10:20:30 +0000`: more than one word, of which nothing is wanted here.
    fn skip_words_after(&mut self, word: &str) {
        let is_date = word.len() == 10 && word.as_bytes().get(4) == Some(&b'-');
        let end = match word.starts_with("0x") {
            true => self.rest.find(['}', '\n']),
            false if is_date => self.rest.find(['}', ']', ')', ';', ',', '\n']),
            false => Some(0),
        };
        self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
    }

    /// A quoted or bare word, and whether it was quoted.
    fn word(&mut self) -> Result<(String, bool), String> {
        self.skip();
        if let Some(rest) = self.rest.strip_prefix('"') {
            let mut text = String::new();
            let mut chars = rest.char_indices();
            while let Some((at, c)) = chars.next() {
                match c {
                    '"' => {
                        self.rest = &rest[at + 1..];
                        return Ok((text, true));
                    }
                    '\\' => text.extend(chars.next().map(|(_, c)| c)),
                    c => text.push(c),
                }
            }
            return Err(self.unexpected("a closing quote"));
        }
        let ends = |c: char| c.is_whitespace() || "{}[]()=;,\"".contains(c);
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.unexpected("a word"));
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok((word.to_owned(), false))
    }
}

/// The dictionary at `key`, if there is one.
pub(super) fn dictionary<'a>(value: &'a Dictionary, key: &str) -> Option<&'a Dictionary> {
    value.get(key).and_then(Value::as_dictionary)
}

/// The strings of the list at `key`; none if there is no list.
pub(super) fn strings(value: &Dictionary, key: &str) -> Vec<String> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_string().map(str::to_owned))
        .collect()
}

/// A switch: `true`, or any number but zero.
pub(super) fn is_on(value: &Dictionary, key: &str) -> bool {
    match value.get(key) {
        Some(Value::Boolean(on)) => *on,
        Some(Value::Integer(number)) => number.as_signed() != Some(0),
        _ => false,
    }
}

/// A list of strings.
pub(super) fn list(items: &[String]) -> Value {
    Value::Array(items.iter().cloned().map(Value::String).collect())
}

/// The dictionary as an XML property list.
pub(super) fn xml(root: Dictionary) -> Vec<u8> {
    let mut bytes = Vec::new();
    Value::Dictionary(root)
        .to_writer_xml(&mut bytes)
        .expect("writing a dictionary of strings to memory cannot fail");
    bytes
}
