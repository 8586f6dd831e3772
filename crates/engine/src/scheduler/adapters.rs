//! Adapters that are loaded: who holds them, and under which name they are asked for.
//!
//! An adapter is held by the list and by every request that uses it. When the last of them lets go, its memory is
//! freed, by the engine's thread, between two steps. So unloading is taking a name off the list: who has the adapter
//! already keeps it to the end, and nobody counts.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::worker::Command;
use super::{Engine, EngineState, Loaded};
use crate::adapter::{self, AdapterError};
use crate::llama::{AdapterId, AdapterLoadError};

/// An adapter in the engine's memory, for as long as this is held.
#[derive(Debug)]
pub(crate) struct HeldAdapter {
    id: AdapterId,
    /// The name it was loaded under.
    name: String,
    /// Weak: an adapter does not keep a stopped engine waiting for work.
    commands: mpsc::WeakUnboundedSender<Command>,
    /// Closed once the memory is free.
    freed: Option<oneshot::Sender<()>>,
}

impl HeldAdapter {
    pub(super) fn new(
        id: AdapterId,
        name: &str,
        commands: &mpsc::UnboundedSender<Command>,
    ) -> (Self, oneshot::Receiver<()>) {
        let (freed, told) = oneshot::channel();
        (Self { id, name: name.to_owned(), commands: commands.downgrade(), freed: Some(freed) }, told)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self) -> AdapterId {
        self.id
    }
}

impl Drop for HeldAdapter {
    fn drop(&mut self) {
        if let Some(commands) = self.commands.upgrade() {
            // Nobody there means that the thread has ended, and freed everything.
            let _ = commands.send(Command::Free(self.id, self.freed.take()));
        }
    }
}

impl PartialEq for HeldAdapter {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

/// Why an adapter was not loaded or unloaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdaptersError {
    #[error(
        "The lora adapter '{0}' has already been loaded. If you want to load the adapter in place, set 'load_inplace' \
         to True."
    )]
    NameTaken(String),
    #[error("The lora adapter '{0}' conflicts with a served base model.")]
    IsBaseModel(String),
    #[error("The lora adapter '{0}' cannot be found.")]
    Unknown(String),
    #[error("Loading lora {name} failed: {source}")]
    NotFound { name: String, source: AdapterError },
    #[error("Call to add_lora method failed: {0}")]
    Unusable(AdapterError),
    #[error("Call to add_lora method failed: {0}")]
    Refused(#[source] AdapterLoadError),
    #[error(
        "Call to add_lora method failed: {0} adapters are loaded already, the most that --max-loras allows. Unload one \
         first."
    )]
    Full(usize),
    #[error("the engine has stopped")]
    Stopped,
    #[error("reading the adapter broke off")]
    Broken(#[source] tokio::task::JoinError),
}

/// An adapter as `/v1/models` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedAdapter {
    pub(crate) name: String,
    /// The path it was loaded from, as it was given.
    pub(crate) path: String,
}

/// How many adapters there may be, and how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdapterLimits {
    pub(crate) adapters: usize,
    pub(crate) rank: u32,
}

/// The list of adapters; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Adapters(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    base_names: Arc<[String]>,
    limits: AdapterLimits,
    /// In order of loading. Never locked while anything is waited for.
    list: Mutex<Vec<Entry>>,
    /// Held by whoever changes the list: what was checked before the files were read still holds afterwards, and only
    /// one adapter at a time takes memory twice.
    change: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Entry {
    listed: ListedAdapter,
    adapter: Arc<HeldAdapter>,
    freed: oneshot::Receiver<()>,
}

impl Adapters {
    pub(crate) fn new(engine: Engine, base_names: Arc<[String]>, limits: AdapterLimits) -> Self {
        Self(Arc::new(Shared {
            engine,
            base_names,
            limits,
            list: Mutex::default(),
            change: tokio::sync::Mutex::default(),
        }))
    }

    /// The adapter of this name.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<HeldAdapter>> {
        self.with_list(|list| find(list, name).map(|index| list[index].adapter.clone()))
    }

    /// Every adapter, in order of loading.
    pub(crate) fn list(&self) -> Vec<ListedAdapter> {
        self.with_list(|list| list.iter().map(|entry| entry.listed.clone()).collect())
    }

    /// Loads an adapter under a name that is free, or in place of the one that has it. Everything of its files is in
    /// memory afterwards; a failure changes nothing.
    pub(crate) async fn load(&self, name: &str, path: &str, in_place: bool) -> Result<(), AdaptersError> {
        let Shared { engine, base_names, limits, change, .. } = &*self.0;
        let _only_change = change.lock().await;
        if base_names.iter().any(|base| base == name) {
            return Err(AdaptersError::IsBaseModel(name.to_owned()));
        }
        let (taken, count) = self.with_list(|list| (find(list, name).is_some(), list.len()));
        if taken && !in_place {
            return Err(AdaptersError::NameTaken(name.to_owned()));
        }
        if !taken && count >= limits.adapters {
            return Err(AdaptersError::Full(limits.adapters));
        }
        let EngineState::Ready(loaded) = engine.state() else { return Err(AdaptersError::Stopped) };
        let gguf = read(name, path, loaded, limits.rank).await?;
        let (adapter, freed) = engine.load_adapter(name, gguf).await?;
        let listed = ListedAdapter { name: name.to_owned(), path: path.to_owned() };
        let entry = Entry { listed, adapter: Arc::new(adapter), freed };
        self.with_list(|list| match find(list, name) {
            Some(index) => drop(std::mem::replace(&mut list[index], entry)),
            None => list.push(entry),
        });
        tracing::info!(name, path, "adapter loaded");
        Ok(())
    }

    /// Takes an adapter off the list, at once, and waits until the requests that have it are done and its memory is
    /// free. Giving up the wait changes nothing of that.
    pub(crate) async fn unload(&self, name: &str) -> Result<(), AdaptersError> {
        let only_change = self.0.change.lock().await;
        let entry = self.with_list(|list| find(list, name).map(|index| list.remove(index)));
        drop(only_change);
        let Some(Entry { adapter, freed, .. }) = entry else { return Err(AdaptersError::Unknown(name.to_owned())) };
        drop(adapter);
        // It is never sent, only closed.
        let _ = freed.await;
        tracing::info!(name, "adapter unloaded");
        Ok(())
    }

    fn with_list<T>(&self, work: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        work(&mut self.0.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn find(list: &[Entry], name: &str) -> Option<usize> {
    list.iter().position(|entry| entry.listed.name == name)
}

/// The adapter's files as one that llama.cpp may be given.
async fn read(name: &str, path: &str, loaded: Arc<Loaded>, max_rank: u32) -> Result<Vec<u8>, AdaptersError> {
    let owned = path.to_owned();
    let work = move || adapter::read(&owned, &loaded.model.as_base(), max_rank).map(|weights| weights.to_gguf());
    tokio::task::spawn_blocking(work).await.map_err(AdaptersError::Broken)?.map_err(|error| match error {
        AdapterError::NotFound(_) => AdaptersError::NotFound { name: name.to_owned(), source: error },
        AdapterError::Unusable(_) => AdaptersError::Unusable(error),
    })
}
