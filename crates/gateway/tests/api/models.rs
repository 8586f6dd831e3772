//! `/v1/models`.

use remora_testing::fake_engine::{FakeEngine, MODEL, base_model};
use remora_types::engines::EngineModel;
use serde_json::{Value, json};

use crate::support::{Gateway, config};

async fn two() -> (FakeEngine, FakeEngine, Gateway) {
    let (first, second) = (FakeEngine::start().await, FakeEngine::start().await);
    first.set(|b| {
        let (root, parent) = (Some("/store/lint/ab".to_owned()), Some(MODEL.to_owned()));
        b.models.push(EngineModel { id: "lint".parse().unwrap(), root, parent, max_model_len: None });
    });
    second.set(|b| b.models.push(base_model("Qwen/Qwen3-0.6B")));
    let mut settings = config(&[&first.address(), &second.address()]);
    settings.aliases =
        [("nick", "Qwen/Qwen3-0.6B"), ("agent", "nick"), ("nowhere", "gone"), ("lint", "Qwen/Qwen3-0.6B")]
            .map(|(alias, target)| (alias.parse().unwrap(), target.parse().unwrap()))
            .into();
    let gateway = Gateway::started(settings).await;
    (first, second, gateway)
}

#[tokio::test]
async fn all_engines_are_merged_and_aliases_come_last() {
    let (_first, _second, gateway) = two().await;
    let mut list = gateway.get("/v1/models").await.json();
    for model in list["data"].as_array_mut().unwrap() {
        assert!(model["created"].take().as_u64().unwrap() > 1_700_000_000);
        assert_eq!(model["object"].take(), json!("model"));
    }
    let picked = |model: &Value| {
        let text = |key: &str| model[key].as_str().unwrap_or("-").to_owned();
        let length = model["max_model_len"].as_u64().unwrap_or_default();
        format!("{} {} {} {} {length}", text("id"), text("owned_by"), text("root"), text("parent"))
    };
    let lines: Vec<String> = list["data"].as_array().unwrap().iter().map(picked).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    fake-model e0 /models/fake-model - 2048
    lint e0 /store/lint/ab fake-model 0
    Qwen/Qwen3-0.6B e1 /models/Qwen/Qwen3-0.6B - 2048
    agent remora Qwen/Qwen3-0.6B - 2048
    nick remora Qwen/Qwen3-0.6B - 2048
    ");
    assert_eq!(gateway.get("/v1/models").await.body, gateway.get("/v1/models").await.body);
}

#[tokio::test]
async fn one_is_found_encoded_or_with_a_bare_slash() {
    let (_first, _second, gateway) = two().await;
    for path in ["/v1/models/Qwen%2FQwen3-0.6B", "/v1/models/Qwen/Qwen3-0.6B"] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json()["id"], "Qwen/Qwen3-0.6B");
    }
    assert_eq!(gateway.get("/v1/models/nick").await.json()["root"], "Qwen/Qwen3-0.6B");
    assert_eq!(gateway.get("/v1/models/nobody").await.failure(), (404, "model_not_found".to_owned()));
}

#[tokio::test]
async fn adapters_that_come_and_go_are_seen() {
    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    assert_eq!(gateway.chat("lint").await.status, 404);
    engine.set(|b| {
        let parent = Some(MODEL.to_owned());
        b.models.push(EngineModel { id: "lint".parse().unwrap(), root: None, parent, max_model_len: None });
    });
    remora_testing::wait_until(crate::support::SOON, async || gateway.chat("lint").await.status == 200).await;
    engine.set(|b| drop(b.models.pop()));
    remora_testing::wait_until(crate::support::SOON, async || gateway.chat("lint").await.status == 404).await;
}

#[tokio::test]
async fn clients_of_anthropics_api_get_its_shape() {
    let (_first, _second, gateway) = two().await;
    let ask = async |path: &str| {
        let request = gateway.client.get(format!("{}{path}", gateway.url)).header("anthropic-version", "2023-06-01");
        gateway.send(request).await
    };
    let list = ask("/v1/models?limit=1000").await.json();
    let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["fake-model", "lint", "Qwen/Qwen3-0.6B", "agent", "nick"]);
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(false), &json!(ids[0]), &json!("nick"))
    );
    let one = ask("/v1/models/Qwen%2FQwen3-0.6B").await.json();
    assert_eq!((&one["type"], &one["max_input_tokens"]), (&json!("model"), &json!(2048)));
    let unknown = ask("/v1/models/nobody").await;
    assert_eq!(unknown.status, 404);
    assert_eq!(
        (&unknown.json()["type"], &unknown.json()["error"]["type"]),
        (&json!("error"), &json!("not_found_error"))
    );
}

#[tokio::test]
async fn whoever_looks_finds_somebody_there() {
    let engine = FakeEngine::start().await;
    let gateway = Gateway::before(&engine.address()).await;
    for path in ["/", "/api/hello"] {
        let answer = gateway.send(gateway.client.head(format!("{}{path}", gateway.url))).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{path}");
    }
}
