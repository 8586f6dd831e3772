//! `remora up`: every service and an engine, in one process.
//!
//! All ports are bound before anything is started, so that a taken one is told at once and nothing is left half done.
//! The embedded engine is a child process of its own: llama.cpp ends its process on some faults, and only an engine
//! should fall with it.

mod banner;
mod plan;

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use futures::StreamExt;
use remora_api_client::Client;
use remora_api_client::engines::Engines;
use remora_service::config::Settings;
use remora_service::telemetry::{self, LogConfig};
use remora_service::{Process, Stop};
use remora_types::engines::{EngineAddress, EngineState};

use crate::output;

use plan::Plan;

#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// The model to serve: a GGUF file [default: a small demo model]
    #[arg(long, value_name = "FILE", conflicts_with = "engine")]
    pub(crate) model: Option<PathBuf>,
    /// Use an engine that already runs (vLLM, llama-server, Ollama, …): `http://host:port` or `unix:/path`
    #[arg(long, value_name = "URL")]
    pub(crate) engine: Option<EngineAddress>,
    /// Address that every service listens on, for example 0.0.0.0 for other machines; they need a key, or a tailnet
    /// identity where [identity] names tailscaled's socket
    #[arg(long, value_name = "IP")]
    pub(crate) host: Option<IpAddr>,
    /// Another port for a service, for example gateway=9000 or engine=9104; may be given several times
    #[arg(long = "port", value_name = "SERVICE=PORT")]
    pub(crate) ports: Vec<PortChoice>,
    /// The folder with the agent bundles [default: agents]
    #[arg(long, value_name = "DIR")]
    pub(crate) agents: Option<PathBuf>,
    /// Settings file [default: remora.toml, where there is one]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check the settings and exit
    #[arg(long)]
    pub(crate) check: bool,
    /// Options of the embedded engine; `remora engine --help` lists them
    #[arg(last = true, value_name = "ENGINE OPTIONS")]
    pub(crate) engine_options: Vec<OsString>,
}

/// `gateway=9000`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortChoice {
    service: PortOwner,
    port: u16,
}

/// What listens on a port of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortOwner {
    Gateway,
    AgentsServer,
    ModelManager,
    Engine,
}

impl FromStr for PortChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, port) = text.split_once('=').ok_or("write SERVICE=PORT, for example gateway=9000")?;
        let service = match service {
            "gateway" => PortOwner::Gateway,
            "agents-server" => PortOwner::AgentsServer,
            "model-manager" => PortOwner::ModelManager,
            "engine" => PortOwner::Engine,
            _ => {
                return Err(format!(
                    "{service:?} has no port; there are gateway, agents-server, model-manager and engine"
                ));
            }
        };
        let port =
            port.parse().map_err(|_| format!("{port:?} is not a port: use 1 to 65535, or 0 for any free one"))?;
        Ok(Self { service, port })
    }
}

pub(crate) async fn run(args: UpArgs, json: bool) -> anyhow::Result<()> {
    let started = Instant::now();
    let settings = Settings::load(args.config.as_deref())?;
    let log: LogConfig = settings.section("log")?;
    let plan = Plan::new(&args, &settings)?;
    if args.check {
        log.validate()?;
        output::note("the settings are valid");
        return Ok(());
    }
    let _logs = telemetry::init(&log)?;

    let stop = Stop::new();
    let bound = plan.bind().await?;
    if json {
        output::line(&banner::opening_event(&bound).to_string());
    } else {
        output::line(&banner::opening(&bound));
    }
    let (gateway, manager) = (bound.gateway.url(), bound.manager.url());
    let ready = bound.into_services(&stop).await?;
    let process = Process::new("up").control_socket(ready.control).stop(stop.clone());
    let process = ready.services.into_iter().fold(process, Process::add);
    let manager = Client::new(&manager)?.with_credential(move || ready.to_manager.own());
    let outcome = tokio::select! {
        outcome = process.run() => outcome,
        never = announce(&gateway, manager, started, json) => match never {},
    };
    outcome.context("Remora stopped")?;
    output::note("stopped");
    Ok(())
}

/// Says when the first engine can be asked through the gateway, and until then why it cannot.
async fn announce(gateway: &str, manager: Client, started: Instant, json: bool) -> Infallible {
    if let Ok(gateway) = Client::new(gateway) {
        let mut told = None;
        let mut lists = Engines::new(manager).watch();
        while let Some(list) = lists.next().await {
            if let Some(engine) = list.engines.iter().find(|e| e.state == EngineState::Ready) {
                wait_until_ready(&gateway).await;
                let models: Vec<_> = engine.models.iter().map(|m| m.id.as_str()).collect();
                output::line(&banner::ready(&models, started.elapsed(), json));
                break;
            }
            let failed = list.engines.iter().find(|e| e.state == EngineState::Failed);
            let why =
                failed.map(|e| format!("engine {} failed: {}", e.id, e.detail.as_deref().unwrap_or("no reason given")));
            if let Some(why) = why.filter(|why| told.as_ref() != Some(why)) {
                output::note(&why);
                told = Some(why);
            }
        }
    }
    std::future::pending().await
}

/// The gateway hears of an engine a moment after model-manager.
async fn wait_until_ready(gateway: &Client) {
    while !gateway.ready().await.is_ok_and(|readiness| readiness.ready) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
