//! Engines that can do less, and what the settings say about their models.

use remora_gateway::{Config, Images, ModelConfig};
use remora_testing::fake_engine::{FakeEngine, MODEL};
use remora_types::engines::Capability;
use serde_json::{Value, json};

use crate::support::{Gateway, config};

/// A gateway before an engine that speaks chat and nothing else, as Ollama's kind do.
async fn chat_only(settings: impl FnOnce(&mut Config)) -> (FakeEngine, Gateway) {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.capabilities = [Capability::Chat, Capability::Completions].into_iter().collect());
    let mut config = config(&[&engine.address()]);
    settings(&mut config);
    let gateway = Gateway::started(config).await;
    (engine, gateway)
}

fn last_chat(engine: &FakeEngine) -> Value {
    let received = engine.received();
    let last = received.iter().rfind(|request| request.line == "POST /v1/chat/completions").unwrap();
    serde_json::from_slice(&last.body).unwrap()
}

fn body(content: &Value, more: &Value) -> String {
    let mut body = json!({"model": MODEL, "max_tokens": 99, "messages": [{"role": "user", "content": content}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

#[tokio::test]
async fn tokens_are_estimated_where_nobody_counts_and_the_answer_says_so() {
    let (_engine, gateway) = chat_only(|_| ()).await;
    let counted = gateway.post("/v1/messages/count_tokens", body(&"x".repeat(400).into(), &json!({}))).await;
    let tokens = counted.json()["input_tokens"].as_u64().unwrap();
    assert!((100..120).contains(&tokens), "{tokens}");
    assert_eq!(counted.headers["x-remora-token-count"], "estimate");
    let refused = gateway.post("/tokenize", format!(r#"{{"model":"{MODEL}","prompt":"x"}}"#)).await;
    assert_eq!(refused.failure(), (400, "unsupported_by_engine".into()));
    let engine = FakeEngine::start().await;
    let exact = Gateway::before(&engine.address()).await;
    let counted = exact.post("/v1/messages/count_tokens", body(&"x".into(), &json!({}))).await;
    assert!(!counted.headers.contains_key("x-remora-token-count"));
}

#[tokio::test]
async fn what_a_model_cannot_take_is_refused_in_words() {
    let own = ModelConfig { images: Images::Refuse, tools: Some(false), ..ModelConfig::default() };
    let (engine, gateway) = chat_only(|config| drop(config.models.insert(MODEL.parse().unwrap(), own))).await;
    let before = engine.count("POST /v1/chat");
    let image = json!([{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]);
    let refused = gateway.post("/v1/chat/completions", body(&image, &json!({}))).await;
    assert_eq!(refused.failure(), (400, "unsupported_content".into()));
    assert!(refused.message().contains("sees no images"), "{}", refused.message());
    let tools = json!({"tools": [{"type": "function", "function": {"name": "f"}}]});
    let refused = gateway.post("/v1/chat/completions", body(&"hi".into(), &tools)).await;
    assert!(refused.message().contains("cannot call tools"), "{}", refused.message());

    let image = json!([{"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}]);
    let refused = gateway.post("/v1/messages", body(&image, &json!({}))).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["type"]), (400, &"invalid_request_error".into()));
    let tools = json!({"tools": [{"name": "f", "input_schema": {"type": "object"}}]});
    let refused = gateway.post("/v1/messages", body(&"hi".into(), &tools)).await;
    assert!(refused.message().contains("cannot call tools"), "{}", refused.json());
    assert_eq!(engine.count("POST /v1/chat"), before);
    assert_eq!(gateway.post("/v1/chat/completions", body(&"hi".into(), &json!({"tools": []}))).await.status, 200);
}

#[tokio::test]
async fn pictures_can_be_left_out_and_answers_cut() {
    let own = ModelConfig {
        images: Images::Omit,
        thinking_variable: Some("enable_thinking".to_owned()),
        max_answer_tokens: Some(7),
        ..ModelConfig::default()
    };
    let (engine, gateway) = chat_only(|config| drop(config.models.insert(MODEL.parse().unwrap(), own))).await;
    let image = json!([{"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}]);
    let answer = gateway.post("/v1/messages", body(&image, &json!({"thinking": {"type": "disabled"}}))).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
    let asked = last_chat(&engine);
    assert!(asked["messages"][0]["content"].as_str().unwrap().contains("image omitted"), "{asked}");
    assert_eq!((&asked["max_tokens"], &asked["chat_template_kwargs"]["enable_thinking"]), (&7.into(), &false.into()));
}

#[tokio::test]
async fn past_thinking_is_handed_on_as_the_engine_reads_it() {
    let thought = json!({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ]});
    let (engine, gateway) = chat_only(|_| ()).await;
    gateway.post("/v1/messages", body(&"".into(), &thought)).await;
    assert_eq!(last_chat(&engine)["messages"][1]["reasoning_content"], "hm");
    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    gateway.post("/v1/messages", body(&"".into(), &thought)).await;
    assert_eq!(last_chat(&engine)["messages"][1]["reasoning"], "hm");
}

#[tokio::test]
async fn tailscales_launcher_finds_what_it_asks_for() {
    let (_engine, gateway) = chat_only(|config| {
        config.aliases.insert("claude-remora".parse().unwrap(), MODEL.parse().unwrap());
    })
    .await;
    let compatibility = json!({"openai_chat": true, "openai_responses": false, "anthropic_messages": true});
    let expected = json!([{
        "id": "remora", "name": "Remora", "description": "Models on this tailnet",
        "models": [MODEL, "claude-remora"], "compatibility": compatibility,
    }]);
    assert_eq!(gateway.get("/api/providers").await.json(), expected);
    let models = gateway.get("/v1/models").await.json();
    let provider = json!({
        "id": "remora", "name": "Remora", "description": "Models on this tailnet", "requires_client_auth": false,
        "upstream": "remora",
    });
    for model in models["data"].as_array().unwrap() {
        assert_eq!(model["metadata"]["provider"], provider);
        assert_eq!(model["supported_endpoints"], json!(["/v1/chat/completions", "/v1/messages", "/v1/completions"]));
    }
}
