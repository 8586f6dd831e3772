//! `remora status`: everything of this user that runs on this machine.

use jiff::{SignedDuration, SpanRound, Unit};
use remora_api_client::control::Control;
use remora_api_client::engines::Engines;
use remora_service::SOCKET_FOLDERS;
use remora_types::engines::Engine;
use remora_types::status::ProcessStatus;
use serde::Serialize;
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::output;
use crate::servers::{Servers, reachable};

/// A process and the engines that its model-manager knows.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    #[serde(flatten)]
    process: ProcessStatus,
    engines: Vec<Engine>,
}

impl View {
    /// Asks the process's model-manager, where it has one; no engines where that does not answer.
    pub(crate) async fn of(process: ProcessStatus, servers: &Servers) -> anyhow::Result<Self> {
        let manager = process.services.iter().find(|service| service.name == remora_model_manager::NAME);
        let Some(manager) = manager else { return Ok(Self { process, engines: Vec::new() }) };
        let engines = match Engines::new(servers.client(&reachable(&manager.listen))?).list().await {
            Ok(list) => list.engines,
            Err(error) => {
                output::note(&format!("the engines of pid {} are not known: {error}", process.pid));
                Vec::new()
            }
        };
        Ok(Self { process, engines })
    }
}

pub(crate) async fn run(servers: &Servers, json: bool) -> anyhow::Result<()> {
    let mut processes = Vec::new();
    for control in Control::find(&SOCKET_FOLDERS) {
        // A socket that nobody answers was left behind by a kill -9; the next start replaces it.
        if let Ok(status) = control.status().await {
            processes.push(View::of(status, servers).await?);
        }
    }
    if json {
        output::json(&json!({"processes": processes}))?;
    }
    if processes.is_empty() {
        return Err(nothing_runs().into());
    }
    if !json {
        processes.iter().for_each(show);
    }
    Ok(())
}

/// What to say where no process was found.
pub(crate) fn nothing_runs() -> Failure {
    Failure::new(Exit::NotRunning, "no Remora process of this user runs here").hint("`remora up` starts one")
}

/// A process, its services and its engines, for people.
pub(crate) fn show(view: &View) {
    let process = &view.process;
    output::line(&format!("{} {} (pid {})", process.name, process.version, process.pid));
    let services = process.services.iter().map(|service| {
        let state =
            if service.ready { "ready".to_owned() } else { format!("not ready: {}", service.reasons.join("; ")) };
        let requests = service.requests_processed.to_string();
        vec![format!("  {}", service.name), service.listen.clone(), uptime(service.uptime_s), requests, state]
    });
    output::table(&["  service", "address", "up", "requests", "state"], services);
    if view.engines.is_empty() {
        return;
    }
    let engines = view.engines.iter().map(|engine| {
        let models: Vec<_> = engine.models.iter().map(|m| m.id.as_str()).collect();
        let state =
            engine.detail.as_ref().map_or(engine.state.to_string(), |detail| format!("{}: {detail}", engine.state));
        vec![format!("  {}", engine.id), engine.address.to_string(), state, models.join(", ")]
    });
    output::table(&["  engine", "address", "state", "models"], engines);
}

/// `3h 5m` rather than `11100`.
fn uptime(seconds: u64) -> String {
    let duration = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    let rounded = jiff::Span::try_from(duration)
        .and_then(|span| span.round(SpanRound::new().largest(Unit::Day).days_are_24_hours().smallest(Unit::Second)));
    rounded.map_or_else(|_| format!("{seconds}s"), |span| format!("{span:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes_read_well() {
        assert_eq!(uptime(5), "5s");
        assert_eq!(uptime(11_100), "3h 5m");
        assert_eq!(uptime(200_000), "2d 7h 33m 20s");
    }
}
