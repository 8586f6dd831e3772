//! The service under test, in this process.

use remora_api_client::Client;
use remora_api_client::engines::Engines;
use remora_model_manager::{CommandLine, Config, EngineDefinition, Stdin, service};
use remora_service::{Identity, Listener, Process, Running, Stop};
use remora_testing::{free_port, wait_for};
use remora_types::EngineId;
use remora_types::engines::{Engine, EngineAddress, EngineState};
use serde_json::Value;

use crate::support::LIMIT;

/// A running model-manager.
pub(crate) struct Manager {
    pub(crate) client: Client,
    pub(crate) engines: Engines,
    stop: Stop,
    running: Running,
}

/// Settings for tests: any free port, quick looks, little grace.
pub(crate) fn config(engines: impl IntoIterator<Item = EngineDefinition>) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        engines: engines.into_iter().collect(),
        poll_starting_ms: 10,
        poll_ready_ms: 20,
        stop_grace_s: 5,
        ..Config::default()
    }
}

pub(crate) fn id(text: &str) -> EngineId {
    text.parse().unwrap()
}

/// An engine under the id `a` that runs elsewhere.
pub(crate) fn adopted(address: EngineAddress) -> EngineDefinition {
    EngineDefinition::adopted(id("a"), address)
}

/// An engine under the id `a` that is started here.
pub(crate) fn supervised(port: u16, command: CommandLine) -> EngineDefinition {
    let adopted = adopted(EngineAddress::loopback(port));
    EngineDefinition { command: Some(command), stdin: Stdin::Null, ..adopted }
}

/// One that is a shell script, and never answers.
pub(crate) fn script(script: &str) -> EngineDefinition {
    supervised(free_port(), CommandLine::new("sh", ["-c", script]))
}

impl Manager {
    pub(crate) async fn start(config: &Config) -> Self {
        let (listener, stop) = (Listener::bind(&config.listen).await.unwrap(), Stop::new());
        let client = Client::new(&listener.url()).unwrap();
        let service = service(config, listener, &Identity::local(), &stop).unwrap();
        let process = Process::new("test").without_control_socket().stop(stop.clone()).add(service);
        let running = process.start().await.unwrap();
        Self { engines: Engines::new(client.clone()), client, stop, running }
    }

    /// Stops it and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.request();
        self.running.wait().await.unwrap();
    }

    /// Engine `a` as it is.
    pub(crate) async fn engine(&self) -> Engine {
        self.engines.get(&id("a")).await.unwrap()
    }

    /// Waits until engine `a` is as wanted.
    pub(crate) async fn engine_when(&self, wanted: impl Fn(&Engine) -> bool) -> Engine {
        wait_for(LIMIT, async || Some(self.engine().await).filter(&wanted)).await
    }

    pub(crate) async fn engine_in(&self, state: EngineState) -> Engine {
        self.engine_when(|engine| engine.state == state).await
    }

    /// What `/status` says of engine `a`'s process.
    pub(crate) async fn vitals(&self) -> Value {
        self.client.status().await.unwrap().details["supervised"]["a"].clone()
    }

    /// The process id of engine `a`.
    pub(crate) async fn pid(&self) -> u32 {
        wait_for(LIMIT, async || u32::try_from(self.vitals().await["pid"].as_u64()?).ok()).await
    }
}
