//! What every handler shares.

use std::sync::Arc;

use remora_service::Audit;
use remora_service::identity::KeyStore;

use crate::directory::Directory;
use crate::hold::Hold;
use crate::metrics::GatewayMetrics;
use crate::upstream::Patience;
use crate::usage::Usage;

/// What one gateway is made of.
pub(crate) struct Parts {
    /// Which engine answers for which model.
    pub(crate) directory: Directory,
    /// What is counted.
    pub(crate) metrics: GatewayMetrics,
    /// How long engines may take.
    pub(crate) patience: Patience,
    /// Where requests wait for an engine.
    pub(crate) hold: Hold,
    /// Largest request body, in bytes.
    pub(crate) body_limit: usize,
    /// The keys, where there are any.
    pub(crate) keys: Option<KeyStore>,
    /// Where changes are written down.
    pub(crate) audit: Audit,
    /// Who used how much.
    pub(crate) usage: Usage,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct GatewayState(Arc<Parts>);

impl From<Parts> for GatewayState {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl GatewayState {
    pub(crate) fn directory(&self) -> &Directory {
        &self.0.directory
    }

    pub(crate) fn metrics(&self) -> &GatewayMetrics {
        &self.0.metrics
    }

    pub(crate) fn patience(&self) -> Patience {
        self.0.patience
    }

    pub(crate) fn hold(&self) -> &Hold {
        &self.0.hold
    }

    pub(crate) fn keys(&self) -> Option<&KeyStore> {
        self.0.keys.as_ref()
    }

    pub(crate) fn audit(&self) -> &Audit {
        &self.0.audit
    }

    pub(crate) fn usage(&self) -> &Usage {
        &self.0.usage
    }

    pub(crate) fn body_limit(&self) -> usize {
        self.0.body_limit
    }
}
