//! `remora up --engine` over a real vLLM: the same promises as over the embedded engine.

use remora_e2e::{Sdk, Up, Vllm};
use serde_json::Value;

#[tokio::test]
async fn a_real_vllm_is_an_engine_with_every_capability_of_its_model() {
    let vllm = Vllm::ready().await;
    let up = Up::ready_with(&["--engine", vllm.url()]).await;

    let list = reqwest::get(format!("{}/engines", up.url("model_manager"))).await.unwrap();
    let list: Value = serde_json::from_slice(&list.bytes().await.unwrap()).unwrap();
    let engine = &list["engines"][0];
    assert_eq!(engine["state"], "ready", "{list}");
    assert_eq!(engine["models"][0]["id"], "remora-demo", "{list}");
    for capability in ["chat", "completions", "responses", "tokenize", "load_adapters", "metrics"] {
        assert!(engine["capabilities"].as_array().unwrap().contains(&capability.into()), "{capability}: {list}");
    }

    for sdk in Sdk::ALL {
        sdk.keeps_its_promises(up.gateway(), vllm.url()).await;
    }
}
