//! `remora up` with a tailnet, and callers with addresses of their own.
//!
//! Every address in 127.0.0.0/8 is this machine, so a caller is told apart by the one that its connections come from.
//! With tailscaled's socket set, none of them is anybody until whois says so.

use std::net::IpAddr;

use remora_e2e::Up;
use remora_testing::fake_tailscaled::Peer;
use remora_testing::{FakeEngine, FakeTailscaled};
use remora_types::identity::Role;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

/// Nobody that the tailnet knows.
pub(crate) const STRANGER: &str = "127.0.0.9";
/// Someone on the tailnet whom no rule names.
pub(crate) const GUEST: &str = "127.0.0.10";
/// By a rule, `use`.
pub(crate) const USER: &str = "127.0.0.11";
/// By a rule, `operate`.
pub(crate) const OPERATOR: &str = "127.0.0.12";
/// By a rule, `admin`.
pub(crate) const ADMIN: &str = "127.0.0.13";

/// The services that `remora up` runs, with the names of their URLs in its first line.
pub(crate) const SERVICES: [(&str, &str); 3] =
    [("gateway", "gateway"), ("agents-server", "agents_server"), ("model-manager", "model_manager")];

/// A running stack, its tailnet and its engine.
pub(crate) struct Stack {
    pub(crate) up: Up,
    pub(crate) tailnet: FakeTailscaled,
    _engine: FakeEngine,
}

impl Stack {
    /// Everyone has nothing; [`USER`], [`OPERATOR`] and [`ADMIN`] have their roles by rules.
    pub(crate) async fn ready() -> Self {
        Self::ready_with("everyone = 'nothing'", FakeTailscaled::start().await).await
    }

    /// With other lines in `[identity]`, after which the rules follow.
    pub(crate) async fn ready_with(identity: &str, tailnet: FakeTailscaled) -> Self {
        let engine = FakeEngine::start().await;
        let settings = settings(&tailnet, identity);
        let up = Up::launch().settings(&settings).arguments(&["--engine", &engine.address().to_string()]).ready().await;
        let stack = Self { up, tailnet, _engine: engine };
        stack.add_everybody();
        stack
    }

    fn add_everybody(&self) {
        self.tailnet.add(GUEST, Peer::user("guest@example.com"));
        for (address, role) in [(USER, Role::Use), (OPERATOR, Role::Operate), (ADMIN, Role::Admin)] {
            self.tailnet.add(address, Peer::user(&format!("{role}@example.com")));
        }
    }

    /// A service's URL.
    pub(crate) fn url(&self, service: &str) -> &str {
        let (_, key) = SERVICES.into_iter().find(|(name, _)| *name == service).unwrap();
        self.up.url(key)
    }

    /// A key with this role, made by [`ADMIN`].
    pub(crate) async fn key(&self, role: Role) -> String {
        let created = self.create_key(&json!({"name": format!("{role}-key"), "role": role})).await;
        created["key"].as_str().unwrap().to_owned()
    }

    /// What `POST /keys` answers to [`ADMIN`].
    pub(crate) async fn create_key(&self, new: &Value) -> Value {
        let answer = from(ADMIN).post(format!("{}/keys", self.url("gateway"))).json(new).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        answer.json().await.unwrap()
    }
}

/// The settings of a stack.
pub(crate) fn settings(tailnet: &FakeTailscaled, identity: &str) -> String {
    let rules = Role::ALL.map(|role| format!("[[identity.rules]]\nwho = ['{role}@example.com']\nrole = '{role}'\n"));
    let socket = tailnet.socket();
    format!("[log]\nlevel = 'debug'\n[identity]\ntailscaled = '{}'\n{identity}\n{}", socket.display(), rules.concat())
}

/// A client whose connections come from this address, each request on a new one.
pub(crate) fn from(address: &str) -> Client {
    let address: IpAddr = address.parse().unwrap();
    Client::builder().no_proxy().local_address(address).pool_max_idle_per_host(0).build().unwrap()
}

/// An answer's status and the code of its error, if it is one.
pub(crate) async fn outcome(request: RequestBuilder) -> (u16, String) {
    code_of(request.send().await.unwrap()).await
}

/// The same of an answer.
pub(crate) async fn code_of(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    if status < 400 {
        return (status, String::new());
    }
    let body: Value = answer.json().await.unwrap_or_default();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}
