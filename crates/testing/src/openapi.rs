//! The committed API documents, and the rules that hold for each of them.

use std::path::Path;

use serde_json::Value;

/// Checks an API document, and that the committed `openapi.json` of the crate in `manifest` is this one. With
/// `UPDATE_OPENAPI` set, it becomes this one.
///
/// Every operation must state who may call it, role and services, and every reference must lead somewhere.
#[track_caller]
pub fn assert_document(document: &Value, manifest: &str) {
    for (path, item) in document["paths"].as_object().expect("a document has paths") {
        for (method, operation) in item.as_object().expect("a path has operations") {
            let stated = operation["x-remora-access"].is_string() && operation["x-remora-services"].is_array();
            assert!(stated, "{method} {path} does not state who may call it");
        }
    }
    for reference in references(document) {
        let found = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer));
        assert!(found.is_some(), "{reference} leads nowhere");
    }
    let file = Path::new(manifest).join("openapi.json");
    // As values: the extensions of an operation come in any order.
    let committed = || serde_json::from_str(&std::fs::read_to_string(&file).ok()?).ok();
    let is_current = || committed().is_some_and(|committed: Value| committed == *document);
    if std::env::var_os("UPDATE_OPENAPI").is_some() && !is_current() {
        let current = serde_json::to_string_pretty(document).expect("a document is plain data") + "\n";
        std::fs::write(&file, current).expect("the checkout can be written");
    }
    assert!(is_current(), "openapi.json is out of date: run this test with UPDATE_OPENAPI=1 and commit it");
}

fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
