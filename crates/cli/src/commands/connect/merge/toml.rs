//! TOML.

use serde_json::{Map, Value};
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike};

use super::{MergeError, path_to};

/// The text with these settings in it. Values are texts, numbers, flags and tables of them.
pub(in super::super) fn merge(existing: &str, wanted: &Map<String, Value>) -> Result<String, MergeError> {
    let mut document = parse(existing)?;
    set(document.as_item_mut(), wanted, "")?;
    let merged = document.to_string();
    parse(&merged)?;
    Ok(merged)
}

/// The file's data, for those who look for something in it.
pub(in super::super) fn data(text: &str) -> Option<Value> {
    fn of_table(table: &dyn TableLike) -> Value {
        table.iter().map(|(name, item)| (name.to_owned(), of_item(item))).collect::<Map<_, _>>().into()
    }
    fn of_item(item: &Item) -> Value {
        if let Some(table) = item.as_table_like() {
            return of_table(table);
        }
        if let Some(tables) = item.as_array_of_tables() {
            return tables.iter().map(|table| of_table(table)).collect();
        }
        item.as_str().map_or(Value::Null, Value::from)
    }
    Some(of_table(parse(text).ok()?.as_table()))
}

fn parse(text: &str) -> Result<DocumentMut, MergeError> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        // Its own text quotes the line.
        let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].lines().count().max(1));
        MergeError::Unreadable { format: "TOML", reason: format!("{} on line {line}", error.message()) }
    })
}

fn set(item: &mut Item, wanted: &Map<String, Value>, path: &str) -> Result<(), MergeError> {
    let inline = item.is_inline_table();
    let Some(table) = item.as_table_like_mut() else { return Err(MergeError::Occupied(path.to_owned())) };
    for (name, value) in wanted {
        let within = path_to(path, name);
        if let Value::Object(inner) = value {
            if !table.contains_key(name) {
                table.insert(name, new_table(inner, inline));
            }
            if let Some(next) = table.get_mut(name) {
                set(next, inner, &within)?;
            }
            continue;
        }
        let new = plain(value);
        match table.get_mut(name) {
            None => drop(table.insert(name, Item::Value(new))),
            Some(Item::Value(old)) if !old.is_inline_table() => {
                if !same(old, &new) {
                    let decor = old.decor().clone();
                    *old = new;
                    *old.decor_mut() = decor;
                }
            }
            Some(_) => return Err(MergeError::Occupied(within)),
        }
    }
    Ok(())
}

/// A table in the style of the one around it; one that holds only tables needs no heading of its own.
fn new_table(wanted: &Map<String, Value>, inline: bool) -> Item {
    if inline {
        return Item::Value(InlineTable::new().into());
    }
    let mut table = Table::new();
    table.set_implicit(wanted.values().all(Value::is_object));
    Item::Table(table)
}

fn plain(value: &Value) -> toml_edit::Value {
    match value {
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => number.as_i64().unwrap_or_default().into(),
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

fn same(a: &toml_edit::Value, b: &toml_edit::Value) -> bool {
    let plain = |value: &toml_edit::Value| {
        (value.as_str().map(str::to_owned), value.as_integer(), value.as_bool(), value.type_name())
    };
    plain(a) == plain(b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn wanted() -> Map<String, Value> {
        let wanted = json!({
            "model": "m", "model_context_window": 2048,
            "model_providers": {"remora": {"base_url": "http://h:8000/v1", "supports_websockets": false}},
        });
        let Value::Object(wanted) = wanted else { panic!() };
        wanted
    }

    #[test]
    fn an_empty_file_becomes_the_settings() {
        let merged = merge("", &wanted()).unwrap();
        insta::assert_snapshot!(merged, @r#"
        model = "m"
        model_context_window = 2048

        [model_providers.remora]
        base_url = "http://h:8000/v1"
        supports_websockets = false
        "#);
        assert_eq!(merge(&merged, &wanted()).unwrap(), merged);
    }

    #[test]
    fn everything_else_stays_with_its_comments() {
        let existing = "# mine\nmodel = 'other' # why\napproval = \"never\"\n\n[mcp_servers.x]\ncommand = \"run\"\n\n\
                        # providers\n[model_providers.remora]\nbase_url = \"http://old\" # old\ntimeout = 5\n";
        let merged = merge(existing, &wanted()).unwrap();
        insta::assert_snapshot!(merged, @r#"
        # mine
        model = "m" # why
        approval = "never"
        model_context_window = 2048

        [mcp_servers.x]
        command = "run"

        # providers
        [model_providers.remora]
        base_url = "http://h:8000/v1" # old
        timeout = 5
        supports_websockets = false
        "#);
        assert_eq!(merge(&merged, &wanted()).unwrap(), merged);
    }

    #[test]
    fn values_before_the_first_heading_belong_to_the_top() {
        // A value written after a heading would belong to that table, and Codex would pass over it.
        let merged = merge("[shell]\ninherit = \"core\"\n", &wanted()).unwrap();
        assert!(merged.find("model = ").unwrap() < merged.find("[shell]").unwrap(), "{merged}");
        let inline = merge("model_providers = { other = { name = 'o' } }\n", &wanted()).unwrap();
        assert!(inline.contains("other = { name = 'o' }") && inline.contains("remora = {"), "{inline}");
    }

    #[test]
    fn what_cannot_be_read_or_has_no_place_is_refused_without_being_quoted() {
        let error = merge("a = 1\nsecret = rmr_x y\n", &wanted()).unwrap_err();
        assert!(matches!(error, MergeError::Unreadable { .. }) && !error.to_string().contains("rmr_"), "{error}");
        assert!(error.to_string().contains("line 2"), "{error}");
        assert_eq!(merge("model_providers = 1", &wanted()), Err(MergeError::Occupied("model_providers".into())));
        assert_eq!(merge("[model]\nx = 1", &wanted()), Err(MergeError::Occupied("model".into())));
        assert_eq!(merge("[[model_providers]]\nx = 1", &wanted()), Err(MergeError::Occupied("model_providers".into())));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fall(text in "([a-z\\[\\].=\" #\n{}1,']|model|remora|\n|\\[model_providers){0,40}") {
            if let Ok(merged) = merge(&text, &wanted()) {
                prop_assert_eq!(merge(&merged, &wanted()).unwrap(), merged);
            }
        }
    }
}
