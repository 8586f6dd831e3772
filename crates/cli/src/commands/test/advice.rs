//! What to do about a step that failed.

use std::time::Duration;

use http::StatusCode;
use remora_api_client::{Client, ClientError};

use super::steps::NO_PARSER;
use crate::commands::connect::facts::waiting;
use crate::failure::{Exit, Failure, classify};

/// A step that took longer than it was given.
pub(super) fn too_slow(limit: Duration) -> anyhow::Error {
    Failure::new(Exit::Timeout, format!("no answer in {} s", limit.as_secs())).into()
}

/// Advice on an error; the gateway is asked what its engines are doing, where that may be why.
pub(super) async fn on(error: &anyhow::Error, gateway: &Client) -> Option<String> {
    let (exit, hint) = classify(error);
    match error.downcast_ref::<ClientError>() {
        Some(ClientError::Unreachable { .. }) if !is_local(&gateway.server()) => {
            Some("is it running, and is this machine on its tailnet?".into())
        }
        Some(ClientError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => {
            engines(gateway).await.or(Some("come again when the engine is ready".into()))
        }
        Some(ClientError::Refused { message, .. }) if speaks_of_tools(message) => Some(NO_PARSER.into()),
        Some(ClientError::Refused { code: Some(code), .. }) if code == "unsupported_by_engine" => {
            Some("another engine is needed for this; Anthropic's clients then count tokens themselves".into())
        }
        _ if exit == Exit::Timeout => {
            let engines = engines(gateway).await;
            Some(engines.unwrap_or_else(|| "the model may need longer: --timeout SECONDS".into()))
        }
        _ => hint,
    }
}

async fn engines(gateway: &Client) -> Option<String> {
    let status = gateway.gateway_status().await.ok()?;
    let engines: Vec<_> = status.engines.into_iter().map(|load| load.engine).collect();
    waiting(&engines)
}

fn speaks_of_tools(message: &str) -> bool {
    message.contains("tool-call-parser") || message.contains("enable-auto-tool-choice")
}

fn is_local(server: &str) -> bool {
    ["http://127.", "http://localhost", "http://[::1]", "unix:"].iter().any(|start| server.starts_with(start))
}
