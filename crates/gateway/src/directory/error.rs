//! Why no engine could be chosen.

use std::sync::Arc;
use std::time::Duration;

use remora_types::engines::{Capability, EngineState};
use remora_types::{EngineId, ModelId};
use thiserror::Error;

use super::table::Offer;

/// A request that no engine can take now. Displays as what the caller reads.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum LookupError {
    /// Nobody has said yet what engines there are.
    #[error("no engine is known yet: {0}")]
    Unheard(String),
    /// There is none.
    #[error("there is no engine; start one, or see the gateway's /status")]
    NoEngine,
    /// No engine has it, and all have said what they have.
    #[error("the model `{name}` does not exist{}; there are: {known}", via.as_ref().map(|a| format!(" (`{a}` stands for it)")).unwrap_or_default())]
    UnknownModel {
        /// What was looked for.
        name: String,
        /// The alias, or `default`, that led there.
        via: Option<String>,
        /// What there is, cut to a readable length.
        known: String,
    },
    /// No engine that has spoken has it; one that has not spoken yet may.
    #[error("no engine serves `{name}` yet; {engine} is {state}{}", told(detail.as_deref()))]
    NotYetKnown {
        /// What was looked for.
        name: String,
        /// The engine whose models are not known.
        engine: EngineId,
        /// What it is doing.
        state: EngineState,
        /// Why.
        detail: Option<String>,
    },
    /// It is known, its engine is not ready.
    #[error("the engine of `{model}`, {engine}, is {state}{}", told(detail.as_deref()))]
    NotReady {
        /// The model.
        model: ModelId,
        /// Its engine.
        engine: EngineId,
        /// What that is doing.
        state: EngineState,
        /// Why.
        detail: Option<String>,
    },
    /// It is ready by its own word, but failed again and again.
    #[error("the engine of `{model}`, {engine}, failed again and again and is left alone for a moment")]
    Resting {
        /// The model.
        model: ModelId,
        /// Its engine.
        engine: EngineId,
        /// When it is asked again.
        after: Duration,
    },
    /// The engine lacks what the path asks of it.
    #[error("the engine that serves `{model}` cannot do {capability}")]
    Unsupported {
        /// The model.
        model: ModelId,
        /// What is missing.
        capability: Capability,
    },
}

impl LookupError {
    /// Whether waiting may help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unheard(_) | Self::Resting { .. } => true,
            Self::NotYetKnown { state, .. } | Self::NotReady { state, .. } => *state != EngineState::Stopped,
            Self::NoEngine | Self::UnknownModel { .. } | Self::Unsupported { .. } => false,
        }
    }
}

/// A request that got no place at an engine.
#[derive(Debug)]
pub(crate) enum DrawError {
    /// No engine can take it.
    Lookup(LookupError),
    /// All engines that can have as much as they may.
    Busy(Vec<Arc<Offer>>),
}

impl From<LookupError> for DrawError {
    fn from(error: LookupError) -> Self {
        Self::Lookup(error)
    }
}

fn told(detail: Option<&str>) -> String {
    detail.map(|detail| format!(" ({detail})")).unwrap_or_default()
}
