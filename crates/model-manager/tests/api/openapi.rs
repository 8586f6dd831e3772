//! The API document: committed, complete, and every route with its access.

use remora_model_manager::{Config, service};
use remora_service::{Listener, Stop, every_route};

#[tokio::test]
async fn the_committed_api_document_is_current() {
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), ..Config::default() };
    let listener = Listener::bind(&config.listen).await.unwrap();
    let api = service(&config, listener, &Identity::local(), &Stop::new()).unwrap().api();
    for (method, path, access) in every_route(&api) {
        assert!(access.is_some(), "{method} {path} states no access");
    }
    let current = api.to_pretty_json().unwrap() + "\n";
    let document: serde_json::Value = serde_json::from_str(&current).unwrap();
    for name in references(&document) {
        assert!(document.pointer(&name).is_some(), "{name} is referred to and not there");
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(file, &current).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(committed == current, "openapi.json is out of date: run this test with UPDATE_OPENAPI=1 and commit it");
}

/// Every `$ref` in a document, as a JSON pointer.
fn references(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(map) => {
            let own = map.get("$ref").and_then(|r| r.as_str()).map(|r| r.trim_start_matches('#').to_owned());
            own.into_iter().chain(map.values().flat_map(references)).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
