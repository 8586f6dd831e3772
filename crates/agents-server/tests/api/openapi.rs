//! The API document is committed, and says what the server does.

use remora_agents_server::{Config, service};
use remora_service::{Identity, Listener, Stop};
use remora_testing::openapi::assert_document;

#[tokio::test]
async fn the_committed_document_is_up_to_date() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let config = Config { root: "/nowhere".into(), ..Config::default() };
    let api = service(&config, listener, &Identity::local(), &Stop::new()).await.unwrap().api();
    assert_document(&serde_json::to_value(&api).unwrap(), env!("CARGO_MANIFEST_DIR"));
}
