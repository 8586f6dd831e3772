//! Keeps every engine: one task each, which watches it, and starts and stops it where that is ours to do.

mod adopted;
mod backoff;
mod driver;
mod output;
mod process;
mod supervised;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use remora_api_client::InvalidServer;
use remora_api_client::engine::{EngineClient, Seen};
use remora_service::{Stop, TaskResult};
use remora_types::EngineId;
use remora_types::engines::{Engine, EngineState};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Config, EngineDefinition};
use crate::registry::Registry;
use adopted::Adopted;
use supervised::Supervised;

pub use driver::{Driver, Instance, StartError};
pub use process::ProcessDriver;

/// Tells the keepers of supervised engines what to do; cheap to clone.
#[derive(Debug, Clone)]
pub struct Supervisor {
    supervised: Arc<BTreeMap<EngineId, Handle>>,
}

#[derive(Debug)]
struct Handle {
    commands: mpsc::Sender<Command>,
    vitals: Arc<Vitals>,
}

/// What a keeper can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Restart,
}

/// The process of a supervised engine, told by its keeper.
#[derive(Debug, Default)]
struct Vitals {
    /// 0 while there is none.
    pid: AtomicU32,
    restarts: AtomicU32,
}

/// The process of a supervised engine, for `/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VitalSigns {
    /// Its process id; null between two lives, and where it has none on this machine.
    pub pid: Option<u32>,
    /// How often it was started again, for whatever reason.
    pub restarts: u32,
}

/// A restart that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RestartError {
    /// It runs elsewhere.
    #[error("engine {id} was not started by model-manager; restart it where it runs")]
    Adopted {
        /// The engine.
        id: EngineId,
    },
    /// Its keeper has ended.
    #[error("model-manager is stopping")]
    Stopping,
}

impl Supervisor {
    /// The supervisor, and its work.
    pub(crate) fn new(config: &Config, registry: &Registry) -> (Self, Keepers) {
        let (mut supervised, mut keepers) = (BTreeMap::new(), Vec::new());
        for definition in &config.engines {
            let keeper: Box<dyn Keep> = match EngineClient::new(&definition.address) {
                Err(error) => Box::new(Unusable { id: definition.id.clone(), registry: registry.clone(), error }),
                Ok(client) => match driver(definition) {
                    None => Box::new(Adopted::new(definition.id.clone(), registry.clone(), client, config)),
                    Some(driver) => {
                        // One seat: a second restart asked for before the first has begun is the same restart.
                        let (commands, inbox) = mpsc::channel(1);
                        let vitals = Arc::<Vitals>::default();
                        let handle = Handle { commands, vitals: vitals.clone() };
                        supervised.insert(definition.id.clone(), handle);
                        let entry = supervised::Entry { id: definition.id.clone(), registry: registry.clone(), vitals };
                        Box::new(Supervised::new(entry, driver, client, inbox, config))
                    }
                },
            };
            keepers.push(keeper);
        }
        (Self { supervised: Arc::new(supervised) }, Keepers(keepers))
    }

    /// Stops a supervised engine and starts it again; returns when its keeper has been told.
    pub(crate) fn restart(&self, id: &EngineId) -> Result<(), RestartError> {
        let handle = self.supervised.get(id).ok_or_else(|| RestartError::Adopted { id: id.clone() })?;
        match handle.commands.try_send(Command::Restart) {
            Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(RestartError::Stopping),
        }
    }

    /// The processes of the supervised engines.
    pub(crate) fn vitals(&self) -> BTreeMap<EngineId, VitalSigns> {
        self.supervised.iter().map(|(id, handle)| (id.clone(), handle.vitals.read())).collect()
    }
}

impl Vitals {
    fn read(&self) -> VitalSigns {
        let pid = self.pid.load(Ordering::Relaxed);
        VitalSigns { pid: (pid != 0).then_some(pid), restarts: self.restarts.load(Ordering::Relaxed) }
    }
}

/// The driver of an engine that is ours to start.
fn driver(definition: &EngineDefinition) -> Option<Box<dyn Driver>> {
    let command = definition.command.clone()?;
    Some(Box::new(ProcessDriver {
        engine: definition.id.clone(),
        address: definition.address.clone(),
        command,
        environment: definition.environment.clone(),
        stdin: definition.stdin,
    }))
}

/// The work of keeping one engine, until the process closes.
trait Keep: Send {
    fn keep(self: Box<Self>, stop: Stop) -> BoxFuture<'static, ()>;
}

/// The work of keeping every engine.
pub(crate) struct Keepers(Vec<Box<dyn Keep>>);

impl Keepers {
    /// Keeps every engine until the process closes; returns when all have stopped.
    pub(crate) async fn run(self, stop: Stop) -> TaskResult {
        let mut tasks = JoinSet::new();
        for keeper in self.0 {
            tasks.spawn(keeper.keep(stop.clone()));
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

/// An engine whose address passes for one but cannot be called.
struct Unusable {
    id: EngineId,
    registry: Registry,
    error: InvalidServer,
}

impl Keep for Unusable {
    fn keep(self: Box<Self>, _: Stop) -> BoxFuture<'static, ()> {
        self.registry.update(&self.id, |engine| set(engine, EngineState::Failed, Some(self.error.to_string())));
        Box::pin(std::future::ready(()))
    }
}

fn set(engine: &mut Engine, state: EngineState, detail: Option<String>) {
    engine.state = state;
    engine.detail = detail;
}

/// Takes over what a ready engine serves, does and holds. What a failed one served is kept until then: its models are
/// unavailable, not unknown.
fn set_ready(engine: &mut Engine, seen: Seen) {
    set(engine, EngineState::Ready, None);
    engine.models = seen.models;
    engine.limits = seen.facts.limits;
    engine.capabilities = seen.facts.capabilities;
}
