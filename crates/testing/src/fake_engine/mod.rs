//! An engine without a model: vLLM's HTTP API over TCP or a Unix socket, with faults on demand.
//!
//! ```no_run
//! # async fn demo() {
//! use remora_testing::fake_engine::{FakeEngine, Health};
//! let engine = FakeEngine::start().await;
//! engine.set(|behaviour| behaviour.health = Health::Loading("40 %".into()));
//! assert_eq!(engine.in_flight(), 0);
//! # }
//! ```

mod routes;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use remora_types::engines::{Capabilities, Capability, EngineAddress, EngineModel};
use tokio::task::JoinSet;

use crate::server;

/// The model that a fake engine serves until told otherwise.
pub const MODEL: &str = "fake-model";

/// A running fake engine. Dropping it is a `kill -9`: every connection breaks and the port is refused.
pub struct FakeEngine {
    address: EngineAddress,
    shared: Arc<Shared>,
    server: JoinSet<()>,
}

/// What a fake engine does; changed at any time with [`FakeEngine::set`].
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// What `/health` answers.
    pub health: Health,
    /// What `/v1/models` lists; adapters are added and removed by the adapter routes.
    pub models: Vec<EngineModel>,
    /// The routes that exist; of the capabilities left out, each is a 404.
    pub capabilities: Capabilities,
    /// Pieces of an answer, `token0 ` to `tokenN `.
    pub chunks: usize,
    /// Time before each piece.
    pub delay: Duration,
    /// Inference answers this status and body instead.
    pub failure: Option<(u16, String)>,
    /// A stream's connection breaks after so many pieces, without an end.
    pub break_after: Option<usize>,
    /// `process_start_time_seconds` in `/metrics`, to which a quarter of a second is added.
    pub started_unix_s: Option<u64>,
}

/// What `/health` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// 200 with an empty body, as vLLM.
    Ready,
    /// 503 with this message, as the embedded engine while it loads.
    Loading(String),
    /// 503 with an empty body, as vLLM when its engine is dead.
    Dead,
    /// No answer at all; the connection stays open.
    Silent,
}

/// A request as the engine got it.
#[derive(Debug, Clone)]
pub struct Received {
    /// Method and path with query: `POST /v1/chat/completions`.
    pub line: String,
    /// As they came.
    pub headers: HeaderMap,
    /// As it came, byte for byte.
    pub body: Bytes,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    received: Mutex<Vec<Received>>,
    in_flight: AtomicUsize,
    cancelled: AtomicUsize,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            health: Health::Ready,
            models: vec![base_model(MODEL)],
            capabilities: Capability::ALL.into_iter().collect(),
            chunks: 3,
            delay: Duration::ZERO,
            failure: None,
            break_after: None,
            started_unix_s: Some(1_700_000_000),
        }
    }
}

/// A base model of this name, with a context of 2048 tokens.
pub fn base_model(id: &str) -> EngineModel {
    EngineModel {
        id: id.parse().expect("a legal model id"),
        root: Some(format!("/models/{id}")),
        parent: None,
        max_model_len: Some(2048),
    }
}

impl FakeEngine {
    /// Starts an engine on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::start_with(&EngineAddress::loopback(0), Behaviour::default()).await
    }

    /// Starts an engine on a Unix socket.
    pub async fn start_unix(path: &Path) -> Self {
        Self::start_with(&EngineAddress::Unix(path.to_owned()), Behaviour::default()).await
    }

    /// Starts an engine at this address, for example where another one was killed; port 0 takes a free one.
    pub async fn start_with(address: &EngineAddress, behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(behaviour),
            received: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
        });
        let (address, serving) = server::serve(address, routes::router(shared.clone())).await;
        let mut server = JoinSet::new();
        server.spawn(serving);
        Self { address, shared, server }
    }

    /// Where it answers.
    pub fn address(&self) -> EngineAddress {
        self.address.clone()
    }

    /// Changes what it does from the next request on; streams that run keep their pace.
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour());
    }

    /// Kills it, and waits until its port is refused. The address is for the next one.
    pub async fn kill(mut self) -> EngineAddress {
        self.server.shutdown().await;
        self.address
    }

    /// Inference requests that are being answered.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// Inference requests whose client went away before the end.
    pub fn cancelled(&self) -> usize {
        self.shared.cancelled.load(Ordering::SeqCst)
    }

    /// Every request so far, probes included.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests began with this, for example `POST /v1/chat`.
    pub fn count(&self, line: &str) -> usize {
        self.received().iter().filter(|request| request.line.starts_with(line)).count()
    }
}

impl Shared {
    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, received: Received) {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
    }
}

/// Counts an inference request: in flight while it lives, cancelled if it is dropped before [`InFlight::finish`].
struct InFlight {
    shared: Arc<Shared>,
    finished: bool,
}

impl InFlight {
    fn enter(shared: &Arc<Shared>) -> Self {
        shared.in_flight.fetch_add(1, Ordering::SeqCst);
        Self { shared: shared.clone(), finished: false }
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
        if !self.finished {
            self.shared.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}
