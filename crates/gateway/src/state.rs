//! What every handler shares.

use std::sync::Arc;

use remora_service::Audit;
use remora_service::identity::KeyStore;

use crate::directory::Directory;
use crate::hold::Hold;
use crate::metrics::GatewayMetrics;
use crate::upstream::Patience;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct GatewayState {
    inner: Arc<Inner>,
}

struct Inner {
    directory: Directory,
    metrics: GatewayMetrics,
    patience: Patience,
    hold: Hold,
    body_limit: usize,
    keys: Option<KeyStore>,
    audit: Audit,
}

impl GatewayState {
    /// The state of one gateway. `body_limit` is in bytes.
    #[must_use]
    pub(crate) fn new(
        directory: Directory,
        metrics: GatewayMetrics,
        patience: Patience,
        hold: Hold,
        body_limit: usize,
        keys: Option<KeyStore>,
        audit: Audit,
    ) -> Self {
        Self { inner: Arc::new(Inner { directory, metrics, patience, hold, body_limit, keys, audit }) }
    }

    /// Which engine answers for which model.
    pub(crate) fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &GatewayMetrics {
        &self.inner.metrics
    }

    /// How long engines may take.
    pub(crate) fn patience(&self) -> Patience {
        self.inner.patience
    }

    /// Where requests wait for an engine.
    pub(crate) fn hold(&self) -> &Hold {
        &self.inner.hold
    }

    /// The keys, where there are any.
    pub(crate) fn keys(&self) -> Option<&KeyStore> {
        self.inner.keys.as_ref()
    }

    /// Where changes are written down.
    pub(crate) fn audit(&self) -> &Audit {
        &self.inner.audit
    }

    /// Largest request body, in bytes.
    pub(crate) fn body_limit(&self) -> usize {
        self.inner.body_limit
    }
}
