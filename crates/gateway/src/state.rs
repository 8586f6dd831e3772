//! What every handler shares.

use std::sync::Arc;

use crate::directory::Directory;
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
    body_limit: usize,
}

impl GatewayState {
    /// The state of one gateway. `body_limit` is in bytes.
    #[must_use]
    pub(crate) fn new(directory: Directory, metrics: GatewayMetrics, patience: Patience, body_limit: usize) -> Self {
        Self { inner: Arc::new(Inner { directory, metrics, patience, body_limit }) }
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

    /// Largest request body, in bytes.
    pub(crate) fn body_limit(&self) -> usize {
        self.inner.body_limit
    }
}
