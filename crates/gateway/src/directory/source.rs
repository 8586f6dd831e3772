//! Where the directory learns what engines there are: model-manager's registry, or a list in the settings.

use std::fmt;
use std::pin::pin;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::HeaderValue;
use jiff::Timestamp;
use remora_api_client::engine::{EngineClient, EngineWatch, Pace, Sighting};
use remora_api_client::engines::Engines;
use remora_service::Stop;
use remora_types::EngineId;
use remora_types::engines::{Capabilities, Engine, EngineAddress, EngineLimits, EngineState};

use super::Directory;

/// Who knows the engines.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// model-manager, which supervises and probes them.
    Registry {
        /// Its address, for messages.
        server: String,
        /// Its client.
        client: Engines,
    },
    /// The settings; the gateway looks after these engines' health itself.
    Static(Vec<StaticEngine>),
}

/// An engine of the settings.
#[derive(Debug, Clone)]
pub(crate) struct StaticEngine {
    /// Its id.
    pub(crate) id: EngineId,
    /// Where it answers.
    pub(crate) address: EngineAddress,
    /// The `Authorization` header it wants, marked sensitive.
    pub(crate) authorization: Option<HeaderValue>,
    /// For probes.
    pub(crate) client: EngineClient,
}

impl Source {
    /// What an engine of the settings wants in `Authorization`.
    pub(super) fn key(&self, engine: &EngineId) -> Option<HeaderValue> {
        match self {
            Self::Registry { .. } => None,
            Self::Static(engines) => engines.iter().find(|e| e.id == *engine)?.authorization.clone(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry { server, .. } => write!(f, "the engine registry at {server}"),
            Self::Static(_) => f.write_str("the list of engines in the settings"),
        }
    }
}

/// Keeps the directory right until the process closes.
pub(crate) async fn follow(directory: &Directory, stop: &Stop) {
    let changes = match &directory.source {
        Source::Registry { client, .. } => client.watch().map(|list| list.engines).boxed(),
        Source::Static(engines) => {
            let engines = engines.clone();
            let first: Vec<Engine> = engines.iter().map(not_seen).collect();
            // Known at once, so that the first requests hear "initializing" and not "no engine".
            directory.update(&first);
            looks(engines, first)
        }
    };
    let mut changes = pin!(changes.take_until(stop.closing()));
    while let Some(engines) = changes.next().await {
        directory.update(&engines);
    }
}

/// An engine nobody has looked at yet.
fn not_seen(engine: &StaticEngine) -> Engine {
    Engine {
        id: engine.id.clone(),
        address: engine.address.clone(),
        slot: None,
        state: EngineState::Initializing,
        since: Timestamp::now(),
        detail: None,
        generation: 0,
        models: Vec::new(),
        limits: EngineLimits::default(),
        capabilities: Capabilities::default(),
    }
}

/// Looks at every engine for ever, each at its own pace; yields all of them whenever one has changed.
fn looks(engines: Vec<StaticEngine>, first: Vec<Engine>) -> BoxStream<'static, Vec<Engine>> {
    let looks = engines.into_iter().enumerate().map(|(index, engine)| {
        let watch = EngineWatch::new(engine.client, Pace::default());
        stream::unfold(watch, move |mut watch| async move { Some(((index, watch.next().await), watch)) }).boxed()
    });
    let mut known = first;
    let changes = stream::select_all(looks).filter_map(move |(index, sighting)| {
        let changed = take_in(&mut known[index], sighting);
        std::future::ready(changed.then(|| known.clone()))
    });
    changes.boxed()
}

/// Takes a look into what is known of an engine; whether that changed anything.
///
/// What a failed engine served and could do is kept: its models are then known to be unavailable, not unknown.
fn take_in(engine: &mut Engine, sighting: Sighting) -> bool {
    let before = engine.clone();
    let (state, detail) = match sighting {
        Sighting::Waiting { detail } => (EngineState::Initializing, Some(detail)),
        Sighting::Loading { detail } => (EngineState::Loading, Some(detail)),
        Sighting::Failed { detail } => (EngineState::Failed, Some(detail)),
        Sighting::Ready(seen) => {
            engine.models = seen.models;
            engine.capabilities = seen.facts.capabilities;
            engine.limits = seen.facts.limits;
            engine.generation = seen.generation;
            (EngineState::Ready, None)
        }
    };
    (engine.state, engine.detail) = (state, detail);
    if *engine == before {
        return false;
    }
    if state != before.state {
        engine.since = Timestamp::now();
    }
    true
}
