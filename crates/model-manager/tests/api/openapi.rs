//! The API document: committed, complete, and every route with its access.

use remora_model_manager::{Config, service};
use remora_service::{Identity, Listener, Stop};
use remora_testing::openapi::assert_document;

#[tokio::test]
async fn the_committed_document_is_up_to_date() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let api = service(&Config::default(), listener, &Identity::local(), &Stop::new()).unwrap().api();
    assert_document(&serde_json::to_value(&api).unwrap(), env!("CARGO_MANIFEST_DIR"));
}
