//! The official SDKs, in both languages, against a whole stack with the embedded engine. `vllm.rs` has them over vLLM.

use remora_e2e::{Sdk, Up};

async fn keeps_its_promises(sdk: Sdk) {
    let up = Up::ready().await;
    sdk.keeps_its_promises(up.gateway(), up.url("engine")).await;
}

#[tokio::test]
async fn openai_in_python() {
    keeps_its_promises(Sdk::OpenaiPython).await;
}

#[tokio::test]
async fn anthropic_in_python() {
    keeps_its_promises(Sdk::AnthropicPython).await;
}

#[tokio::test]
async fn openai_in_typescript() {
    keeps_its_promises(Sdk::OpenaiTypescript).await;
}

#[tokio::test]
async fn anthropic_in_typescript() {
    keeps_its_promises(Sdk::AnthropicTypescript).await;
}
