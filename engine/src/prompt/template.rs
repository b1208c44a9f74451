//! What text is this conversation?
//!
//! Chat templates are Jinja as Hugging Face runs it: `trim_blocks` and `lstrip_blocks` on, loop
//! controls, Python's string and dict methods, and three functions of theirs (`raise_exception`,
//! `strftime_now`, `tojson` that is Python's `json.dumps`). A template comes with the model, so it
//! is given fuel: it may loop, but not for ever.

use std::{borrow::Cow, fmt};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind,
    syntax::SyntaxConfig,
    value::{Kwargs, Serde, Value as Jinja},
};
use serde_json::{Map, Value};

use super::python_json::Style;

/// Steps that a template may take: some thousand messages take a few hundred thousand.
const FUEL: u64 = 20_000_000;
/// The widest indent `tojson` is asked for in earnest is 4.
const INDENT_MAX: usize = 64;

/// What a conversation is rendered with, beside its messages.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// Tools the model may call, as the client gave them: a list of OpenAI tool objects.
    pub tools: Option<Value>,
    /// Whether the prompt ends with the beginning of the assistant's answer.
    pub add_generation_prompt: bool,
    /// Further variables that the template may know (`enable_thinking`, `date_string`, …).
    pub extra: Map<String, Value>,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self { tools: None, add_generation_prompt: true, extra: Map::new() }
    }
}

/// A parsed chat template.
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
}

/// Why rendering ended without a prompt.
#[derive(Debug)]
pub(super) enum RenderError {
    /// The template called `raise_exception`.
    Refused(String),
    /// Something failed.
    Failed(String),
}

const NAME: &str = "chat_template";

impl ChatTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// What does not parse, and in which line.
    pub(super) fn parse(source: &str) -> Result<Self, String> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", tojson);
        environment.add_test("iterable", is_iterable);
        environment
            .add_template_owned(NAME, without_generation_tags(source).into_owned())
            .map_err(|error| describe(&error))?;
        Ok(Self { environment })
    }

    /// The same, with a day that is the same every day: its own format.
    #[cfg(test)]
    pub(super) fn without_date(mut self) -> Self {
        self.environment.add_function("strftime_now", |format: String| format);
        self
    }

    /// Renders with these variables.
    ///
    /// # Errors
    /// [`RenderError`].
    pub(super) fn render(&self, variables: Map<String, Value>) -> Result<String, RenderError> {
        let context = Jinja::from(Serde(Value::Object(variables)));
        self.environment.get_template(NAME).and_then(|template| template.render(context)).map_err(
            |error| match refusal(&error) {
                Some(reason) => RenderError::Refused(reason),
                None => RenderError::Failed(describe(&error)),
            },
        )
    }
}

/// `{% generation %}` marks the assistant's words for training. It renders as its body.
fn without_generation_tags(source: &str) -> Cow<'_, str> {
    if !source.contains("generation") {
        return Cow::Borrowed(source);
    }
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (tag, after) = tag.split_at(end + 2);
        let word = tag[2..tag.len() - 2].trim_start_matches(['-', '+']);
        let word = word.trim_end_matches(['-', '+']).trim();
        match word {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The reason that a template gave to `raise_exception`.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// As Python has it: to minijinja `none` is iterable, too.
fn is_iterable(value: &Jinja) -> bool {
    !value.is_none()
        && (value.is_undefined() || value.as_str().is_some() || value.try_iter().is_ok())
}

fn raise_exception(reason: String) -> Result<Jinja, Error> {
    let error = Error::new(ErrorKind::InvalidOperation, reason.clone());
    Err(error.with_source(Refusal(reason)))
}

fn refusal(error: &Error) -> Option<String> {
    chain(error).find_map(|cause| cause.downcast_ref::<Refusal>()).map(|refusal| refusal.0.clone())
}

/// An error with its causes, in one line.
fn describe(error: &Error) -> String {
    let causes: Vec<String> = chain(error).map(ToString::to_string).collect();
    causes.join(": ")
}

fn chain<'a>(error: &'a Error) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error as &'a (dyn std::error::Error + 'static)), |cause| {
        cause.source()
    })
}

fn strftime_now(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, &jiff::Zoned::now()).map_err(|error| {
        Error::new(ErrorKind::InvalidOperation, format!("strftime_now({format:?}): {error}"))
    })
}

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn tojson(value: &Jinja, ensure_ascii: Option<bool>, options: Kwargs) -> Result<String, Error> {
    let invalid = |problem: String| Error::new(ErrorKind::InvalidOperation, problem);
    if value.is_undefined() {
        return Err(invalid("tojson: the value is undefined".to_owned()));
    }
    let mut style = Style::new(options.get::<Option<usize>>("indent")?.map(|n| n.min(INDENT_MAX)));
    style.ensure_ascii =
        options.get::<Option<bool>>("ensure_ascii")?.or(ensure_ascii).unwrap_or(false);
    style.sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    if let Some(separators) = options.get::<Option<Vec<String>>>("separators")? {
        let [item, key] = <[String; 2]>::try_from(separators)
            .map_err(|_| invalid("tojson: `separators` are two strings".to_owned()))?;
        (style.item_separator, style.key_separator) = (item, key);
    }
    options.assert_all_used()?;
    let value = serde_json::to_value(value)
        .map_err(|error| invalid(format!("tojson: {error}")).with_source(error))?;
    Ok(style.write(&value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn render(source: &str, variables: Value) -> Result<String, RenderError> {
        let Value::Object(variables) = variables else { panic!("variables are an object") };
        ChatTemplate::parse(source).unwrap().render(variables)
    }

    #[test]
    fn jinja_as_hugging_face_runs_it() {
        for (source, expected) in [
            ("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"),
            (
                "{{ none is iterable }}{{ missing is iterable }}{{ 'a' is iterable }}{{ 3 is iterable }}",
                "FalseTrueTrueFalse",
            ),
            (
                "{% for i in [1,2,3,4] %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
                "13",
            ),
            (
                "{{ ' a '.strip() + 'x</think>b'.split('</think>')[-1].lstrip('b') }}|{{ m.get('k', 'd') }}",
                "a|d",
            ),
            (
                "{{ l[::-1][0] }}{{ l[1:]|length }}{{ 'b' in 'abc' }}{{ none }}{{ missing }}",
                "21TrueNone",
            ),
            (
                "{%- set ns = namespace(n=0) %}{%- for i in l %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
                "3",
            ),
            (
                "a {%- generation -%} b {%- endgeneration %} c{% generation %}d{% endgeneration %}",
                "ab cd",
            ),
            (
                "{{ m | tojson }}{{ l | tojson(indent=2) }}",
                "{\"z\": \"é<\", \"a\": 1.0}[\n  1,\n  2\n]",
            ),
            ("{{ l | tojson(separators=(',', ':')) }}{{ m|items|list|length }}", "[1,2]2"),
            ("{{ '<b>' }}{{ 'x' ~ 1 ~ true }}", "<b>x1True"),
        ] {
            let variables = json!({"l": [1, 2], "m": {"z": "é<", "a": 1.0}});
            assert_eq!(render(source, variables).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn a_template_may_refuse_and_is_told_apart_from_a_broken_one() {
        let refused = render(
            "{% macro m() %}{{ raise_exception('roles!') }}{% endmacro %}{{ m() }}",
            json!({}),
        );
        assert!(matches!(refused, Err(RenderError::Refused(reason)) if reason == "roles!"));
        let failed = render("{{ 'a' + none }}", json!({}));
        assert!(matches!(failed, Err(RenderError::Failed(_))));
        let undefined = render("{{ m.a.b }}", json!({"m": {}}));
        assert!(matches!(undefined, Err(RenderError::Failed(_))));
        assert!(ChatTemplate::parse("{% if %}").is_err());
    }

    #[test]
    fn a_template_cannot_loop_for_ever() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}";
        let failed = render(source, json!({}));
        assert!(matches!(failed, Err(RenderError::Failed(why)) if why.contains("fuel")));
    }

    #[test]
    fn today_has_a_date() {
        let today = render("{{ strftime_now('%Y-%m-%d') }}", json!({})).unwrap();
        assert_eq!(today.len(), 10);
        assert!(matches!(
            render("{{ strftime_now('%') }}", json!({})),
            Err(RenderError::Failed(_))
        ));
    }
}
