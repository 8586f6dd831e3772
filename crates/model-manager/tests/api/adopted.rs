//! Engines that run elsewhere: what is told of them, and to whom.

use futures::StreamExt;
use http::StatusCode;
use remora_api_client::engines::Engines;
use remora_testing::fake_engine::{Behaviour, Health, MODEL};
use remora_testing::{FakeEngine, free_port, wait_until};
use remora_types::engines::{Capability, EngineAddress, EngineList, EngineState};
use serde_json::json;

use crate::manager::{Manager, adopted, config, id};
use crate::support::LIMIT;

/// The next list that is as wanted.
async fn next_list(
    lists: &mut (impl futures::Stream<Item = EngineList> + Unpin),
    wanted: impl Fn(&EngineList) -> bool,
) -> EngineList {
    let search = async {
        loop {
            let list = lists.next().await.expect("a watch never ends");
            if wanted(&list) {
                return list;
            }
        }
    };
    tokio::time::timeout(LIMIT, search).await.expect("the list comes")
}

fn state(list: &EngineList) -> EngineState {
    list.engines[0].state
}

#[tokio::test]
async fn an_engine_is_listed_with_what_it_serves_and_can_do() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.capabilities.0.retain(|c| *c != Capability::Embeddings));
    let manager = Manager::start(&config([adopted(engine.address())])).await;
    let ready = manager.engine_in(EngineState::Ready).await;
    assert_eq!(ready.models[0].id.as_str(), MODEL);
    assert_eq!(ready.capabilities.missing().collect::<Vec<_>>(), [Capability::Embeddings]);
    assert_eq!((ready.limits.context, ready.generation), (Some(2048), 1_700_000_000_250));
    assert_eq!(manager.engines.list().await.unwrap().engines, [ready]);
    assert!(manager.client.ready().await.unwrap().ready);
    let status = manager.client.status().await.unwrap();
    assert_eq!(status.details, json!({ "engines": { "ready": ["a"] }, "supervised": {} }));
    manager.stop().await;
}

#[tokio::test]
async fn refusals_say_what_is_wrong() {
    let manager = Manager::start(&config([adopted(EngineAddress::loopback(free_port()))])).await;
    let unknown = manager.engines.get(&id("b")).await.unwrap_err();
    assert_eq!(unknown.status(), Some(StatusCode::NOT_FOUND));
    assert_eq!(unknown.to_string(), "there is no engine b; GET /engines lists them");
    let adopted = manager.engines.restart(&id("a")).await.unwrap_err();
    assert_eq!(adopted.status(), Some(StatusCode::CONFLICT));
    assert_eq!(adopted.to_string(), "engine a was not started by model-manager; restart it where it runs");
    manager.stop().await;
}

#[tokio::test]
async fn the_service_is_not_ready_without_a_ready_engine_and_says_why() {
    let manager = Manager::start(&config([adopted(EngineAddress::loopback(free_port()))])).await;
    manager.engine_when(|engine| engine.detail.is_some()).await;
    let readiness = manager.client.ready().await.unwrap();
    assert!(!readiness.ready);
    assert!(readiness.reasons[0].starts_with("engine a is initializing: nothing answers at http://127.0.0.1:"));
    manager.stop().await;
}

#[tokio::test]
async fn a_loading_engine_speaks_for_itself() {
    let engine = FakeEngine::start().await;
    engine.set(|b| b.health = Health::Loading("the model is being loaded (40 %)".into()));
    let manager = Manager::start(&config([adopted(engine.address())])).await;
    let loading = manager.engine_in(EngineState::Loading).await;
    assert_eq!(loading.detail.as_deref(), Some("the model is being loaded (40 %)"));
    manager.stop().await;
}

#[tokio::test]
async fn a_lost_engine_fails_at_once_and_comes_back_as_a_new_generation() {
    let engine = FakeEngine::start().await;
    let manager = Manager::start(&config([adopted(engine.address())])).await;
    let first = manager.engine_in(EngineState::Ready).await;
    let address = engine.kill().await;
    let lost = manager.engine_in(EngineState::Failed).await;
    assert!(lost.detail.unwrap().contains("nothing answers"));
    assert_eq!(lost.models, first.models, "unavailable, not unknown");
    let restarted = Behaviour { started_unix_s: Some(1_700_000_060), ..Behaviour::default() };
    let _engine = FakeEngine::start_with(&address, restarted).await;
    let second = manager.engine_in(EngineState::Ready).await;
    assert_eq!(second.generation, 1_700_000_060_250);
    assert!(second.since > first.since);
    manager.stop().await;
}

#[tokio::test]
async fn a_watcher_sees_the_list_at_once_and_every_change() {
    let engine = FakeEngine::start().await;
    let manager = Manager::start(&config([adopted(engine.address())])).await;
    manager.engine_in(EngineState::Ready).await;
    let mut lists = manager.engines.watch();
    let first = next_list(&mut lists, |_| true).await;
    assert_eq!(state(&first), EngineState::Ready);
    // An adapter that somebody loads shows as a model.
    let adapter = json!({ "lora_name": "lint", "lora_path": "/store/lint" });
    let direct = remora_api_client::Client::engine(&engine.address()).unwrap();
    direct.send(direct.request(reqwest::Method::POST, "/v1/load_lora_adapter").json(&adapter)).await.unwrap();
    let second = next_list(&mut lists, |list| list.engines[0].models.len() == 2).await;
    assert!(second.revision > first.revision);
    assert_eq!(second.engines[0].models[1].parent.as_deref(), Some(MODEL));
    engine.kill().await;
    next_list(&mut lists, |list| state(list) == EngineState::Failed).await;
    manager.stop().await;
}

#[tokio::test]
async fn looks_that_find_nothing_new_publish_nothing() {
    let engine = FakeEngine::start().await;
    let manager = Manager::start(&config([adopted(engine.address())])).await;
    manager.engine_in(EngineState::Ready).await;
    let before = manager.engines.list().await.unwrap();
    let looks = engine.count("GET /health");
    wait_until(LIMIT, async || engine.count("GET /health") > looks + 10).await;
    assert_eq!(manager.engines.list().await.unwrap(), before);
    manager.stop().await;
}

#[tokio::test]
async fn a_watcher_outlives_the_manager() {
    let engine = FakeEngine::start().await;
    let mut config = config([adopted(engine.address())]);
    config.listen = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let client = remora_api_client::Client::new(&format!("http://{}", config.listen)).unwrap();
    let mut lists = Engines::new(client).watch();
    // The watcher was there before its manager.
    let ready = async |lists: &mut _| next_list(lists, |list| state(list) == EngineState::Ready).await;
    let (manager, first) = tokio::join!(Manager::start(&config), ready(&mut lists));
    // An open watch does not keep the manager from stopping.
    tokio::time::timeout(LIMIT, manager.stop()).await.expect("stops with an open event stream");
    let (manager, again) = tokio::join!(Manager::start(&config), ready(&mut lists));
    assert!(again.revision > first.revision, "revisions do not go back");
    manager.stop().await;
}
