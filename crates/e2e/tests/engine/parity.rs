//! The engine answers as the real vLLM does, save where it differs on purpose.

use remora_e2e::{Vllm, python};

use crate::process::{Engine, demo, run};

#[tokio::test]
async fn the_engine_differs_from_vllm_where_the_list_says_so_and_nowhere_else() {
    let vllm = Vllm::ready().await;
    let engine = Engine::ready("remora-demo", &demo().join("remora-demo.gguf")).await;
    let adapter = demo().join("adapter-pirate");
    run(&python(), "crates/e2e/python/parity.py", &[vllm.url(), &engine.url, adapter.to_str().unwrap()]).await;
}
