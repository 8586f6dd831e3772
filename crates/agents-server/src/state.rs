//! What every handler can reach.

use std::sync::Arc;

use remora_service::Stop;

use crate::folder::Folder;

/// The state of the agents server; cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The folder.
    pub folder: Arc<Folder>,
    /// Ends event streams. Shared, since the state is cloned for every request and each token of a `Stop` takes a lock
    /// for that.
    pub stop: Arc<Stop>,
}
