//! `agents-server`, port 8001: serves the agents folder.
//!
//! A bundle is a folder `agents/NAME` with a `bundle.yaml`: prompt, tools, model and adapter of one agent. This server
//! gives out its files byte for byte, lists and checks the bundles, packs them, and tells when they change. It never
//! runs anything.
//!
//! One task reads the folder ([`folder::Scanner`]); requests are answered from the immutable table it made last
//! ([`folder::Snapshot`]), where every body lies beside the `ETag` that was computed from those very bytes. So there is
//! no path arithmetic at request time, and nothing outside of the table can be reached.

pub mod api;
pub mod bundle;
pub mod config;
pub mod folder;
mod state;

use std::sync::Arc;

use remora_service::{Identity, Listener, Service, Stop};
use serde_json::json;

pub use config::{Config, InvalidConfig, Limits, WatchMode};
pub use state::AppState;

/// The service's name.
pub const NAME: &str = "agents-server";

/// The section of its settings.
pub const SECTION: &str = "agents_server";

/// The agents server on a bound listener, its folder read once. `stop` is that of the process it will run in.
pub async fn service(
    config: &Config,
    listener: Listener,
    identity: &Identity,
    stop: &Stop,
) -> Result<Service, InvalidConfig> {
    config.validate()?;
    let (config, root) = (config.clone(), config.root.clone());
    let opened = tokio::task::spawn_blocking(move || folder::Folder::open(config)).await;
    let (folder, scanner) = opened.expect("reading a folder does not panic");
    if !folder.current().exists {
        tracing::warn!(folder = %root.display(), "there is no agents folder; it is served as soon as it appears");
    }
    let (for_ready, for_details) = (folder.clone(), folder.clone());
    let missing = format!("there is no folder {}; make it, or set agents_server.root", root.display());
    let service = Service::new(NAME, listener, api::routes(AppState { folder, stop: Arc::new(stop.clone()) }))
        .identity(identity)
        .quiet()
        .ready(move || if for_ready.current().exists { Vec::new() } else { vec![missing.clone()] })
        .details(move || {
            let snapshot = for_details.current();
            let (files, bundles, faulty) = snapshot.counts();
            json!({"root": root, "revision": snapshot.revision, "files": files, "bundles": bundles, "faulty": faulty})
        })
        .task("agents-folder", move |stop| scanner.run(stop));
    Ok(service)
}
