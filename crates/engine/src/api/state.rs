//! What every handler can reach.

use std::sync::Arc;
use std::time::Duration;

use remora_service::{ApiError, Metrics};

use super::error::{loading, not_found_model, stopped};
use crate::scheduler::{Engine, EngineState, Loaded};

/// Shared by every handler; cheap to clone.
#[derive(Clone)]
pub(crate) struct ApiState {
    pub(crate) engine: Engine,
    pub(crate) metrics: Metrics,
    /// Names of the model; the first is the one in answers.
    pub(crate) names: Arc<[String]>,
    /// Where the model was loaded from.
    pub(crate) root: Arc<str>,
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

    /// Refuses a model that is not this one; a request may leave it out.
    pub(super) fn check_model(&self, asked: Option<&str>) -> Result<(), ApiError> {
        match asked {
            Some(asked) if !asked.is_empty() && !self.names.iter().any(|name| name == asked) => {
                Err(not_found_model(asked, &self.names))
            }
            _ => Ok(()),
        }
    }

    /// What keeps the engine from answering; empty when nothing does.
    pub(crate) fn reasons(&self) -> Vec<String> {
        super::probes::unhealthy(self).map(|unhealthy| unhealthy.message).into_iter().collect()
    }

    /// The name in answers.
    pub(super) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }
}

/// How long a client should wait before it asks a full house again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
