//! A gateway in front of fakes.

mod raw_engine;
mod registry;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use remora_gateway::{Config, EngineConfig};
use remora_service::{Identity, Listener, Process, Running};
use remora_testing::wait_until;
use remora_types::engines::EngineAddress;
use serde_json::Value;

pub(crate) use raw_engine::{RAW_MODEL, RawEngine, plain};
pub(crate) use registry::{FakeRegistry, engine};

/// The limit of every wait in these tests.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    _running: Running,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// Status and `error.code`.
    pub(crate) fn failure(&self) -> (u16, String) {
        let error = self.json()["error"].clone();
        assert!(error["message"].is_string() && error["type"].is_string(), "not OpenAI's shape: {error}");
        assert!(error.as_object().unwrap().contains_key("param"), "not OpenAI's shape: {error}");
        (self.status.as_u16(), error["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }
}

/// An engine of the settings.
pub(crate) fn listed(id: &str, address: &EngineAddress) -> EngineConfig {
    EngineConfig { id: id.parse().unwrap(), address: address.clone(), api_key: None, api_key_file: None }
}

/// Settings with these engines: `e0`, `e1`, …
pub(crate) fn config(engines: &[&EngineAddress]) -> Config {
    let engines = engines.iter().enumerate().map(|(index, address)| listed(&format!("e{index}"), address)).collect();
    // Most tests are about what happens when waiting does not help.
    Config { engines, hold_ms: 0, usage_file: None, ..Config::default() }
}

impl Gateway {
    /// A gateway with these settings, on a free port, whether or not its engines are ready.
    pub(crate) async fn start(config: Config) -> Self {
        Self::start_as(config, &Identity::local()).await
    }

    /// The same, with another way to tell who is calling.
    pub(crate) async fn start_as(config: Config, identity: &Identity) -> Self {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = listener.url();
        let service = remora_gateway::service(&config, listener, identity).await.unwrap();
        let running = Process::new("gateway").add(service).without_control_socket().start().await.unwrap();
        Self { url, client: reqwest::Client::builder().no_proxy().build().unwrap(), _running: running }
    }

    /// A gateway in front of this engine, once it is ready.
    pub(crate) async fn before(engine: &EngineAddress) -> Self {
        Self::started(config(&[engine])).await
    }

    /// A gateway with these settings, once all of its engines are ready.
    pub(crate) async fn started(config: Config) -> Self {
        Self::started_as(config, &Identity::local()).await
    }

    /// The same, with another way to tell who is calling.
    pub(crate) async fn started_as(config: Config, identity: &Identity) -> Self {
        let wanted = config.engines.len();
        let gateway = Self::start_as(config, identity).await;
        wait_until(SOON, async || gateway.states().await.iter().filter(|s| *s == "ready").count() == wanted).await;
        gateway
    }

    /// The state of each engine, in order.
    pub(crate) async fn states(&self) -> Vec<String> {
        let status = self.get("/status").await.json();
        let engines = status["details"]["engines"].as_array().unwrap().clone();
        engines.iter().map(|engine| engine["state"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.unwrap() }
    }

    pub(crate) fn request(&self, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).body(body)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(path, body)).await
    }

    /// A chat that asks for this model.
    pub(crate) async fn chat(&self, model: &str) -> Answer {
        self.post("/v1/chat/completions", chat(model, false)).await
    }

    /// One line of `/metrics` that begins like this; its value.
    pub(crate) async fn metric(&self, start: &str) -> Option<f64> {
        let text = String::from_utf8(self.get("/metrics").await.body.to_vec()).unwrap();
        let line = text.lines().find(|line| line.starts_with(start))?;
        line.rsplit(' ').next()?.parse().ok()
    }
}

/// A chat's body.
pub(crate) fn chat(model: &str, stream: bool) -> String {
    serde_json::json!({ "model": model, "messages": [{ "role": "user", "content": "hi" }], "stream": stream })
        .to_string()
}
