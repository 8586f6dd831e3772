//! The API document is committed, and says what the engine does.

use remora_engine::EngineConfig;
use remora_service::Listener;
use remora_testing::openapi::assert_document;

#[tokio::test]
async fn the_committed_document_is_up_to_date() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let api = remora_engine::service(listener, EngineConfig::new("/nowhere.gguf")).unwrap().api();
    assert_document(&serde_json::to_value(&api).unwrap(), env!("CARGO_MANIFEST_DIR"));
}
