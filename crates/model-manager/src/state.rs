//! What the handlers share.

use std::collections::BTreeMap;

use remora_service::{Audit, Stop};
use remora_types::EngineId;
use serde_json::{Value, json};

use crate::registry::Registry;
use crate::supervisor::Supervisor;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct AppState {
    pub(crate) registry: Registry,
    pub(crate) supervisor: Supervisor,
    pub(crate) audit: Audit,
    pub(crate) stop: Stop,
}

/// What model-manager adds to `/status`: the engines by state, and the processes of the supervised ones.
pub(crate) fn details(registry: &Registry, supervisor: &Supervisor) -> Value {
    let list = registry.list();
    let mut by_state: BTreeMap<String, Vec<&EngineId>> = BTreeMap::new();
    for engine in &list.engines {
        by_state.entry(engine.state.to_string()).or_default().push(&engine.id);
    }
    json!({ "engines": by_state, "supervised": supervisor.vitals() })
}
