//! The services as processes of their own, as in containers: they share a state folder and nothing else.

use std::fmt::Write;
use std::process::Stdio;
use std::time::Duration;

use remora_e2e::{program, repository};
use remora_testing::fake_tailscaled::Peer;
use remora_testing::{FakeEngine, FakeTailscaled, free_port, wait_until};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::stack::{ADMIN, SERVICES, STRANGER, USER, from, outcome, settings};

const LIMIT: Duration = Duration::from_secs(30);

/// Three running services; killed when dropped.
pub(crate) struct Processes {
    pub(crate) state: TempDir,
    _tailnet: FakeTailscaled,
    pub(crate) engine: FakeEngine,
    urls: Vec<(&'static str, String)>,
    _children: Vec<Child>,
}

impl Processes {
    /// Starts them with debug logs, each into a file, and waits until each is ready.
    pub(crate) async fn ready() -> Self {
        let (state, tailnet, engine) =
            (tempfile::tempdir().unwrap(), FakeTailscaled::start().await, FakeEngine::start().await);
        tailnet.add(USER, Peer::user("use@example.com"));
        tailnet.add(ADMIN, Peer::user("admin@example.com"));
        let urls = SERVICES.map(|(name, _)| (name, format!("http://127.0.0.1:{}", free_port()))).to_vec();
        let mut toml = settings(&tailnet, "everyone = 'nothing'");
        for (name, url) in &urls {
            let (section, listen) = (name.replace('-', "_"), url.strip_prefix("http://").unwrap());
            let own = match *name {
                "gateway" => format!("registry = '{}'", urls[2].1),
                "agents-server" => format!("root = '{}'", repository().join("agents").display()),
                _ => format!("[[model_manager.engines]]\nid = 'e'\naddress = '{}'", engine.address()),
            };
            writeln!(toml, "[{section}]\nlisten = '{listen}'\n{own}").unwrap();
        }
        let file = state.path().join("remora.toml");
        std::fs::write(&file, toml).unwrap();
        let start = |name: &str| {
            Command::new(program(&format!("remora-{name}")))
                .arg("--config")
                .arg(&file)
                .current_dir(state.path())
                .env_clear()
                .env("REMORA_STATE_DIR", state.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(std::fs::File::create(state.path().join(format!("{name}.log"))).unwrap())
                .kill_on_drop(true)
                .spawn()
                .unwrap()
        };
        let children = urls.iter().map(|(name, _)| start(name)).collect();
        let processes = Self { state, _tailnet: tailnet, engine, urls, _children: children };
        for (name, url) in &processes.urls {
            let ready =
                async || from(STRANGER).get(format!("{url}/ready")).send().await.is_ok_and(|a| a.status() == 200);
            tokio::time::timeout(LIMIT, wait_until(LIMIT * 2, ready))
                .await
                .unwrap_or_else(|_| panic!("{name} is not ready:\n{}", processes.log(name)));
        }
        processes
    }

    /// Each service with its URL.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&str, &str)> {
        self.urls.iter().map(|(name, url)| (*name, url.as_str()))
    }

    pub(crate) fn gateway(&self) -> &str {
        &self.urls[0].1
    }

    /// What a service has logged.
    pub(crate) fn log(&self, service: &str) -> String {
        std::fs::read_to_string(self.state.path().join(format!("{service}.log"))).unwrap()
    }

    /// Asks the gateway for something as [`ADMIN`].
    pub(crate) async fn administer(&self, method: Method, path: &str, body: Option<&Value>) -> (u16, Value) {
        let request = from(ADMIN).request(method, format!("{}{path}", self.gateway()));
        let request = body.into_iter().fold(request, RequestBuilder::json);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Makes a key and gives what `POST /keys` answers.
    pub(crate) async fn create_key(&self, new: &Value) -> Value {
        let (status, created) = self.administer(Method::POST, "/keys", Some(new)).await;
        assert_eq!(status, 201, "{created}");
        created
    }

    /// What every service says to this key, sent from `address`.
    pub(crate) async fn said_to(&self, key: &str, address: &str) -> Vec<(u16, String)> {
        let mut said = Vec::new();
        for (_, url) in self.services() {
            said.push(outcome(from(address).get(format!("{url}/status")).bearer_auth(key)).await);
        }
        said
    }
}
