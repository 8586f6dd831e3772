//! JSON, with the comments and trailing commas that some programs allow in theirs.

use jsonc_parser::ParseOptions;
use jsonc_parser::cst::{CstInputValue, CstObject, CstRootNode};
use serde_json::{Map, Value};

use super::{MergeError, overlay, path_to};

const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The text with these settings in it.
pub(in super::super) fn merge(existing: &str, wanted: &Map<String, Value>) -> Result<String, MergeError> {
    let root = parse(existing)?;
    let mut expected = root.to_serde_value().unwrap_or_default();
    let object = root.object_value_or_create().ok_or_else(|| MergeError::Occupied("the whole file".into()))?;
    set(&object, wanted, "")?;
    let mut merged = root.to_string();
    if !merged.ends_with('\n') && existing.trim().is_empty() {
        merged.push('\n');
    }
    overlay(&mut expected, wanted);
    // Names that stand twice are the one way to get here.
    if parse(&merged)?.to_serde_value() != Some(expected) {
        return Err(MergeError::Unsupported("a name stands twice in one of its objects"));
    }
    Ok(merged)
}

/// The file's data, for those who look for something in it.
pub(in super::super) fn data(text: &str) -> Option<Value> {
    parse(text).ok()?.to_serde_value()
}

fn parse(text: &str) -> Result<CstRootNode, MergeError> {
    CstRootNode::parse(text, &OPTIONS)
        .map_err(|error| MergeError::Unreadable { format: "JSON", reason: error.to_string() })
}

fn set(object: &CstObject, wanted: &Map<String, Value>, path: &str) -> Result<(), MergeError> {
    for (name, value) in wanted {
        let there = object.get(name);
        match (value, there) {
            (Value::Object(inner), _) => {
                let within = path_to(path, name);
                let Some(next) = object.object_value_or_create(name) else { return Err(MergeError::Occupied(within)) };
                set(&next, inner, &within)?;
            }
            (plain, Some(property)) => {
                if property.value().and_then(|value| value.to_serde_value()).as_ref() != Some(plain) {
                    property.set_value(input(plain));
                }
            }
            (plain, None) => drop(object.append(name, input(plain))),
        }
    }
    Ok(())
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(flag) => CstInputValue::Bool(*flag),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(fields) => {
            CstInputValue::Object(fields.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn wanted() -> Map<String, Value> {
        let Value::Object(wanted) = json!({"env": {"URL": "http://h:8000", "N": "20"}, "model": "m"}) else { panic!() };
        wanted
    }

    #[test]
    fn an_empty_file_becomes_the_settings() {
        let merged = merge("", &wanted()).unwrap();
        insta::assert_snapshot!(merged, @r#"
        {
          "env": {
            "URL": "http://h:8000",
            "N": "20"
          },
          "model": "m"
        }
        "#);
        assert_eq!(merge(&merged, &wanted()).unwrap(), merged);
    }

    #[test]
    fn everything_else_stays_with_its_comments_and_its_indentation() {
        let existing = "{\n    // mine\n    \"theme\": \"dark\", /* here */\n    \"env\": {\n        \"N\": \"10\", // ten\n        \
                        \"OTHER\": \"kept\",\n    },\n    \"list\": [1,2,  3]\n}\n";
        let merged = merge(existing, &wanted()).unwrap();
        insta::assert_snapshot!(merged, @r#"
        {
            // mine
            "theme": "dark", /* here */
            "env": {
                "N": "20", // ten
                "OTHER": "kept",
                "URL": "http://h:8000",
            },
            "list": [1,2,  3],
            "model": "m"
        }
        "#);
        assert_eq!(merge(&merged, &wanted()).unwrap(), merged);
    }

    #[test]
    fn what_cannot_be_read_or_has_no_place_is_refused() {
        for broken in ["{", "{\"a\": 1,, }", "{'a': 1}", "{a: 1}", "{} {}"] {
            let error = merge(broken, &wanted()).unwrap_err();
            assert!(matches!(error, MergeError::Unreadable { .. }), "{broken}: {error}");
        }
        assert_eq!(merge("[1]", &wanted()), Err(MergeError::Occupied("the whole file".into())));
        assert_eq!(merge("{\"env\": 5}", &wanted()), Err(MergeError::Occupied("env".into())));
        let twice = "{\"model\": \"a\", \"model\": \"b\"}";
        assert!(matches!(merge(twice, &wanted()), Err(MergeError::Unsupported(_))));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,5}|env|model|N", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_merged_says_both(existing in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&existing) } else { serde_json::to_string(&existing) };
            if let Ok(merged) = merge(&text.unwrap(), &wanted()) {
                let mut expected = existing;
                overlay(&mut expected, &wanted());
                prop_assert_eq!(serde_json::from_str::<Value>(&merged).unwrap(), expected);
                prop_assert_eq!(merge(&merged, &wanted()).unwrap(), merged);
            }
        }

        #[test]
        fn no_text_makes_it_fall(text in ".{0,60}") {
            let _ = merge(&text, &wanted());
        }
    }
}
