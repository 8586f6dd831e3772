//! Requests that leave, and requests that must not.

use remora_gateway::{Config, Reason, RemoteConfig, RemoteKind, RuleConfig};
use remora_testing::fake_engine::{FakeEngine, Health, MODEL};
use remora_testing::wait_until;
use remora_types::engines::EngineAddress;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::keys::{create, with_keys};
use crate::support::{Answer, Gateway, RawEngine, SOON, chat, config, plain};

const THEIR_ERROR: &str =
    "{ \"type\":\"error\", \"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"} }";

/// What Anthropic answers, written as no library would.
const MESSAGE: &str = "{\"type\":\"message\" , \"id\":\"msg_theirs\",\"content\":[]}";

pub(crate) fn remote(kind: RemoteKind, at: &RawEngine) -> RemoteConfig {
    RemoteConfig {
        name: "away".to_owned(),
        kind,
        base_url: Some(at.address.url("/v1")),
        api_key: Some("sk-remote".into()),
        api_key_file: None,
        models: [("claude-*".to_owned(), "*".to_owned()), ("big".to_owned(), "claude-big".to_owned())].into(),
        default_model: Some("claude-other".to_owned()),
    }
}

/// A remote that gives this answer on each of its connections.
pub(crate) async fn once(answer: impl Into<String>) -> RawEngine {
    let answer = answer.into().replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
    RawEngine::start(move |_, mut stream| {
        let answer = answer.clone();
        async move { stream.write_all(answer.as_bytes()).await.unwrap() }
    })
    .await
}

fn rule(when: Reason) -> RuleConfig {
    RuleConfig { when, remote: None, models: Vec::new(), before_hold: false }
}

/// A gateway with this engine and this remote.
fn settings(engine: &EngineAddress, kind: RemoteKind, at: &RawEngine) -> Config {
    let mut config = config(&[engine]);
    config.fallback.remotes.push(remote(kind, at));
    config
}

fn route(answer: &Answer) -> &str {
    answer.headers.get("x-remora-route").map_or("", |route| route.to_str().unwrap())
}

fn message(model: &str, stream: bool) -> String {
    let messages = json!([{"role": "user", "content": "hi"}]);
    json!({"model": model, "max_tokens": 9, "stream": stream, "messages": messages}).to_string()
}

#[tokio::test]
async fn a_request_to_claude_passes_byte_for_byte_with_our_key_and_nothing_of_the_clients() {
    let answer = plain("200 OK", MESSAGE).replace("\r\n\r\n", "\r\nrequest-id: req_1\r\nset-cookie: a=b\r\n\r\n");
    let away = once(answer).await;
    let engine = FakeEngine::start().await;
    let gateway = Gateway::started(settings(&engine.address(), RemoteKind::Anthropic, &away)).await;
    let body = |model: &str, thinking: &str| {
        format!(
            "{{\n \"system\":[{{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: cch=1;\"}}], \"model\" : \"{model}\",\
             \"max_tokens\":1, \"messages\":[{{\"role\":\"user\",\"content\":\"\\u0041\"}},\
             {{\"role\":\"assistant\",\"content\":[{thinking}{{\"type\":\"text\",\"text\":\"a\"}}]}}], \"x\":1.50e3 }}"
        )
    };
    let local = r#"{"type":"thinking","thinking":"t","signature":"remora-local"},"#;
    let request = gateway.request("/v1/messages?beta=true&key=secret", body("big", local));
    let request = request
        .header("x-api-key", "secret")
        .header("authorization", "Bearer secret")
        .header("cookie", "secret")
        .header("tailscale-user-login", "secret")
        .header("anthropic-version", "2024-01-01")
        .header("anthropic-beta", "one, two")
        .header("accept-encoding", "gzip");
    let answer = gateway.send(request).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, MESSAGE.as_bytes()));
    assert_eq!((route(&answer), &answer.headers["request-id"]), ("away; reason=model_map", &"req_1".parse().unwrap()));
    assert!(!answer.headers.contains_key("set-cookie"));
    let received = &away.received()[0];
    assert_eq!(String::from_utf8(received.body.clone()).unwrap(), body("claude-big", ""));
    assert!(received.head.starts_with("POST /v1/messages?beta=true HTTP/1.1"), "{}", received.head);
    assert!(!received.head.contains("secret"), "{}", received.head);
    for (name, value) in [
        ("x-api-key", Some("sk-remote")),
        ("anthropic-version", Some("2024-01-01")),
        ("anthropic-beta", Some("one, two")),
        ("authorization", None),
        ("accept-encoding", None),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
    let counted = r#"remora_gateway_fallbacks_total{route="away",reason="ModelMap"}"#;
    assert_eq!(gateway.metric(counted).await, Some(1.0));
    let outcome = r#"remora_gateway_remote_requests_total{remote="away",outcome="Ok"}"#;
    wait_until(SOON, async || gateway.metric(outcome).await == Some(1.0)).await;
}

#[tokio::test]
async fn streams_and_refusals_come_back_as_they_are() {
    let events = "event: message_start\ndata: {\"a\" : 1}\n\nevent: message_stop\ndata: {}\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n";
    let away = once(format!("{head}content-length: {}\r\n\r\n{events}", events.len())).await;
    let engine = FakeEngine::start().await;
    let gateway = Gateway::started(settings(&engine.address(), RemoteKind::Anthropic, &away)).await;
    let answer = gateway.post("/v1/messages", message("claude-x", true)).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, events.as_bytes()));
    assert_eq!(serde_json::from_slice::<Value>(&away.received()[0].body).unwrap()["model"], "claude-x");

    let away = once(plain("529 Overloaded", THEIR_ERROR).replace("\r\n\r\n", "\r\nretry-after: 7\r\n\r\n")).await;
    let gateway = Gateway::started(settings(&engine.address(), RemoteKind::Anthropic, &away)).await;
    for stream in [false, true] {
        let answer = gateway.post("/v1/messages", message("claude-x", stream)).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (529, THEIR_ERROR.as_bytes()));
        assert_eq!(answer.headers["retry-after"], "7");
    }
}

#[tokio::test]
async fn a_remote_that_dies_in_mid_stream_ends_it_with_an_error_event() {
    let away = RawEngine::start(|_, mut stream| async move {
        let text =
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n7\r\nevent: \r\n";
        stream.write_all(text.as_bytes()).await.unwrap();
    })
    .await;
    let engine = FakeEngine::start().await;
    let gateway = Gateway::started(settings(&engine.address(), RemoteKind::Anthropic, &away)).await;
    let answer = gateway.post("/v1/messages", message("claude-x", true)).await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let data = text.strip_prefix("event: \n\nevent: error\ndata: ").unwrap();
    let event: Value = serde_json::from_str(data.trim_end()).unwrap();
    assert_eq!((&event["type"], &event["error"]["type"]), (&"error".into(), &"api_error".into()));
}

#[tokio::test]
async fn tokens_of_claude_models_are_counted_by_claude() {
    let away = RawEngine::start(|_, mut stream| async move {
        stream.write_all(plain("200 OK", "{\"input_tokens\":77}").as_bytes()).await.unwrap();
    })
    .await;
    let engine = FakeEngine::start().await;
    let gateway = Gateway::started(settings(&engine.address(), RemoteKind::Anthropic, &away)).await;
    let answer = gateway.post("/v1/messages/count_tokens", message("claude-x", false)).await;
    assert_eq!(answer.json(), json!({"input_tokens": 77}));
    assert!(away.received()[0].head.starts_with("POST /v1/messages/count_tokens HTTP"));
    let local = gateway.post("/v1/messages/count_tokens", message(MODEL, false)).await;
    assert_ne!(local.json(), json!({"input_tokens": 77}));
}

#[tokio::test]
async fn chat_goes_to_either_kind_in_openais_words() {
    let engine = FakeEngine::start().await;
    for kind in [RemoteKind::Openai, RemoteKind::Anthropic] {
        let away = once(plain("200 OK", "{ \"choices\":[] }")).await;
        let gateway = Gateway::started(settings(&engine.address(), kind, &away)).await;
        let request = gateway.request("/v1/chat/completions", chat("claude-x", false));
        let answer = gateway.send(request.header("authorization", "Bearer secret")).await;
        assert_eq!((&answer.body[..], route(&answer)), (&b"{ \"choices\":[] }"[..], "away; reason=model_map"));
        let received = &away.received()[0];
        assert!(received.head.starts_with("POST /v1/chat/completions HTTP/1.1"), "{}", received.head);
        assert_eq!(received.header("authorization"), Some("Bearer sk-remote"));
        assert_eq!(received.body, chat("claude-x", false).as_bytes());
    }
}

#[tokio::test]
async fn messages_are_translated_for_a_remote_that_speaks_openais_dialect() {
    let whole = json!({"choices": [{"message": {"role": "assistant", "content": "far"}, "finish_reason": "stop"}]});
    let away = once(plain("200 OK", &whole.to_string())).await;
    let engine = FakeEngine::start().await;
    let gateway = Gateway::started(settings(&engine.address(), RemoteKind::Openai, &away)).await;
    let answer = gateway.post("/v1/messages", message("claude-x", false)).await;
    assert_eq!(answer.json()["content"][0]["text"], "far", "{}", answer.json());
    assert_eq!(route(&answer), "away; reason=model_map");
    assert!(away.received()[0].head.starts_with("POST /v1/chat/completions HTTP/1.1"));
}

#[tokio::test]
async fn an_engine_that_is_not_ready_is_waited_for_first_unless_the_rule_says_otherwise() {
    let away = once(plain("200 OK", MESSAGE)).await;
    let engine = FakeEngine::start().await;
    engine.set(|b| b.health = Health::Loading("weights".into()));
    let mut after = settings(&engine.address(), RemoteKind::Anthropic, &away);
    after.hold_ms = 200;
    let mut before = after.clone();
    before.hold_ms = 600_000;
    before.fallback.rules.push(RuleConfig { before_hold: true, ..rule(Reason::NotReady) });
    for settings in [after, before] {
        let gateway = Gateway::start(settings).await;
        wait_until(SOON, async || gateway.states().await == ["loading"]).await;
        for stream in [false, true] {
            let answer = gateway.post("/v1/messages", message(MODEL, stream)).await;
            assert_eq!((&answer.body[..], route(&answer)), (MESSAGE.as_bytes(), "away; reason=not_ready"));
        }
    }
    engine.set(|b| b.health = Health::Ready);
    let gateway = Gateway::started(settings(&engine.address(), RemoteKind::Anthropic, &away)).await;
    let answer = gateway.chat(MODEL).await;
    assert_eq!((answer.status.as_u16(), route(&answer)), (200, "local"));
}

#[tokio::test]
async fn what_must_stay_here_stays_here() {
    let away = once(plain("200 OK", MESSAGE)).await;
    let engine = FakeEngine::start().await;
    engine.set(|b| b.health = Health::Loading("weights".into()));
    let mut settings = settings(&engine.address(), RemoteKind::Anthropic, &away);
    settings.aliases.insert("assistant".parse().unwrap(), "agent/private".parse().unwrap());
    let never = RuleConfig { models: vec!["agent/*".to_owned()], ..rule(Reason::Never) };
    settings.fallback.rules = vec![never, rule(Reason::NotReady)];
    let gateway = Gateway::start(settings).await;
    wait_until(SOON, async || gateway.states().await == ["loading"]).await;
    for model in ["agent/private", "assistant"] {
        assert_eq!(gateway.chat(model).await.failure().1, "model_not_ready", "{model}");
    }
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let request = gateway.request(path, message("big", false)).header("x-remora-local-only", "");
        let refused = gateway.send(request).await.json();
        assert!(refused["error"]["message"].as_str().unwrap().contains("loading"), "{refused}");
    }
    // No rule speaks of models that nobody has.
    assert!(away.received().is_empty());
    assert_eq!(gateway.chat("big").await.status, 200);
    assert_eq!(away.received().len(), 1);
}

#[tokio::test]
async fn a_key_opens_no_more_models_elsewhere_than_here() {
    let folder = tempfile::tempdir().unwrap();
    let identity = with_keys(folder.path()).await;
    let away = once(plain("200 OK", "{}")).await;
    let engine = FakeEngine::start().await;
    let gateway = Gateway::started_as(settings(&engine.address(), RemoteKind::Openai, &away), &identity).await;
    let key =
        create(&gateway, &json!({"name": "k", "role": "use", "models": ["claude-a"]})).await.json()["key"].clone();
    let ask = async |model: &str| {
        let request = gateway.request("/v1/chat/completions", chat(model, false)).bearer_auth(key.as_str().unwrap());
        gateway.send(request).await.status.as_u16()
    };
    assert_eq!((ask("claude-a").await, ask("claude-b").await), (200, 404));
}

#[tokio::test]
async fn a_full_queue_and_a_long_conversation_leave() {
    let away = once(plain("200 OK", "{}")).await;
    let engine = FakeEngine::start().await;
    engine.set(|b| b.delay = std::time::Duration::from_mins(1));
    let mut full = settings(&engine.address(), RemoteKind::Openai, &away);
    full.limits.concurrency.insert("e0".parse().unwrap(), 1);
    full.limits.max_waiting = 0;
    let gateway = Gateway::started(full).await;
    let mut busy = JoinSet::new();
    busy.spawn(gateway.request("/v1/chat/completions", chat(MODEL, false)).send());
    wait_until(SOON, async || engine.in_flight() == 1).await;
    let answer = gateway.chat(MODEL).await;
    assert_eq!((answer.status.as_u16(), route(&answer)), (200, "away; reason=queue_full"));
    assert_eq!(serde_json::from_slice::<Value>(&away.received()[0].body).unwrap()["model"], "claude-other");
    busy.shutdown().await;

    let gateway = Gateway::started(settings(&engine.address(), RemoteKind::Openai, &away)).await;
    let too_long = "This model's maximum context length is 64 tokens. However, your prompt contains 99 input tokens, \
                    which exceeds this limit.";
    for (message, expected) in [(too_long, (200, "away; reason=context_too_long")), ("bad", (400, "local"))] {
        let error = json!({"error": {"message": message, "type": "BadRequestError", "code": 400}}).to_string();
        engine.set(|b| b.failure = Some((400, error.clone())));
        let answer = gateway.chat(MODEL).await;
        assert_eq!((answer.status.as_u16(), route(&answer)), expected);
        if expected.0 == 400 {
            assert_eq!(answer.body, error.as_bytes());
        }
    }
}

#[tokio::test]
async fn a_remote_that_is_gone_leaves_the_local_failure() {
    let away = once("").await;
    let engine = FakeEngine::start().await;
    let mut settings = settings(&engine.address(), RemoteKind::Anthropic, &away);
    settings.fallback.remotes[0].base_url = Some(format!("http://127.0.0.1:{}", remora_testing::free_port()));
    let gateway = Gateway::started(settings).await;
    assert_eq!(gateway.chat("claude-x").await.failure(), (404, "model_not_found".into()));
    let outcome = r#"remora_gateway_remote_requests_total{remote="away",outcome="Unreachable"}"#;
    assert!(gateway.metric(outcome).await.is_some());
}
