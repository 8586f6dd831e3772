//! The API document is committed, and says what the server does.

use std::path::Path;

use remora_agents_server::{Config, service};
use remora_service::{Listener, Stop, every_route};

#[tokio::test]
async fn the_committed_document_is_up_to_date() {
    let config = Config { root: "/nowhere".into(), ..Config::default() };
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let api = service(&config, listener, &Identity::local(), &Stop::new()).await.unwrap().api();
    assert!(every_route(&api).all(|(_, _, access)| access.is_some()));
    let current = api.to_pretty_json().unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == current, "openapi.json is out of date: run this test with UPDATE_OPENAPI=1 and commit it");

    let document: serde_json::Value = serde_json::from_str(&current).unwrap();
    for reference in references(&document) {
        let target = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(target).is_some(), "{reference} leads nowhere");
    }
}

fn references(value: &serde_json::Value) -> Vec<&str> {
    match value {
        serde_json::Value::Object(fields) => {
            let own = fields.get("$ref").and_then(|r| r.as_str());
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        serde_json::Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}
