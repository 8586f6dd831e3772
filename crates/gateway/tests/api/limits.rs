//! Engines that are full, and engines that fail again and again.

use std::sync::Arc;
use std::time::Duration;

use remora_gateway::{Class, Config, PriorityRule};
use remora_testing::fake_engine::{FakeEngine, MODEL};
use remora_testing::wait_until;
use remora_types::engines::EngineAddress;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::{FakeRegistry, Gateway, RAW_MODEL, RawEngine, SOON, chat, config, engine, plain};

/// One engine, `e0`, that is given so many requests at a time.
fn limited(address: &EngineAddress, limit: u32) -> Config {
    let mut config = config(&[address]);
    config.limits.concurrency.insert("e0".parse().unwrap(), limit);
    config
}

/// An engine that answers one request for each permit.
async fn stepwise() -> (RawEngine, Arc<Semaphore>) {
    let steps = Arc::new(Semaphore::new(0));
    let permits = steps.clone();
    let engine = RawEngine::start(move |_, mut stream| {
        let permits = permits.clone();
        async move {
            permits.acquire().await.unwrap().forget();
            let answer = plain("200 OK", "{}").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    (engine, steps)
}

async fn load(gateway: &Gateway) -> Value {
    gateway.get("/v1/status").await.json()["engines"][0].clone()
}

async fn queued(gateway: &Gateway) -> u64 {
    gateway.get("/v1/status").await.json()["queued"].as_u64().unwrap()
}

/// A chat that says where it stands in the test.
fn numbered(number: usize) -> String {
    json!({ "model": RAW_MODEL, "messages": [{ "role": "user", "content": "hi" }], "number": number }).to_string()
}

/// The numbers of what the engine got, in order.
fn numbers(engine: &RawEngine) -> Vec<u64> {
    let bodies = engine.received().into_iter().map(|received| received.body);
    bodies.map(|body| serde_json::from_slice::<Value>(&body).unwrap()["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_full_engine_is_waited_for_by_class_then_arrival() {
    let (engine, steps) = stepwise().await;
    let mut settings = limited(&engine.address, 1);
    settings.aliases.insert("nightly".parse().unwrap(), RAW_MODEL.parse().unwrap());
    settings.priorities.push(PriorityRule {
        caller: Some("local".to_owned()),
        key: None,
        model: Some("nightly".parse().unwrap()),
        class: Class::Background,
    });
    let gateway = Gateway::started(settings).await;
    let mut requests = JoinSet::new();
    let send = |requests: &mut JoinSet<_>, body: String, class: &'static str| {
        let request = gateway.request("/v1/chat/completions", body).header("x-claude-code-request-class", class);
        requests.spawn(async move { request.send().await.unwrap().status().as_u16() });
    };
    send(&mut requests, numbered(0), "main");
    wait_until(SOON, async || engine.received().len() == 1).await;
    for (number, class) in [(1, "auxiliary"), (2, "subagent"), (3, "main"), (4, "main")] {
        send(&mut requests, numbered(number), class);
        wait_until(SOON, async || queued(&gateway).await == number as u64).await;
    }
    send(&mut requests, numbered(5).replace(RAW_MODEL, "nightly"), "main");
    wait_until(SOON, async || queued(&gateway).await == 5).await;

    let shown = load(&gateway).await;
    assert_eq!((&shown["in_flight"], &shown["limit"], &shown["queued"]), (&1.into(), &1.into(), &5.into()), "{shown}");
    assert_eq!(gateway.metric(r#"remora_gateway_requests_queued{class="Background"}"#).await, Some(2.0));
    assert_eq!(gateway.metric(r#"remora_gateway_engine_limit{engine="e0"}"#).await, Some(1.0));
    for done in 1..=5 {
        steps.add_permits(1);
        wait_until(SOON, async || engine.received().len() == done + 1).await;
    }
    steps.add_permits(1);
    assert_eq!(requests.join_all().await, [200; 6]);
    assert_eq!(numbers(&engine), [0, 3, 4, 2, 1, 5]);
    assert_eq!((queued(&gateway).await, &load(&gateway).await["in_flight"]), (0, &0.into()));
}

#[tokio::test]
async fn more_than_may_wait_are_refused_and_nobody_waits_for_ever() {
    let (engine, _steps) = stepwise().await;
    let mut settings = limited(&engine.address, 1);
    (settings.limits.max_waiting, settings.limits.wait_ms) = (1, 60_000);
    let gateway = Gateway::started(settings).await;
    let mut requests = JoinSet::new();
    requests.spawn(gateway.request("/v1/chat/completions", numbered(0)).send());
    wait_until(SOON, async || engine.received().len() == 1).await;
    requests.spawn(gateway.request("/v1/chat/completions", numbered(1)).send());
    wait_until(SOON, async || queued(&gateway).await == 1).await;
    let refused = gateway.chat(RAW_MODEL).await;
    assert_eq!(refused.failure(), (429, "queue_full".into()));
    assert!(refused.headers.contains_key("retry-after"));
    let body = json!({"model": RAW_MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let refused = gateway.post("/v1/messages", body.to_string()).await;
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["type"]), (429, &"rate_limit_error".into()));
    assert!(refused.headers.contains_key("retry-after"));
    requests.shutdown().await;
    wait_until(SOON, async || queued(&gateway).await == 0).await;

    let mut settings = limited(&engine.address, 0);
    settings.limits.wait_ms = 50;
    let gateway = Gateway::started(settings).await;
    let refused = gateway.chat(RAW_MODEL).await;
    assert_eq!(refused.failure(), (503, "queue_timeout".into()));
    assert!(refused.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn a_client_that_leaves_the_line_makes_room() {
    let (engine, steps) = stepwise().await;
    let gateway = Gateway::started(limited(&engine.address, 1)).await;
    let mut first = JoinSet::new();
    first.spawn(gateway.request("/v1/chat/completions", numbered(0)).send());
    wait_until(SOON, async || engine.received().len() == 1).await;
    let mut second = JoinSet::new();
    second.spawn(gateway.request("/v1/chat/completions", numbered(1)).send());
    wait_until(SOON, async || queued(&gateway).await == 1).await;
    second.shutdown().await;
    wait_until(SOON, async || queued(&gateway).await == 0).await;
    // Whoever loses its client while it is answered makes room as well.
    first.shutdown().await;
    wait_until(SOON, async || load(&gateway).await["in_flight"] == 0).await;
    steps.add_permits(2);
    assert_eq!(gateway.post("/v1/chat/completions", numbered(2)).await.status, 200);
}

#[tokio::test]
async fn an_engine_gets_its_slots_and_a_few_more() {
    let fake = FakeEngine::start().await;
    let mut entry = engine("slot-0", &fake.address(), &[MODEL]);
    entry.limits.slots = Some(2);
    let registry = FakeRegistry::start(vec![entry.clone()]).await;
    let settings = Config { registry: Some(registry.url.clone()), hold_ms: 0, ..Config::default() };
    let gateway = Gateway::start(settings).await;
    wait_until(SOON, async || load(&gateway).await["limit"] == 6).await;
    entry.limits.slots = None;
    registry.set(vec![entry]);
    wait_until(SOON, async || load(&gateway).await["limit"].is_null()).await;
}

#[tokio::test]
async fn an_engine_that_fails_again_and_again_is_left_alone_and_tried_again() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.failure = Some((500, r#"{"error":{"message":"sick"}}"#.into())));
    let mut settings = config(&[&engine.address()]);
    (settings.limits.breaker_failures, settings.limits.breaker_rest_ms) = (3, 300);
    let gateway = Gateway::started(settings).await;
    for _ in 0..3 {
        assert_eq!(gateway.chat(MODEL).await.status, 500);
    }
    let asked = engine.count("POST /v1/chat");
    let refused = gateway.chat(MODEL).await;
    assert_eq!(refused.failure(), (503, "engine_resting".into()));
    assert!(refused.headers.contains_key("retry-after"), "{}", refused.message());
    assert_eq!(engine.count("POST /v1/chat"), asked, "the engine is not asked");
    let circuit = load(&gateway).await["circuit"].clone();
    assert_eq!((&circuit["state"], &circuit["failures"]), (&"open".into(), &3.into()), "{circuit}");
    assert_eq!(gateway.metric(r#"remora_gateway_engine_circuit_open{engine="e0"}"#).await, Some(1.0));

    // A probe that fails opens it again.
    wait_until(SOON, async || gateway.chat(MODEL).await.status == 500).await;
    assert_eq!(gateway.chat(MODEL).await.failure().1, "engine_resting");
    engine.set(|b| b.failure = None);
    wait_until(SOON, async || gateway.chat(MODEL).await.status == 200).await;
    assert_eq!(load(&gateway).await["circuit"]["state"], "closed");
    let openings = gateway.metric(r#"remora_gateway_engine_circuit_openings_total{engine="e0"}"#).await;
    assert_eq!(openings, Some(1.0));
}

#[tokio::test]
async fn a_sick_engine_is_passed_over_while_another_is_well() {
    let (sick, well) = (FakeEngine::start().await, FakeEngine::start().await);
    sick.set(|b| b.failure = Some((502, "{}".into())));
    let mut settings = config(&[&sick.address(), &well.address()]);
    (settings.limits.breaker_failures, settings.limits.breaker_rest_ms) = (2, 60_000);
    let gateway = Gateway::started(settings).await;
    let body = |n: usize| format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"{n}"}}]}}"#);
    let asked_before = sick.count("POST /v1/chat");
    let mut failures = 0;
    for n in 0..40 {
        failures += usize::from(gateway.post("/v1/chat/completions", body(n)).await.status == 502);
    }
    assert_eq!((failures, sick.count("POST /v1/chat") - asked_before), (2, 2));
}

#[tokio::test]
async fn slowness_and_lost_connections_open_it_and_a_request_waits_for_the_probe() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.delay = Duration::from_mins(1));
    let mut settings = config(&[&engine.address()]);
    (settings.limits.breaker_failures, settings.limits.breaker_rest_ms) = (1, 200);
    (settings.first_byte_timeout_ms, settings.hold_ms) = (100, 10_000);
    let gateway = Gateway::started(settings).await;
    assert_eq!(gateway.chat(MODEL).await.failure().1, "upstream_timeout");
    assert_eq!(load(&gateway).await["circuit"]["state"], "open");
    engine.set(|b| b.delay = Duration::ZERO);
    assert_eq!(gateway.post("/v1/chat/completions", chat(MODEL, false)).await.status, 200);
}
