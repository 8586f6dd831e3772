//! The API document as committed.

use std::path::Path;

use remora_gateway::Config;
use remora_service::{Listener, every_route};

#[tokio::test]
async fn the_committed_document_is_this_one() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let api = remora_gateway::service(&Config::default(), listener, &Identity::local()).await.unwrap().api();
    let now = serde_json::to_string_pretty(&api).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == now, "openapi.json has drifted; run the tests with UPDATE_OPENAPI=1 and read the difference");
}

#[tokio::test]
async fn every_route_states_its_access_and_every_reference_resolves() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let api = remora_gateway::service(&Config::default(), listener, &Identity::local()).await.unwrap().api();
    for (method, path, access) in every_route(&api) {
        assert!(access.is_some(), "{method} {path}");
    }
    let document = serde_json::to_value(&api).unwrap();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference} leads nowhere");
    }
}
