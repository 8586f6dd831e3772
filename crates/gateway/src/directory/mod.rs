//! Which engine answers for which model.
//!
//! One background task ([`follow`]) learns what engines there are and replaces the [`Table`] whole; a request takes the
//! table as it is, without a lock, and keeps what it chose from it however the table changes meanwhile.

mod error;
mod naming;
mod source;
mod table;
mod ticket;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use remora_types::EngineId;
use remora_types::engines::{Engine, EngineState};
use remora_types::gateway::EngineLoad;
use serde_json::{Value, json};
use tokio::sync::watch;

pub(crate) use error::{DrawError, LookupError};
pub use naming::InvalidNaming;
pub(crate) use naming::Naming;
pub(crate) use source::{Source, StaticEngine, follow};
pub(crate) use table::{DESCRIPTION, Offer, Table};
pub(crate) use ticket::Ticket;

use crate::limits::{Breaker, Gate, LimitsConfig, Queue};
use crate::metrics::GatewayMetrics;
use crate::upstream::Upstream;
use table::EngineEntry;

/// The engines as they are now.
pub(crate) struct Directory {
    table: ArcSwap<Table>,
    changes: watch::Sender<()>,
    naming: Arc<Naming>,
    metrics: GatewayMetrics,
    connect_timeout: Duration,
    limits: LimitsConfig,
    queue: Arc<Queue>,
    source: Source,
}

impl Directory {
    /// A directory that has not heard of any engine yet.
    #[must_use]
    pub(crate) fn new(
        source: Source,
        naming: Naming,
        metrics: GatewayMetrics,
        connect_timeout: Duration,
        limits: LimitsConfig,
    ) -> Self {
        let aging = Duration::from_millis(limits.aging_ms);
        let queue = Arc::new(Queue::new(limits.max_waiting, aging, metrics.queued()));
        let naming = Arc::new(naming);
        let table = Table::unheard(naming.clone(), source.to_string());
        Self {
            table: ArcSwap::from_pointee(table),
            changes: watch::Sender::new(()),
            naming,
            metrics,
            connect_timeout,
            limits,
            queue,
            source,
        }
    }

    /// Where requests wait for room at an engine.
    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> Guard<Arc<Table>> {
        self.table.load()
    }

    /// Tells of each new table from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Replaces the table. Connections are kept to every engine that is still the same process at the same address.
    fn update(&self, engines: &[Engine]) {
        let old = self.table.load_full();
        let mut entries = Vec::with_capacity(engines.len());
        for facts in engines {
            let known = old.entry(&facts.id);
            note_change(known.map(|entry| &entry.facts), facts);
            self.metrics.set_ready(&facts.id, Some(facts.state == EngineState::Ready));
            let same = |entry: &&Arc<EngineEntry>| {
                entry.facts.address == facts.address && entry.facts.generation == facts.generation
            };
            let upstream = match known.filter(same) {
                Some(entry) => entry.upstream.clone(),
                None => match Upstream::new(&facts.address, self.key(&facts.id), self.connect_timeout) {
                    Ok(upstream) => Arc::new(upstream),
                    Err(error) => {
                        tracing::warn!(engine = %facts.id, address = %facts.address, %error, "unusable address");
                        continue;
                    }
                },
            };
            let gate = known.map_or_else(|| Arc::new(self.gate(&facts.id)), |entry| entry.gate.clone());
            let came_back = known.filter(same).is_none_or(|entry| entry.facts.state != EngineState::Ready);
            if came_back && facts.state == EngineState::Ready {
                gate.breaker().close();
            }
            let limit = self.limits.of(&facts.id, &facts.limits);
            gate.set_limit(limit);
            self.metrics.set_limit(&facts.id, limit);
            entries.push(Arc::new(EngineEntry { facts: facts.clone(), upstream, gate }));
        }
        for entry in old.entries().filter(|entry| engines.iter().all(|engine| engine.id != entry.facts.id)) {
            tracing::info!(engine = %entry.facts.id, "engine gone");
            self.metrics.set_ready(&entry.facts.id, None);
        }
        self.table.store(Arc::new(Table::new(entries, self.naming.clone(), &self.metrics)));
        self.changes.send_replace(());
    }

    fn gate(&self, engine: &EngineId) -> Gate {
        let (opened, openings) = self.metrics.circuit(engine);
        let breaker = Breaker::new(engine.to_string(), &self.limits, opened, openings);
        Gate::new(breaker, self.queue.clone(), self.metrics.in_flight(engine))
    }

    fn key(&self, engine: &EngineId) -> Option<HeaderValue> {
        self.source.key(engine)
    }

    /// What is missing before requests can be served; empty when an engine is ready.
    #[must_use]
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.table.load().reasons()
    }

    /// Every engine with its load.
    pub(crate) fn loads(&self) -> Vec<EngineLoad> {
        let load = |EngineEntry { facts, gate, .. }: &EngineEntry| EngineLoad {
            engine: facts.clone(),
            in_flight: gate.inside().into(),
            limit: gate.limit(),
            queued: gate.waiting().into(),
            circuit: gate.breaker().report(),
        };
        self.table.load().entries().map(load).collect()
    }

    /// For `/status`.
    #[must_use]
    pub(crate) fn report(&self) -> Value {
        let table = self.table.load();
        let engines: Vec<Value> = table
            .entries()
            .map(|EngineEntry { facts, gate, .. }| {
                json!({
                    "id": facts.id,
                    "address": facts.address,
                    "slot": facts.slot,
                    "state": facts.state,
                    "since": facts.since,
                    "detail": facts.detail,
                    "models": facts.models.iter().map(|m| &m.id).collect::<Vec<_>>(),
                    "capabilities": facts.capabilities,
                    "in_flight": gate.inside(),
                })
            })
            .collect();
        json!({ "source": self.source.to_string(), "engines": engines, "aliases": self.naming.aliases() })
    }
}

/// One log line for each change of an engine's state.
fn note_change(before: Option<&Engine>, now: &Engine) {
    if before.is_some_and(|before| before.state == now.state) {
        return;
    }
    let detail = now.detail.as_deref().unwrap_or_default();
    match now.state {
        EngineState::Failed => tracing::warn!(engine = %now.id, address = %now.address, "engine failed: {detail}"),
        state => tracing::info!(engine = %now.id, address = %now.address, detail, "engine {state}"),
    }
}
