//! What Python's Jinja has and minijinja has not.

use minijinja::syntax::SyntaxConfig;

use super::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value, json};

/// Marks what `raise_exception` said, so that it can be told apart from minijinja's own messages.
pub(super) const RAISED: &str = "\u{1}raised:";

/// An environment set up as `transformers` sets up Jinja.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(|out, state, value| match python_literal(value) {
        Some(text) => Ok(out.write_str(&text)?),
        None => minijinja::escape_formatter(out, state, value),
    });
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("string", |value: &Value| python_literal(value).unwrap_or_else(|| value.to_string()));
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
    });
    environment.add_function("strftime_now", strftime_now);
    environment
}

/// The local time in a format of C's `strftime`.
fn strftime_now(_: &State, format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, &jiff::Zoned::now())
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))
}

/// How Python prints what minijinja prints otherwise.
fn python_literal(value: &Value) -> Option<String> {
    if value.is_none() {
        return Some("None".into());
    }
    match bool::try_from(value.clone()) {
        Ok(truth) if value.kind() == minijinja::value::ValueKind::Bool => {
            Some(if truth { "True" } else { "False" }.to_owned())
        }
        _ => None,
    }
}

/// Replaces `{% generation %}`, which marks the assistant's words for training and prints nothing itself.
pub(super) fn without_generation_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let Some(close) = rest[open..].find("%}").map(|at| open + at) else { break };
        let (inner, after) = (&rest[open + 2..close], close + 2);
        let keyword = inner.trim_matches(['-', '+']).trim();
        let replacement = match keyword {
            "generation" => "if true",
            "endgeneration" => "endif",
            _ => {
                out.push_str(&rest[..after]);
                rest = &rest[after..];
                continue;
            }
        };
        out.push_str(&rest[..open + 2]);
        out.push_str(&inner.replace(keyword, &format!(" {replacement} ")));
        out.push_str("%}");
        rest = &rest[after..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_blocks_become_plain_ones() {
        let source = "{% if a %}{%- generation -%}x{%endgeneration%}{% endif %}{{ '{% raw' }}";
        let expected = "{% if a %}{%- if true -%}x{% endif %}{% endif %}{{ '{% raw' }}";
        let squeeze = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(without_generation_blocks(source)), squeeze(expected.into()));
    }

    #[test]
    fn values_print_as_in_python() {
        let environment = environment();
        let printed =
            environment.render_str("{{ true }} {{ none }} {{ 1 == 2 }} {{ x }}|{{ true|string }}", ()).unwrap();
        assert_eq!(printed, "True None False |True");
    }
}
