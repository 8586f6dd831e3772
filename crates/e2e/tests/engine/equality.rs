//! What the engine computes is what transformers computes, for each family of models that adapters can be loaded for.

use std::path::Path;

use serde_json::json;

use crate::process::{Engine, demo, run, torch_python};

/// Small models with random weights; scripts/test-models makes them.
const FAMILIES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

#[tokio::test]
async fn greedy_answers_are_those_of_transformers_with_and_without_an_adapter() {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("test-models");
    let python = torch_python();
    run(&python, "scripts/test-models/make.py", &[made.to_str().unwrap()]).await;

    let models = FAMILIES.map(|family| {
        let folder = made.join(family);
        (family, folder.join("model.gguf"), folder.join("model"), folder.join("adapter"))
    });
    let demo = ("demo", demo().join("remora-demo.gguf"), demo().join("safetensors"), demo().join("adapter-pirate"));
    let (mut engines, mut cases) = (Vec::new(), Vec::new());
    for (name, gguf, model, adapter) in models.into_iter().chain([demo]) {
        let engine = Engine::ready(name, &gguf).await;
        cases.push(json!({"name": name, "url": engine.url, "model": model, "adapter": adapter}));
        engines.push(engine);
    }
    run(&python, "crates/e2e/python/equality.py", &[&json!(cases).to_string()]).await;
}
