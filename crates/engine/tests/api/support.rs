//! A running engine, and a client for it.

use std::path::PathBuf;
use std::time::Duration;

use remora_engine::EngineConfig;
use remora_service::{Listener, Process, Running};
use remora_testing::wait_until;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

/// Long enough for a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// The demo model, which the repository holds.
pub(crate) fn demo_model() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/demo/remora-demo.gguf")
}

/// An engine that is ready, unless it was started to be watched while it loads.
pub(crate) struct TestEngine {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) running: Running,
}

impl TestEngine {
    /// An engine with the demo model and every default.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// An engine whose configuration was changed.
    pub(crate) async fn with(change: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut config = EngineConfig::new(demo_model());
        change(&mut config);
        let engine = Self::loading(config).await;
        wait_until(LIMIT, async || engine.get("/health").await.status() == StatusCode::OK).await;
        engine
    }

    /// An engine that may not be ready.
    pub(crate) async fn loading(config: EngineConfig) -> Self {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = listener.url();
        let service = remora_engine::service(listener, config).unwrap();
        let running = Process::new("engine-test").without_control_socket().add(service).start().await.unwrap();
        Self { url, client: reqwest::Client::new(), running }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Response {
        self.client.post(format!("{}{path}", self.url)).json(body).send().await.unwrap()
    }

    /// The JSON of a request that succeeds.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Value {
        let response = self.post(path, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert_eq!(status, StatusCode::OK, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The JSON of a request that fails with this status.
    pub(crate) async fn refused(&self, path: &str, body: &Value, status: u16) -> Value {
        let response = self.post(path, body).await;
        assert_eq!(response.status().as_u16(), status);
        response.json().await.unwrap()
    }

    /// The events of a stream, the last one being `[DONE]`.
    pub(crate) async fn events(&self, path: &str, body: &Value) -> Vec<String> {
        let response = self.post(path, body).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream; charset=utf-8");
        let text = response.text().await.unwrap();
        text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap().to_owned()).collect()
    }

    /// The chunks of a stream that ends well.
    pub(crate) async fn chunks(&self, path: &str, body: &Value) -> Vec<Value> {
        let mut events = self.events(path, body).await;
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    /// A metric that counts, without further labels than the model's.
    pub(crate) async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics").await.text().await.unwrap();
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// A chat request with one message, greedy.
pub(crate) fn chat(content: &str) -> Value {
    json!({"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 60})
}

/// The same with further fields.
pub(crate) fn with(mut body: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    body.as_object_mut().unwrap().extend(fields);
    body
}

/// Replaces what differs from run to run, and from one training of the demo model to the next.
pub(crate) fn steady(mut value: Value) -> Value {
    redact(&mut value);
    value
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                match (key.as_str(), &field) {
                    ("id", Value::String(id)) => *field = format!("{}-ID", id.split('-').next().unwrap()).into(),
                    ("created", Value::Number(_)) => *field = "NOW".into(),
                    ("root", Value::String(_)) => *field = "FILE".into(),
                    ("content" | "text", Value::String(text)) if !text.is_empty() => *field = "TEXT".into(),
                    ("prompt_tokens" | "total_tokens", Value::Number(_)) => *field = "COUNT".into(),
                    _ => redact(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}
