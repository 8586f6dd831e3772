//! Python's `json.dumps`, as templates know it under the name `tojson`.
//!
//! minijinja's own filter escapes `< > & '` for HTML and prints no spaces: another prompt than the model was trained
//! on.

use std::fmt::Write;

use minijinja::value::Kwargs;
use serde_json::Value as Json;

use super::{Error, ErrorKind, Value};

/// The arguments that templates in use pass.
struct Style {
    item_separator: String,
    key_separator: String,
    indent: Option<usize>,
    ensure_ascii: bool,
    sort_keys: bool,
}

/// `value|tojson(indent=None, ensure_ascii=False, separators=None, sort_keys=False)`.
#[expect(clippy::needless_pass_by_value, reason = "the signature that minijinja asks for")]
pub(super) fn tojson(value: &Value, indent: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let json =
        serde_json::to_value(value).map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
    let indent = indent.or(kwargs.get("indent")?);
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    // Python leaves out the space after the comma where it breaks the line.
    let default_item = if indent.is_some() { "," } else { ", " };
    let (item_separator, key_separator) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        _ => (default_item.into(), ": ".into()),
    };
    let style = Style {
        item_separator,
        key_separator,
        indent,
        ensure_ascii: kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
        sort_keys: kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
    };
    kwargs.assert_all_used()?;
    let mut out = String::new();
    style.write(&mut out, &json, 0);
    Ok(out)
}

impl Style {
    fn write(&self, out: &mut String, json: &Json, depth: usize) {
        match json {
            Json::Null => out.push_str("null"),
            Json::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
            Json::Number(number) => out.push_str(&number.to_string()),
            Json::String(text) => self.write_text(out, text),
            Json::Array(items) => self.write_all(out, ['[', ']'], items, depth, |style, out, item| {
                style.write(out, item, depth + 1);
            }),
            Json::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                if self.sort_keys {
                    fields.sort_by_key(|(key, _)| *key);
                }
                self.write_all(out, ['{', '}'], &fields, depth, |style, out, (key, value)| {
                    style.write_text(out, key);
                    out.push_str(&style.key_separator);
                    style.write(out, value, depth + 1);
                });
            }
        }
    }

    fn write_all<T>(
        &self,
        out: &mut String,
        [open, close]: [char; 2],
        items: &[T],
        depth: usize,
        write: impl Fn(&Self, &mut String, &T),
    ) {
        out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push_str(&self.item_separator);
            }
            self.break_line(out, depth + 1);
            write(self, out, item);
        }
        if !items.is_empty() {
            self.break_line(out, depth);
        }
        out.push(close);
    }

    fn break_line(&self, out: &mut String, depth: usize) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn write_text(&self, out: &mut String, text: &str) {
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
                '\0'..='\u{1f}' => write_escape(out, character),
                '\u{7f}'.. if self.ensure_ascii && character != '\u{7f}' => write_escape(out, character),
                _ => out.push(character),
            }
        }
        out.push('"');
    }
}

fn write_escape(out: &mut String, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        write!(out, "\\u{unit:04x}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::super::python::environment;

    fn render(template: &str) -> String {
        let value: serde_json::Value =
            serde_json::from_str(r#"{"b": [1, 2.5, null], "a": {"text": "<é> & \"q\"\n\u0001😀"}, "e": [], "o": {}}"#)
                .unwrap();
        environment().render_str(template, minijinja::context!(v => minijinja::value::Serde(value))).unwrap()
    }

    // Each expectation is the output of Python's json.dumps with the same arguments.
    #[test]
    fn objects_print_as_python_prints_them() {
        assert_eq!(
            render("{{ v|tojson }}"),
            r#"{"b": [1, 2.5, null], "a": {"text": "<é> & \"q\"\n\u0001😀"}, "e": [], "o": {}}"#
        );
        assert_eq!(
            render("{{ v|tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}"),
            r#"{"a":{"text":"<\u00e9> & \"q\"\n\u0001\ud83d\ude00"},"b":[1,2.5,null],"e":[],"o":{}}"#
        );
        assert_eq!(render("{{ v.b|tojson(indent=2) }} {{ v.e|tojson(4) }}"), "[\n  1,\n  2.5,\n  null\n] []");
    }
}
