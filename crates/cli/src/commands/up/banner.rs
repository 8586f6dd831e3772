//! What `remora up` tells: what runs where, and how to call it.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::plan::{Bound, EnginePlan};

/// For people.
pub(crate) fn opening(bound: &Bound) -> String {
    let (gateway, agents, manager) = (bound.gateway.url(), bound.agents.url(), bound.manager.url());
    let engine = match &bound.engine {
        EnginePlan::Embedded { model, address, .. } => format!("{address}   llama.cpp, {}", model.display()),
        EnginePlan::Adopted(address) => format!("{address}   yours, only used"),
    };
    let mut text = format!("Remora {}\n\n", remora_service::VERSION);
    for (name, what) in [
        ("gateway", format!("{gateway}   OpenAI-compatible API")),
        ("agents-server", format!("{agents}   agent bundles")),
        ("model-manager", format!("{manager}   engines")),
        ("engine", engine),
    ] {
        let _ = writeln!(text, "  {name:<14} {what}");
    }
    let _ = write!(
        text,
        "\nIn a second terminal:\n\n  curl {agents}/agents/lint/bundle.yaml\n  curl -N {gateway}/v1/chat/completions \
         -H 'content-type: application/json' \\\n    -d '{{\"model\": \"default\", \"stream\": true, \"messages\": \
         [{{\"role\": \"user\", \"content\": \"hello\"}}]}}'\n\nCtrl-C stops everything.\n"
    );
    text
}

/// For scripts: one line.
pub(crate) fn opening_event(bound: &Bound) -> Value {
    json!({
        "event": "started",
        "gateway": bound.gateway.url(),
        "agents_server": bound.agents.url(),
        "model_manager": bound.manager.url(),
        "engine": bound.engine.address(),
        "control_socket": bound.control.path(),
    })
}

/// Said once, when the first engine answers.
pub(crate) fn ready(models: &[&str], after: Duration, json: bool) -> String {
    let after_s = after.as_secs_f64();
    if json {
        json!({"event": "ready", "models": models, "after_s": after_s}).to_string()
    } else {
        format!("Ready after {after_s:.1} s: {}", models.join(", "))
    }
}
