//! Engines that come from model-manager.

use std::time::Duration;

use remora_gateway::Config;
use remora_testing::fake_engine::{FakeEngine, MODEL};
use remora_testing::wait_until;
use remora_types::engines::{Capabilities, EngineState};
use tokio::task::JoinSet;

use crate::support::{FakeRegistry, Gateway, SOON, engine};

async fn behind(registry: &FakeRegistry) -> Gateway {
    let gateway =
        Gateway::start(Config { registry: Some(registry.url.clone()), hold_ms: 0, ..Config::default() }).await;
    wait_until(SOON, async || gateway.get("/status").await.json()["details"]["engines"] != serde_json::json!([])).await;
    gateway
}

#[tokio::test]
async fn a_change_in_the_registry_moves_traffic() {
    let (old, new) = (FakeEngine::start().await, FakeEngine::start().await);
    let registry = FakeRegistry::start(vec![engine("slot-0", &old.address(), &[MODEL])]).await;
    let gateway = behind(&registry).await;
    assert_eq!(gateway.chat(MODEL).await.status, 200);
    assert_eq!((old.count("POST /v1/chat"), new.count("POST /v1/chat")), (1, 0));

    let mut moved = engine("slot-0", &new.address(), &[MODEL]);
    moved.generation = 2;
    registry.set(vec![moved]);
    wait_until(SOON, async || {
        assert_eq!(gateway.chat(MODEL).await.status, 200, "no request fails while it moves");
        new.count("POST /v1/chat") > 0
    })
    .await;
}

#[tokio::test]
async fn a_loading_engine_is_waited_for_by_the_client() {
    let fake = FakeEngine::start().await;
    let mut loading = engine("slot-0", &fake.address(), &[MODEL]);
    loading.state = EngineState::Loading;
    loading.detail = Some("40 %".into());
    let registry = FakeRegistry::start(vec![loading.clone()]).await;
    let gateway = behind(&registry).await;

    let answer = gateway.chat(MODEL).await;
    assert_eq!(answer.failure(), (503, "model_not_ready".to_owned()));
    assert_eq!(answer.message(), "the engine of `fake-model`, slot-0, is loading (40 %)");
    assert!(answer.headers.contains_key("retry-after"));
    let ready = gateway.get("/ready").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["reasons"][0]), (503, &"engine slot-0 is loading: 40 %".into()));

    loading.models.clear();
    loading.capabilities = Capabilities::default();
    registry.set(vec![loading]);
    let unknown = async || gateway.chat("any").await.message();
    wait_until(SOON, async || unknown().await == "no engine serves `any` yet; slot-0 is loading (40 %)").await;

    registry.set(vec![engine("slot-0", &fake.address(), &[MODEL])]);
    wait_until(SOON, async || gateway.chat(MODEL).await.status == 200).await;
    registry.set(Vec::new());
    wait_until(SOON, async || gateway.chat(MODEL).await.status == 503).await;
    assert_eq!(gateway.chat(MODEL).await.failure(), (503, "no_engine".to_owned()));
}

#[tokio::test]
async fn without_a_registry_the_gateway_says_so_and_with_one_it_goes_on() {
    let port = remora_testing::free_port();
    let url = format!("http://127.0.0.1:{port}");
    let gateway = Gateway::start(Config { registry: Some(url.clone()), hold_ms: 0, ..Config::default() }).await;
    let answer = gateway.chat(MODEL).await;
    assert_eq!(answer.failure(), (503, "no_engine".to_owned()));
    assert!(answer.message().contains(&url), "{}", answer.message());
    assert_eq!(gateway.get("/health").await.status, 200);
    assert_eq!(gateway.get("/ready").await.status, 503);
    assert_eq!(gateway.get("/v1/models").await.json()["data"], serde_json::json!([]));
}

#[tokio::test]
async fn a_lost_registry_leaves_the_last_list_standing() {
    let fake = FakeEngine::start().await;
    let registry = FakeRegistry::start(vec![engine("slot-0", &fake.address(), &[MODEL])]).await;
    let gateway = behind(&registry).await;
    drop(registry);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(gateway.chat(MODEL).await.status, 200);
}

#[tokio::test]
async fn of_several_engines_the_least_busy_is_asked() {
    let engines = [FakeEngine::start().await, FakeEngine::start().await, FakeEngine::start().await];
    for engine in &engines {
        engine.set(|b| b.delay = Duration::from_mins(1));
    }
    let mut list: Vec<_> =
        engines.iter().enumerate().map(|(i, e)| engine(&format!("slot-{i}"), &e.address(), &[MODEL])).collect();
    list[2].state = EngineState::Failed;
    let registry = FakeRegistry::start(list).await;
    let gateway = behind(&registry).await;
    let mut open = JoinSet::new();
    for expected in [[1, 0, 0], [1, 1, 0], [2, 1, 0], [2, 2, 0]] {
        // Texts to embed have no beginning that an engine might know.
        let request = gateway.request("/v1/embeddings", format!(r#"{{"model":"{MODEL}","input":"x"}}"#));
        open.spawn(request.send());
        let busy = || [0, 1, 2].map(|i| engines[i].in_flight());
        wait_until(SOON, async || busy() == expected).await;
    }
    assert_eq!(gateway.metric(r#"remora_gateway_requests_in_flight{engine="slot-0"}"#).await, Some(2.0));
    open.abort_all();
    wait_until(SOON, async || engines.iter().all(|e| e.in_flight() == 0)).await;
}
