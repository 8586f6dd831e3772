//! YAML: entries of a list of models, known by their names.
//!
//! Lines are put in as text, in the block style in which people write such files; libraries that write YAML lose its
//! comments. The text is parsed before and after, and whatever does not read as it was meant is refused, so a shape
//! that was not thought of costs a message and never a file.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::{MergeError, overlay};

const LIST: &str = "models";
const NAME: &str = "name";

/// Fields that an entry gets when it is made and that are its owner's from then on.
const FIRST_ONLY: [&str; 1] = ["capabilities"];

const ELSEWHERE: MergeError =
    MergeError::Unsupported("its list of models is written in a style that this program cannot edit");

/// The text with these entries in its list of models; an empty one gets the `head` first.
pub(in super::super) fn merge(existing: &str, head: &str, wanted: &[Map<String, Value>]) -> Result<String, MergeError> {
    let mut expected = parse(existing)?;
    let line_end = if existing.contains("\r\n") { "\r\n" } else { "\n" };
    let mut lines: Vec<String> = existing.lines().map(str::to_owned).collect();
    if expected.is_null() {
        lines.extend(head.lines().map(str::to_owned));
        expected = parse(head)?;
    }
    let Value::Object(document) = &mut expected else { return Err(MergeError::Occupied("the whole file".into())) };
    let before = lines.len();
    let list = document.entry(LIST).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    let Value::Array(entries) = list else { return Err(MergeError::Occupied(LIST.into())) };
    let mut changed = before != existing.lines().count();
    for entry in wanted {
        changed |= put(&mut lines, entries, entry)?;
    }
    if !changed {
        return Ok(existing.to_owned());
    }
    let mut merged = lines.join(line_end);
    merged.push_str(line_end);
    if parse(&merged).is_ok_and(|data| data == expected) { Ok(merged) } else { Err(ELSEWHERE) }
}

/// The file's data, for those who look for something in it.
pub(in super::super) fn data(text: &str) -> Option<Value> {
    parse(text).ok()
}

fn parse(text: &str) -> Result<Value, MergeError> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |place| place.line());
        MergeError::Unreadable { format: "YAML", reason: format!("see line {line}") }
    })
}

/// Puts one entry into lines and data alike; says whether there was anything to do.
fn put(lines: &mut Vec<String>, entries: &mut Vec<Value>, wanted: &Map<String, Value>) -> Result<bool, MergeError> {
    let Some(index) = entries.iter().position(|entry| entry.get(NAME) == wanted.get(NAME)) else {
        let list = List::find(lines, entries.len())?;
        let item = rendered(wanted, list.column + 2);
        lines.splice(list.end..list.end, with_dash(item, list.column));
        entries.push(Value::Object(wanted.clone()));
        return Ok(true);
    };
    let mut wanted = wanted.clone();
    wanted.retain(|name, _| !FIRST_ONLY.contains(&name.as_str()) || entries[index].get(name).is_none());
    let mut after = entries[index].clone();
    overlay(&mut after, &wanted);
    if after == entries[index] {
        return Ok(false);
    }
    let list = List::find(lines, entries.len())?;
    let start = list.items[index];
    let end = list.items.get(index + 1).copied().unwrap_or(list.end);
    // The dash out of the way, the item is a mapping like any other.
    let column = list.column + 1 + spaces(&lines[start][list.column + 1..]);
    if lines[start].len() == column {
        return Err(ELSEWHERE);
    }
    lines[start].replace_range(list.column..=list.column, " ");
    set(lines, (start, end), column, &wanted, &entries[index])?;
    lines[start].replace_range(list.column..=list.column, "-");
    entries[index] = after;
    Ok(true)
}

/// Where the list of models is.
struct List {
    /// Where its dashes stand.
    column: usize,
    /// The line of each dash.
    items: Vec<usize>,
    /// Behind its last line.
    end: usize,
}

impl List {
    /// Finds the list, or makes its heading; it must have as many items as the data.
    fn find(lines: &mut Vec<String>, count: usize) -> Result<Self, MergeError> {
        let heading = format!("{LIST}:");
        let Some(at) = lines.iter().position(|line| line.starts_with(&heading)) else {
            lines.push(heading);
            return if count == 0 {
                Ok(Self { column: 2, items: Vec::new(), end: lines.len() })
            } else {
                Err(ELSEWHERE)
            };
        };
        match without_comment(&lines[at][heading.len()..]) {
            "" => {}
            "[]" | "null" | "~" => lines[at] = heading,
            _ => return Err(ELSEWHERE),
        }
        let end = block_end(lines, at + 1, lines.len(), 0);
        let first = (at + 1..end).find(|line| !is_blank(&lines[*line]));
        let column = first.map_or(2, |line| spaces(&lines[line]));
        let items: Vec<usize> =
            (at + 1..end).filter(|line| spaces(&lines[*line]) == column && is_item(&lines[*line])).collect();
        if items.len() == count { Ok(Self { column, items, end: end.max(at + 1) }) } else { Err(ELSEWHERE) }
    }
}

/// Sets fields of the mapping in a range of lines.
fn set(
    lines: &mut Vec<String>,
    (start, mut end): (usize, usize),
    column: usize,
    wanted: &Map<String, Value>,
    there: &Value,
) -> Result<(), MergeError> {
    for (name, value) in wanted {
        let old = there.get(name);
        if old == Some(value) {
            continue;
        }
        let length = lines.len();
        let key = format!("{name}:");
        let found = (start..end).find(|line| {
            let rest = lines[*line].get(column..).and_then(|text| text.strip_prefix(&key));
            spaces(&lines[*line]) == column && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        });
        match (found, value) {
            (None, _) if old.is_some() => return Err(ELSEWHERE),
            (None, value) => {
                let at = (start..end).rev().find(|line| !is_blank(&lines[*line])).map_or(end, |line| line + 1);
                let field = Map::from_iter([(name.clone(), value.clone())]);
                lines.splice(at..at, rendered(&field, column));
            }
            (Some(at), Value::Object(inner)) => {
                if !without_comment(&lines[at][column + key.len()..]).is_empty() {
                    return Err(ELSEWHERE);
                }
                let inner_end = block_end(lines, at + 1, end, column);
                let first = (at + 1..inner_end).find(|line| !is_blank(&lines[*line]));
                let inner_column = first.map_or(column + 2, |line| spaces(&lines[line]));
                set(lines, (at + 1, inner_end), inner_column, inner, old.unwrap_or(&Value::Null))?;
            }
            (Some(at), value) => {
                let behind = block_end(lines, at + 1, end, column);
                let comment = comment(&lines[at]).map(|text| format!(" {text}")).unwrap_or_default();
                let line = format!("{:column$}{key} {}{comment}", "", scalar(value));
                lines.splice(at..behind, [line]);
            }
        }
        end = (end + lines.len()) - length;
    }
    Ok(())
}

/// Behind the last line that belongs to a key of this column; comments and blanks after it do not.
fn block_end(lines: &[String], start: usize, limit: usize, column: usize) -> usize {
    let mut end = start;
    for (index, line) in lines.iter().enumerate().take(limit).skip(start).filter(|(_, line)| !is_blank(line)) {
        let deeper = spaces(line) > column || (spaces(line) == column && is_item(line));
        if !deeper {
            break;
        }
        end = index + 1;
    }
    end
}

fn spaces(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

fn is_blank(line: &str) -> bool {
    let text = line.trim_start();
    text.is_empty() || text.starts_with('#')
}

fn is_item(line: &str) -> bool {
    let text = line.trim_start();
    text == "-" || text.starts_with("- ")
}

fn without_comment(rest: &str) -> &str {
    rest.split(" #").next().unwrap_or_default().trim()
}

/// The comment at a line's end, where there are no quotes that it could be in.
fn comment(line: &str) -> Option<&str> {
    let at = line.find(" #")?;
    (!line.contains(['"', '\''])).then(|| line[at + 1..].trim_end())
}

fn with_dash(mut lines: Vec<String>, column: usize) -> Vec<String> {
    if let Some(first) = lines.first_mut() {
        first.replace_range(column..=column, "-");
    }
    lines
}

/// Fields, one a line, mappings below their names.
fn rendered(fields: &Map<String, Value>, column: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, value) in fields {
        if let Value::Object(inner) = value {
            lines.push(format!("{:column$}{name}:", ""));
            lines.extend(rendered(inner, column + 2));
        } else {
            lines.push(format!("{:column$}{name}: {}", "", scalar(value)));
        }
    }
    lines
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => {
            let mut text = String::from("[");
            for (index, item) in items.iter().enumerate() {
                let _ = write!(text, "{}{}", if index > 0 { ", " } else { "" }, scalar(item));
            }
            text + "]"
        }
        other => other.to_string(),
    }
}

/// Plain where nobody could take it for anything but a text, else as JSON, which YAML reads too.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./: ".contains(c))
        && !text.contains(": ")
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { Value::from(text).to_string() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const HEAD: &str = "name: Remora\nversion: 1.0.0\n";

    fn wanted() -> Vec<Map<String, Value>> {
        let entry = |name: &str, length: u32| {
            let entry = json!({
                "name": name, "apiBase": "http://h:8000/v1/", "apiKey": "${{ secrets.REMORA_KEY }}",
                "capabilities": ["tool_use"], "options": {"contextLength": length},
            });
            let Value::Object(entry) = entry else { panic!() };
            entry
        };
        vec![entry("Remora a", 2048), entry("Remora b/c", 4096)]
    }

    fn merged(existing: &str) -> String {
        let merged = merge(existing, HEAD, &wanted()).unwrap();
        assert_eq!(merge(&merged, HEAD, &wanted()).unwrap(), merged, "once is enough");
        merged
    }

    #[test]
    fn an_empty_file_becomes_the_settings() {
        insta::assert_snapshot!(merged("# mine\n"), @r#"
        # mine
        name: Remora
        version: 1.0.0
        models:
          - name: Remora a
            apiBase: http://h:8000/v1/
            apiKey: "${{ secrets.REMORA_KEY }}"
            capabilities: [tool_use]
            options:
              contextLength: 2048
          - name: Remora b/c
            apiBase: http://h:8000/v1/
            apiKey: "${{ secrets.REMORA_KEY }}"
            capabilities: [tool_use]
            options:
              contextLength: 4096
        "#);
    }

    #[test]
    fn everything_else_stays_with_its_comments() {
        let existing = "name: My own # mine\nmodels:\n  # the first\n  - name: GPT\n    apiKey: 'x'\n\n  # ours\n  - \
                        provider: openai # fixed\n    name: Remora a\n    apiBase: http://old/v1/ # where\n    \
                        capabilities:\n      - image_input\n    options:\n      temperature: 0.2 # cool\n      \
                        contextLength: 5\n\n# rules follow\nrules:\n  - be brief\n";
        insta::assert_snapshot!(merged(existing), @r#"
        name: My own # mine
        models:
          # the first
          - name: GPT
            apiKey: 'x'

          # ours
          - provider: openai # fixed
            name: Remora a
            apiBase: http://h:8000/v1/ # where
            capabilities:
              - image_input
            options:
              temperature: 0.2 # cool
              contextLength: 2048
            apiKey: "${{ secrets.REMORA_KEY }}"
          - name: Remora b/c
            apiBase: http://h:8000/v1/
            apiKey: "${{ secrets.REMORA_KEY }}"
            capabilities: [tool_use]
            options:
              contextLength: 4096

        # rules follow
        rules:
          - be brief
        "#);
    }

    #[test]
    fn lists_are_found_however_they_are_indented() {
        for existing in [
            "models:\n- name: x\n  apiKey: y\nrules: []\n",
            "models:\n      -   name: x\n          apiKey: y\nrules: []\n",
            "models: []\nrules: []\n",
            "models:\nrules: []\n",
            "models: # none\n\n\n# and\nrules: []\n",
            "rules: []\nmodels:\n  - name: Remora a\n",
            "rules: []\nmodels:\n  - {name: x}\n",
            "rules: []\r\nmodels:\r\n  - name: x\r\n",
            "name: x",
        ] {
            let merged = merged(existing);
            assert!(merged.contains("contextLength: 4096"), "{merged}");
            assert_eq!(merged.contains("\r\n"), existing.contains("\r\n"), "{merged:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_or_edited_is_refused_without_being_quoted() {
        let refusal = |text: &str| merge(text, HEAD, &wanted()).unwrap_err();
        let error = refusal("a: [rmr_x\nb: }");
        assert!(matches!(error, MergeError::Unreadable { .. }) && !error.to_string().contains("rmr_"), "{error}");
        assert_eq!(refusal("- a\n"), MergeError::Occupied("the whole file".into()));
        assert_eq!(refusal("models: 5\n"), MergeError::Occupied("models".into()));
        for style in [
            "models: [{name: x}]\n",
            "{models: [{name: x}]}\n",
            "\"models\":\n  - name: x\n",
            "models:\n  - {name: Remora a}\n",
            "models:\n  -\n    name: Remora a\n",
            "models:\n  - name: Remora a\n    options: {temperature: 0}\n",
        ] {
            assert_eq!(refusal(style), ELSEWHERE, "{style}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_merged_reads_as_meant(
            parts in prop::collection::vec(prop::sample::select(vec![
                "models:\n", "  - name: Remora a\n", "- name: Remora a\n", "    apiBase: x\n", "    options:\n",
                "      contextLength: 1\n", "  # note\n", "\n", "name: x\n", "rules:\n", "  - |\n    models:\n", "  - x\n",
                "    capabilities:\n", "    - a\n", "  - name: y\n", "models: []\n", "  apiKey: >\n   folded\n\n", "#\n",
            ]), 0..9),
        ) {
            let text = parts.concat();
            if let Ok(merged) = merge(&text, HEAD, &wanted()) {
                let (before, after) = (parse(&text).unwrap(), parse(&merged).unwrap());
                for (name, value) in before.as_object().into_iter().flatten().filter(|(name, _)| *name != LIST) {
                    prop_assert_eq!(&after[name], value);
                }
                prop_assert!(after[LIST].as_array().unwrap().iter().any(|m| m["options"]["contextLength"] == 4096));
                prop_assert_eq!(merge(&merged, HEAD, &wanted()).unwrap(), merged);
            }
        }
    }
}
