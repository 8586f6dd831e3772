//! The engine registry, and the supervisor of local engines (port 8004).
//!
//! Everybody who needs an engine asks here which ones there are: the gateway, adapter-manager and the dashboard follow
//! `GET /engines/events`. An engine is either **adopted** (it runs elsewhere, for example Compose's vLLM, and is only
//! watched) or **supervised** (a child of this process, started again when it dies).
//!
//! One task keeps each engine. It alone decides what state that engine is in; the [`registry`] only puts the tasks'
//! findings side by side and tells the readers. A supervised engine is started through a [`supervisor::Driver`]; this
//! version has one, for a process on this machine.
//!
//! Rejected: finding out by looking at process tables which engines run. An engine is what answers at an address; how
//! it was started matters to nobody but its driver.

mod api;
mod config;
pub mod registry;
mod state;
pub mod supervisor;

use remora_service::{Identity, Listener, Service, Stop};

pub use config::{CommandLine, Config, EngineDefinition, InvalidConfig, Stdin};

use registry::Registry;
use state::AppState;
use supervisor::Supervisor;

/// The service's name, and its process's where it runs alone.
pub const NAME: &str = "model-manager";

/// The section of the settings that is this service's.
pub const SECTION: &str = "model_manager";

/// The service, bound and ready to be run. Engines start with it and stop when it closes.
///
/// `stop` must be the one that the process watches ([`remora_service::Process::stop`]): event streams end with it.
pub fn service(
    config: &Config,
    listener: Listener,
    identity: &Identity,
    stop: &Stop,
) -> Result<Service, InvalidConfig> {
    config.validate()?;
    let registry = Registry::new(&config.engines);
    let (supervisor, keepers) = Supervisor::new(config, &registry);
    let state = AppState {
        registry: registry.clone(),
        supervisor: supervisor.clone(),
        audit: identity.audit(),
        stop: stop.clone(),
    };
    let details = (registry.clone(), supervisor);
    Ok(Service::new(NAME, listener, api::routes(state))
        .identity(identity)
        .ready(move || registry.unready())
        .details(move || state::details(&details.0, &details.1))
        .task("engines", |stop| keepers.run(stop)))
}
