//! What every handler can reach.

use std::sync::Arc;

use remora_service::Stop;

use crate::folder::Folder;

/// The state of the agents server; cheap to clone.
#[derive(Debug, Clone)]
pub struct AppState {
    /// The folder.
    pub folder: Arc<Folder>,
    /// Ends event streams.
    pub stop: Stop,
}
