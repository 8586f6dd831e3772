//! The engine client against a fake engine, over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy knows only the tests themselves")]

use std::time::Duration;

use remora_api_client::engine::{EngineClient, EngineWatch, Pace, Probe, Seen, Sighting};
use remora_testing::FakeEngine;
use remora_testing::fake_engine::{Behaviour, Health, MODEL, base_model};
use remora_types::engines::{Capability, EngineAddress};

const FAST: Pace = Pace { starting: Duration::from_millis(5), ready: Duration::from_millis(5) };

fn client(engine: &FakeEngine) -> EngineClient {
    EngineClient::new(&engine.address()).unwrap()
}

fn watch(engine: &FakeEngine) -> EngineWatch {
    EngineWatch::new(client(engine), FAST)
}

async fn ready(watch: &mut EngineWatch) -> Seen {
    loop {
        if let Sighting::Ready(seen) = watch.next().await {
            return seen;
        }
    }
}

#[tokio::test]
async fn a_probe_sees_ready_loading_dead_and_gone() {
    let engine = FakeEngine::start().await;
    let client = client(&engine);
    let Probe::Ready { models } = client.probe().await else { panic!("not ready") };
    assert_eq!(models, [base_model(MODEL)]);
    engine.set(|b| b.health = Health::Loading("40 %".into()));
    assert_eq!(client.probe().await, Probe::Loading { detail: "40 %".into() });
    engine.set(|b| b.health = Health::Dead);
    assert!(matches!(client.probe().await, Probe::Failed { .. }));
    engine.kill().await;
    assert!(matches!(client.probe().await, Probe::Unreachable { .. }));
}

#[tokio::test]
async fn facts_are_found_without_making_the_engine_compute() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.capabilities.0.retain(|c| !matches!(c, Capability::Embeddings | Capability::LoadAdapters)));
    let facts = client(&engine).facts(&[base_model(MODEL)]).await.unwrap();
    let missing: Vec<Capability> = facts.capabilities.missing().collect();
    assert_eq!(missing, [Capability::Embeddings, Capability::LoadAdapters]);
    assert_eq!((facts.limits.context, facts.started_unix_ms), (Some(2048), Some(1_700_000_000_250)));
    let bodies = engine.received().into_iter().filter(|r| r.line.contains("/v1/") && !r.body.is_empty());
    assert!(bodies.map(|r| r.body).all(|body| body == "{}"));
}

#[tokio::test]
async fn an_engine_without_vllms_extras_has_fewer_capabilities() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.capabilities = [Capability::Chat].into_iter().collect());
    let facts = client(&engine).facts(&[]).await.unwrap();
    assert_eq!(facts.capabilities, [Capability::Chat].into_iter().collect());
    assert_eq!((facts.started_unix_ms, facts.limits.context), (None, None));
}

#[tokio::test]
async fn a_unix_socket_is_as_good_as_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let engine = FakeEngine::start_unix(&folder.path().join("slot-0.sock")).await;
    let mut watch = watch(&engine);
    assert!(ready(&mut watch).await.facts.capabilities.has(Capability::Tokenize));
    engine.kill().await;
    assert!(matches!(watch.next().await, Sighting::Failed { .. }));
}

#[tokio::test]
async fn a_watch_waits_and_then_asks_for_the_facts_once() {
    let address = EngineAddress::loopback(remora_testing::free_port());
    let mut watch = EngineWatch::new(EngineClient::new(&address).unwrap(), FAST);
    assert!(matches!(watch.next().await, Sighting::Waiting { .. }));
    let engine = FakeEngine::start_with(&address, Behaviour::default()).await;
    engine.set(|b| b.health = Health::Loading("half".into()));
    assert_eq!(watch.next().await, Sighting::Loading { detail: "half".into() });
    engine.set(|b| b.health = Health::Ready);
    for _ in 0..4 {
        assert_eq!(ready(&mut watch).await.generation, 1_700_000_000_250);
    }
    assert_eq!(engine.count("POST /v1/chat/completions"), 1);
}

#[tokio::test]
async fn some_bad_answers_in_a_row_make_a_failure_and_one_does_not() {
    let engine = FakeEngine::start().await;
    let mut watch = watch(&engine);
    let first = ready(&mut watch).await;
    engine.set(|b| b.health = Health::Dead);
    assert_eq!(watch.next().await, Sighting::Ready(first.clone()));
    assert_eq!(watch.next().await, Sighting::Ready(first.clone()));
    assert!(matches!(watch.next().await, Sighting::Failed { .. }));
    engine.set(|b| b.health = Health::Ready);
    assert_eq!(watch.next().await, Sighting::Ready(first), "the same process: the same generation");
}

#[tokio::test]
async fn a_server_that_is_no_engine_is_told_from_one_that_is_not_there_yet() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.health = Health::Dead);
    let mut watch = watch(&engine);
    assert!(matches!(watch.next().await, Sighting::Waiting { .. }));
    assert!(matches!(watch.next().await, Sighting::Waiting { .. }));
    assert!(matches!(watch.next().await, Sighting::Failed { .. }));
}

#[tokio::test]
async fn a_restart_is_a_new_generation_whether_it_was_seen_or_not() {
    let engine = FakeEngine::start().await;
    let mut watch = watch(&engine);
    let first = ready(&mut watch).await.generation;
    // Not seen: between two looks.
    engine.set(|b| b.started_unix_s = Some(1_700_000_060));
    let mut second = ready(&mut watch).await.generation;
    while second == first {
        second = ready(&mut watch).await.generation;
    }
    assert_eq!(second, 1_700_000_060_250);
    // Seen, by an engine that does not tell its start.
    let address = engine.kill().await;
    assert!(matches!(watch.next().await, Sighting::Failed { .. }));
    let _again = FakeEngine::start_with(&address, Behaviour { started_unix_s: None, ..Behaviour::default() }).await;
    assert!(ready(&mut watch).await.generation > second);
}
