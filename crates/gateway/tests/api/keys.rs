//! Keys, made and used through the gateway.

use std::path::Path;

use remora_service::identity::IdentityConfig;
use remora_service::{Identity, ServiceName};
use remora_testing::FakeEngine;
use remora_testing::fake_engine::MODEL;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Gateway, chat, config};

/// A gateway with keys, in front of one engine.
struct WithKeys {
    gateway: Gateway,
    engine: FakeEngine,
    _folder: TempDir,
}

/// An identity with a store of keys in this folder.
pub(crate) async fn with_keys(folder: &Path) -> Identity {
    let identity = IdentityConfig {
        keys: Some(folder.join("keys.sqlite")),
        credentials: Some(folder.join("credentials")),
        audit: Some(folder.join("audit")),
        ..IdentityConfig::default()
    };
    Identity::new(&identity).unwrap().of_service(ServiceName::Gateway).await.unwrap()
}

/// Makes a key.
pub(crate) async fn create(gateway: &Gateway, key: &Value) -> Answer {
    gateway.send(gateway.request("/keys", key.to_string()).header("content-type", "application/json")).await
}

impl WithKeys {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = with_keys(folder.path()).await;
        let engine = FakeEngine::start().await;
        let aliases = [("quick".parse().unwrap(), MODEL.parse().unwrap())].into();
        let config = remora_gateway::Config {
            aliases,
            usage_file: Some(folder.path().join("usage.sqlite")),
            ..config(&[&engine.address()])
        };
        Self { gateway: Gateway::started_as(config, &identity).await, engine, _folder: folder }
    }

    async fn create(&self, key: &Value) -> Answer {
        create(&self.gateway, key).await
    }

    async fn key(&self, key: &Value) -> String {
        let created = self.create(key).await;
        assert_eq!(created.status, 201, "{}", created.json());
        created.json()["key"].as_str().unwrap().to_owned()
    }

    async fn chat(&self, key: &str, model: &str) -> Answer {
        self.gateway.send(self.gateway.request("/v1/chat/completions", chat(model, false)).bearer_auth(key)).await
    }

    async fn get(&self, key: &str, path: &str) -> Answer {
        self.gateway.send(self.gateway.client.get(format!("{}{path}", self.gateway.url)).bearer_auth(key)).await
    }
}

#[tokio::test]
async fn a_key_is_made_shown_once_listed_and_revoked_and_the_record_says_so() {
    let it = WithKeys::start().await;
    let created = it.create(&json!({"name": "cline", "role": "use", "requests_per_minute": 100})).await;
    let (key, id) = (created.json()["key"].clone(), created.json()["id"].clone());
    let list = it.gateway.get("/keys").await.json();
    assert_eq!((&list["keys"][0]["id"], &list["keys"][0]["created_by"]), (&id, &json!("local")));
    assert!(!list.to_string().contains(key.as_str().unwrap().rsplit('_').next().unwrap()));
    assert_eq!(it.chat(key.as_str().unwrap(), MODEL).await.status, 200);
    let revoke = || it.gateway.send(it.gateway.client.delete(format!("{}/keys/cline", it.gateway.url)));
    let first = revoke().await.json();
    assert_eq!(revoke().await.json()["revoked_at"], first["revoked_at"], "a second time changes nothing");
    assert_eq!(it.chat(key.as_str().unwrap(), MODEL).await.failure(), (401, "key_ended".into()));
    let rows = it.gateway.get("/audit").await.json();
    let actions: Vec<_> = rows["rows"].as_array().unwrap().iter().map(|row| row["action"].clone()).collect();
    assert_eq!(actions, ["key.revoke", "key.revoke", "key.create", "policy.change"]);
    assert!(!rows.to_string().contains(key.as_str().unwrap()));
}

#[tokio::test]
async fn bad_keys_are_refused_with_reasons() {
    let it = WithKeys::start().await;
    it.key(&json!({"name": "taken", "role": "use"})).await;
    for (body, status, code) in [
        (json!({"name": "taken", "role": "use"}), 409, "key_name_taken"),
        (json!({"name": "a", "role": "use", "expires_at": "2001-01-01T00:00:00Z"}), 400, "invalid_expiry"),
        (json!({"name": "../x", "role": "use"}), 422, "invalid_body"),
        (json!({"name": "a", "role": "king"}), 422, "invalid_body"),
        (json!({"name": "a", "role": "use", "modles": []}), 422, "invalid_body"),
    ] {
        let refused = it.create(&body).await.json()["error"].clone();
        assert_eq!((refused["code"].as_str().unwrap(), &refused["message"].is_string()), (code, &true), "{body}");
        assert_eq!(it.create(&body).await.status, status, "{body}");
    }
    let missing = it.gateway.send(it.gateway.client.delete(format!("{}/keys/nobody", it.gateway.url))).await;
    assert_eq!((missing.status.as_u16(), missing.json()["error"]["code"].clone()), (404, json!("key_not_found")));
}

#[tokio::test]
async fn a_key_asks_its_own_models_and_sees_no_others() {
    let it = WithKeys::start().await;
    let quick = it.key(&json!({"name": "q", "role": "use", "models": ["quick"]})).await;
    assert_eq!(it.chat(&quick, "quick").await.status, 200);
    assert_eq!(it.chat(&quick, MODEL).await.failure(), (403, "model_not_allowed".into()));
    let ids = |answer: Answer| {
        let list = answer.json()["data"].as_array().unwrap().clone();
        list.iter().map(|card| card["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(it.get(&quick, "/v1/models").await), ["quick"]);
    assert_eq!(it.get(&quick, &format!("/v1/models/{MODEL}")).await.failure(), (404, "model_not_found".into()));
    assert_eq!(ids(it.gateway.get("/v1/models").await), [MODEL, "quick"]);
    let real = it.key(&json!({"name": "r", "role": "use", "models": [MODEL]})).await;
    assert_eq!(it.chat(&real, "quick").await.status, 200, "an alias of an allowed model");
    assert_eq!(it.get(&quick, "/keys").await.status, 403);
}

#[tokio::test]
async fn tokens_run_out_by_what_the_engine_counted() {
    let it = WithKeys::start().await;
    let key = it.key(&json!({"name": "small", "role": "use", "tokens_per_minute": 1})).await;
    let answer = it.chat(&key, MODEL).await;
    assert!(answer.json()["usage"]["total_tokens"].as_u64().unwrap() > 1, "{}", answer.json());
    let refused = it.chat(&key, MODEL).await;
    assert_eq!(refused.failure(), (429, "rate_limit_exceeded".into()));
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(it.gateway.chat(MODEL).await.status, 200);
}

#[tokio::test]
async fn a_clients_key_never_reaches_the_engine() {
    let it = WithKeys::start().await;
    let key = it.key(&json!({"name": "cline", "role": "use"})).await;
    it.chat(&key, MODEL).await;
    for received in it.engine.received() {
        let headers = format!("{:?}", received.headers);
        assert!(!headers.contains(&key) && !headers.contains("x-remora"), "{headers}");
    }
}

#[tokio::test]
async fn usage_is_told_by_caller_and_everybody_sees_their_own() {
    let it = WithKeys::start().await;
    let cline = it.key(&json!({"name": "cline", "role": "use"})).await;
    for model in [MODEL, "quick"] {
        assert_eq!(it.chat(&cline, model).await.status, 200);
    }
    let streamed = it.gateway.request("/v1/chat/completions", chat(MODEL, true));
    assert_eq!(it.gateway.send(streamed).await.status, 200);

    let report = it.gateway.get("/v1/usage?by=caller,model").await.json();
    let told: Vec<_> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (&row["caller"], &row["model"], &row["requests"]))
        .collect();
    assert_eq!(told, [(&json!("key cline"), &json!(MODEL), &json!(2)), (&json!("local"), &json!(MODEL), &json!(1))]);
    assert_eq!(report["total"]["requests"], 3);
    assert!(report["rows"][0]["prompt_tokens"].as_u64().unwrap() > 0, "{report}");
    assert_eq!((&report["rows"][0]["estimated"], &report["truncated"]), (&json!(0), &json!(false)));

    let own = it.get(&cline, "/v1/usage").await.json();
    assert_eq!((&own["caller"], &own["total"]["requests"]), (&json!("key cline"), &json!(2)));
    let other = it.get(&cline, "/v1/usage?caller=local").await;
    assert_eq!(other.failure(), (403, "role_required".to_owned()));
    assert_eq!(it.gateway.get("/v1/usage?by=weekday").await.failure().0, 400);
    let line = r#"remora_gateway_tokens_total{caller="key cline",model="fake-model",kind="Completion"}"#;
    assert!(it.gateway.metric(line).await.unwrap() > 0.0);
    assert!(it.gateway.metric("remora_gateway_time_to_first_token_seconds_count").await.unwrap() >= 1.0);
}
