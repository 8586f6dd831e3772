//! What every handler shares.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use remora_service::Audit;
use remora_service::identity::KeyStore;

use crate::crisis::Crisis;
use crate::directory::Directory;
use crate::fallback::Fallback;
use crate::hold::Hold;
use crate::limits::Priorities;
use crate::metrics::GatewayMetrics;
use crate::models::Models;
use crate::upstream::Patience;
use crate::usage::Usage;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct GatewayState(Arc<Parts>);

/// What every handler shares, put together in [`crate::service`].
pub(crate) struct Parts {
    /// Which engine answers for which model.
    pub(crate) directory: Directory,
    /// What is counted.
    pub(crate) metrics: GatewayMetrics,
    /// How long engines may take.
    pub(crate) patience: Patience,
    /// Where requests wait for an engine.
    pub(crate) hold: Hold,
    /// Whose request goes first.
    pub(crate) priorities: Priorities,
    /// How long a request waits for room at an engine.
    pub(crate) longest_wait: Duration,
    /// Where requests may go that cannot be answered here.
    pub(crate) fallback: Fallback,
    /// What the settings say about single models.
    pub(crate) models: Models,
    /// What is looked for in messages, if anything.
    pub(crate) crisis: Option<Crisis>,
    /// Largest request body, in bytes.
    pub(crate) body_limit: usize,
    /// The keys, where there are any.
    pub(crate) keys: Option<KeyStore>,
    /// Where changes are written down.
    pub(crate) audit: Audit,
    /// Who used how much.
    pub(crate) usage: Usage,
}

impl From<Parts> for GatewayState {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for GatewayState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
