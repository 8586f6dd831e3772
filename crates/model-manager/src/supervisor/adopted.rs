//! An engine that runs elsewhere: it is watched, and that is all.

use std::time::Duration;

use futures::future::BoxFuture;
use remora_api_client::engine::{EngineClient, EngineWatch, Pace, Sighting};
use remora_service::Stop;
use remora_types::EngineId;
use remora_types::engines::EngineState;
use tokio::time::Instant;

use super::{Keep, set, set_ready};
use crate::config::Config;
use crate::registry::Registry;

/// Watches one adopted engine.
pub(super) struct Adopted {
    id: EngineId,
    registry: Registry,
    client: EngineClient,
    pace: Pace,
    /// How long it may be waited for before it counts as failed.
    limit: Duration,
}

impl Adopted {
    pub(super) fn new(id: EngineId, registry: Registry, client: EngineClient, config: &Config) -> Self {
        Self { id, registry, client, pace: config.pace(), limit: config.start_limit() }
    }

    async fn watch(&self) {
        let began = Instant::now();
        let mut watch = EngineWatch::new(self.client.clone(), self.pace);
        loop {
            let sighting = watch.next().await;
            self.registry.update(&self.id, |engine| match sighting {
                Sighting::Ready(seen) => {
                    engine.generation = seen.generation;
                    set_ready(engine, seen);
                }
                Sighting::Loading { detail } => set(engine, EngineState::Loading, Some(detail)),
                // A vLLM that loads is not to be told from one that is not there: it refuses connections either way.
                Sighting::Waiting { detail } if began.elapsed() < self.limit => {
                    set(engine, EngineState::Initializing, Some(detail));
                }
                Sighting::Waiting { detail } | Sighting::Failed { detail } => {
                    set(engine, EngineState::Failed, Some(detail));
                }
            });
        }
    }
}

impl Keep for Adopted {
    fn keep(self: Box<Self>, stop: Stop) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            tokio::select! {
                () = self.watch() => {}
                () = stop.closing() => {}
            }
        })
    }
}
