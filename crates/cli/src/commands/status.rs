//! `remora status`: everything of this user that runs on this machine.

use jiff::{SignedDuration, SpanRound, Unit};
use remora_api_client::control::Control;
use remora_service::SOCKET_FOLDERS;
use remora_types::status::ProcessStatus;
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::output;

pub(crate) async fn run(json: bool) -> anyhow::Result<()> {
    let mut processes = Vec::new();
    for control in Control::find(&SOCKET_FOLDERS) {
        // A socket that nobody answers was left behind by a kill -9; the next start replaces it.
        if let Ok(status) = control.status().await {
            processes.push(status);
        }
    }
    if json {
        output::json(&json!({"processes": processes}))?;
    }
    if processes.is_empty() {
        return Err(Failure::new(Exit::NotRunning, "no Remora process of this user runs here").hint("`remora up` starts one").into());
    }
    if json { Ok(()) } else { show(&processes) }
}

/// Processes, their services and their engines, for people.
pub(crate) fn show(processes: &[ProcessStatus]) -> anyhow::Result<()> {
    for process in processes {
        output::line(&format!("{} {} (pid {})", process.name, process.version, process.pid));
        let rows = process.services.iter().map(|service| {
            let state = if service.ready { "ready".to_owned() } else { format!("not ready: {}", service.reasons.join("; ")) };
            vec![
                format!("  {}", service.name),
                service.listen.clone(),
                uptime(service.uptime_s),
                service.requests_processed.to_string(),
                state,
            ]
        });
        output::table(&["  service", "address", "up", "requests", "state"], rows);
        show_engines(process);
    }
    Ok(())
}

/// The engines, where the process has a service that lists them.
fn show_engines(process: &ProcessStatus) {
    let details = process.services.iter().find(|s| s.name == "model-manager").map(|s| &s.details);
    let Some(engines) = details.and_then(|d| d["engines"].as_array()) else { return };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let rows = engines.iter().map(|engine| {
        let models: Vec<_> = engine["models"].as_array().into_iter().flatten().map(|m| text(&m["id"])).collect();
        vec![format!("  {}", text(&engine["id"])), text(&engine["address"]), text(&engine["state"]), models.join(", ")]
    });
    output::table(&["  engine", "address", "state", "models"], rows);
}

/// `3h 5m` rather than `11100`.
fn uptime(seconds: u64) -> String {
    let duration = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
    let rounded = jiff::Span::try_from(duration).and_then(|span| {
        span.round(SpanRound::new().largest(Unit::Day).days_are_24_hours().smallest(Unit::Second))
    });
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
