//! What every handler can reach.

use std::sync::Arc;
use std::time::Duration;

use remora_service::{ApiError, Metrics};

use super::error::{loading, not_found_model, stopped};
use crate::output::ToolParser;
use crate::scheduler::{Adapters, Engine, EngineState, GenerateRequest, HeldAdapter, Loaded};

/// Shared by every handler; cheap to clone.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) engine: Engine,
    pub(crate) adapters: Adapters,
    pub(crate) metrics: Metrics,
    /// Names of the model; the first is the one in answers.
    pub(crate) names: Arc<[String]>,
    /// Where the model was loaded from.
    pub(crate) root: Arc<str>,
    /// How the model writes calls, where its chat template is not to be asked.
    pub(crate) tool_parser: Option<ToolParser>,
}

impl ApiState {
    /// The model, once it is loaded.
    pub(super) fn loaded(&self) -> Result<Arc<Loaded>, ApiError> {
        match self.engine.state() {
            EngineState::Ready(loaded) => Ok(loaded),
            EngineState::Loading(part) => Err(loading(part)),
            EngineState::Failed(_) | EngineState::Stopped => Err(stopped()),
        }
    }

    /// The model or adapter that a request asks for; one that names none gets the model. Refuses what is not served here.
    pub(super) fn target(&self, asked: Option<&str>) -> Result<Target, ApiError> {
        let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok(self.base()) };
        if self.names.iter().any(|name| name == asked) {
            return Ok(self.base());
        }
        match self.adapters.get(asked) {
            Some(adapter) => Ok(Target { name: asked.to_owned(), adapter: Some(adapter) }),
            None => Err(not_found_model(asked, &self.names)),
        }
    }

    fn base(&self) -> Target {
        Target { name: self.name().to_owned(), adapter: None }
    }

    /// What keeps the engine from answering; empty when nothing does.
    pub(crate) fn reasons(&self) -> Vec<String> {
        super::probes::unhealthy(self).map(|unhealthy| unhealthy.message).into_iter().collect()
    }

    /// The model's name in answers.
    pub(super) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// What a request is answered by. While it is held, its adapter stays in memory.
#[derive(Debug)]
pub(super) struct Target {
    /// The name in answers.
    pub(super) name: String,
    adapter: Option<Arc<HeldAdapter>>,
}

impl Target {
    /// The answers that are asked for, to be computed with this: as many to each prompt as `times` says.
    pub(super) fn aim(&self, prompts: Vec<GenerateRequest>, times: usize) -> Vec<GenerateRequest> {
        let aimed = |request| GenerateRequest { adapter: self.adapter.clone(), ..request };
        prompts.into_iter().flat_map(|prompt| aimed(prompt).times(times)).collect()
    }
}

/// How long a client should wait before it asks a full house again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
