//! Messages of people in danger.

use remora_gateway::{Config, Reason, RemoteKind, RuleConfig};
use remora_testing::fake_engine::{FakeEngine, MODEL};
use serde_json::{Value, json};

use crate::fallback::{once, remote};
use crate::support::{Answer, Gateway, config, plain};

const WORDS: &str = "I want to kill myself";

fn body(words: &str, stream: bool) -> String {
    let messages = json!([{"role": "user", "content": words}]);
    json!({"model": MODEL, "max_tokens": 9, "stream": stream, "messages": messages}).to_string()
}

fn route(answer: &Answer) -> &str {
    answer.headers.get("x-remora-route").map_or("", |route| route.to_str().unwrap())
}

async fn alone() -> (FakeEngine, Config) {
    let engine = FakeEngine::start().await;
    let mut config = config(&[&engine.address()]);
    config.crisis.enabled = Some(true);
    (engine, config)
}

#[tokio::test]
async fn without_a_remote_everybody_gets_the_set_answer_in_their_dialect() {
    let (engine, config) = alone().await;
    let gateway = Gateway::started(config).await;
    let asked_before = engine.count("POST /v1/chat");
    let text = |answer: &Answer| String::from_utf8(answer.body.to_vec()).unwrap();
    let chat = gateway.post("/v1/chat/completions", body(WORDS, false)).await;
    let said = chat.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(said.contains("findahelpline.com") && said.contains("local emergency number"), "{said}");
    assert_eq!((chat.status.as_u16(), route(&chat)), (200, "local; reason=crisis"));
    assert_eq!(chat.json()["choices"][0]["finish_reason"], "stop");

    let message = gateway.post("/v1/messages", body(WORDS, false)).await;
    assert_eq!(
        (&message.json()["content"][0]["text"], route(&message)),
        (&said.clone().into(), "local; reason=crisis")
    );
    assert_eq!(message.json()["stop_reason"], "end_turn");

    let stream = text(&gateway.post("/v1/chat/completions", body(WORDS, true)).await);
    let events: Vec<&str> = stream.split("\n\n").collect();
    let first: Value = serde_json::from_str(events[0].strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(first["choices"][0]["delta"]["content"], said.as_str());
    assert_eq!(events[2..], ["data: [DONE]", ""]);

    let stream = text(&gateway.post("/v1/messages", body(WORDS, true)).await);
    assert!(stream.contains("findahelpline.com") && stream.contains("event: message_stop"), "{stream}");
    assert_eq!(engine.count("POST /v1/chat"), asked_before, "no engine is asked");
    let counted = r#"remora_gateway_fallbacks_total{route="local",reason="Crisis"}"#;
    assert_eq!(gateway.metric(counted).await, Some(4.0));
    assert_eq!(gateway.post("/v1/chat/completions", body("hello", false)).await.status, 200);
    assert_eq!(engine.count("POST /v1/chat"), asked_before + 1);
}

#[tokio::test]
async fn the_stronger_model_answers_where_the_request_may_leave() {
    let away = once(plain("200 OK", "{\"far\":1}")).await;
    let (_engine, mut config) = alone().await;
    config.crisis.enabled = None;
    config.fallback.remotes.push(remote(RemoteKind::Anthropic, &away));
    let gateway = Gateway::started(config.clone()).await;
    let answer = gateway.post("/v1/messages", body(WORDS, false)).await;
    assert_eq!((&answer.body[..], route(&answer)), (&b"{\"far\":1}"[..], "away; reason=crisis"));
    assert_eq!(serde_json::from_slice::<Value>(&away.received()[0].body).unwrap()["model"], "claude-other");
    let request = gateway.request("/v1/messages", body(WORDS, false)).header("x-remora-local-only", "1");
    assert_eq!(route(&gateway.send(request).await), "local; reason=crisis");

    // Nor where no rule speaks of it.
    let not_ready = RuleConfig { when: Reason::NotReady, remote: None, models: Vec::new(), before_hold: false };
    config.fallback.rules.push(not_ready);
    let gateway = Gateway::started(config).await;
    assert_eq!(route(&gateway.post("/v1/messages", body(WORDS, false)).await), "local; reason=crisis");
    assert_eq!(away.received().len(), 1);
}

#[tokio::test]
async fn nothing_is_looked_for_unless_it_is_on_and_both_list_and_answer_can_be_changed() {
    let (_engine, mut config) = alone().await;
    config.crisis.enabled = None;
    let gateway = Gateway::started(config.clone()).await;
    assert_eq!(route(&gateway.post("/v1/chat/completions", body(WORDS, false)).await), "local");
    config.crisis.enabled = Some(true);
    config.crisis.builtin = false;
    config.crisis.patterns.push(r"\bnotfall\b".to_owned());
    config.crisis.message = Some("Ruf an.".to_owned());
    let gateway = Gateway::started(config).await;
    assert_eq!(route(&gateway.post("/v1/chat/completions", body(WORDS, false)).await), "local");
    let answer = gateway.post("/v1/chat/completions", body("Ein NOTFALL!", false)).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "Ruf an.");
}
