//! `GET /events`: word of every change.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::Event;
use futures::StreamExt;
use remora_service::sse::until_stop;
use remora_types::AgentName;
use remora_types::agents::{AgentsEvent, Digest};
use tokio_stream::wrappers::WatchStream;

use crate::folder::Snapshot;
use crate::state::AppState;

/// Events named `state` (the first, at once) and `change`. A reader that is slow misses intermediate changes, never the
/// last one.
#[utoipa::path(get, path = "/events", tag = "bundles",
    responses((status = 200, body = AgentsEvent, content_type = "text/event-stream")))]
pub(super) async fn events(State(state): State<AppState>) -> impl IntoResponse {
    let mut previous: Option<BTreeMap<AgentName, Digest>> = None;
    let changes = WatchStream::new(state.folder.changes()).map(move |snapshot| {
        let name = if previous.is_some() { "change" } else { "state" };
        let told = tell(&snapshot, previous.as_ref());
        let event = Event::default().event(name).id(told.revision.to_string());
        let event = event.json_data(&told).expect("wire types are plain data");
        previous = Some(told.bundles);
        event
    });
    until_stop(&state.stop, changes)
}

fn tell(snapshot: &Snapshot, previous: Option<&BTreeMap<AgentName, Digest>>) -> AgentsEvent {
    let bundles = snapshot.digests();
    let before = previous.unwrap_or(&bundles);
    let changed = bundles.iter().filter(|(name, digest)| before.get(*name) != Some(digest));
    let removed = before.keys().filter(|name| !bundles.contains_key(*name));
    AgentsEvent {
        revision: snapshot.revision,
        etag: format!("\"{}\"", snapshot.list().tag()),
        changed: changed.map(|(name, _)| name.clone()).collect(),
        removed: removed.cloned().collect(),
        bundles,
    }
}
