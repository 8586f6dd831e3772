//! The list of engines, and its readers.
//!
//! Each engine's own task decides what is true of it and writes that here; a write is a comparison and an assignment.
//! Readers follow a `tokio::sync::watch` channel: they always get the newest list, and a slow one skips what it missed.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use remora_types::EngineId;
use remora_types::engines::{Capabilities, Engine, EngineLimits, EngineList, EngineState};
use tokio::sync::watch;

use crate::config::EngineDefinition;

/// The list of engines; cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    list: Arc<watch::Sender<Arc<EngineList>>>,
}

impl Registry {
    /// Every defined engine, none heard from yet.
    ///
    /// The revision begins at the time in milliseconds, so that it grows across restarts of model-manager too.
    pub fn new(definitions: &[EngineDefinition]) -> Self {
        let now = Timestamp::now();
        let mut engines: Vec<Engine> = definitions.iter().map(|definition| unheard(definition, now)).collect();
        engines.sort_by(|a, b| (a.slot.is_none(), a.slot, &a.id).cmp(&(b.slot.is_none(), b.slot, &b.id)));
        let list = EngineList { revision: now_unix_ms(), engines };
        Self { list: Arc::new(watch::Sender::new(Arc::new(list))) }
    }

    /// The list as it is.
    pub fn list(&self) -> Arc<EngineList> {
        self.list.borrow().clone()
    }

    /// One engine.
    pub fn get(&self, id: &EngineId) -> Option<Engine> {
        self.list.borrow().engines.iter().find(|engine| engine.id == *id).cloned()
    }

    /// The list now and after every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<EngineList>> {
        self.list.subscribe()
    }

    /// Changes one engine. Readers hear of it only if something is different after `change`; `since` and the revision
    /// are kept here.
    pub(crate) fn update(&self, id: &EngineId, change: impl FnOnce(&mut Engine)) {
        self.list.send_if_modified(|list| {
            let Some(index) = list.engines.iter().position(|engine| engine.id == *id) else { return false };
            let before = &list.engines[index];
            let mut after = before.clone();
            change(&mut after);
            if after == *before {
                return false;
            }
            if after.state != before.state {
                after.since = Timestamp::now();
                tell(before, &after);
            }
            let list = Arc::make_mut(list);
            list.engines[index] = after;
            list.revision += 1;
            true
        });
    }

    /// Why no engine can answer; empty when at least one can.
    pub(crate) fn unready(&self) -> Vec<String> {
        let list = self.list();
        if list.engines.iter().any(|engine| engine.state == EngineState::Ready) {
            return Vec::new();
        }
        if list.engines.is_empty() {
            return vec!["no engine is configured: set [model_manager] engines".into()];
        }
        let reason = |engine: &Engine| {
            let detail = engine.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
            format!("engine {} is {}{detail}", engine.id, engine.state)
        };
        list.engines.iter().map(reason).collect()
    }
}

fn unheard(definition: &EngineDefinition, now: Timestamp) -> Engine {
    Engine {
        id: definition.id.clone(),
        address: definition.address.clone(),
        slot: definition.slot,
        state: EngineState::Initializing,
        since: now,
        detail: None,
        generation: 0,
        models: Vec::new(),
        limits: EngineLimits::default(),
        capabilities: Capabilities::default(),
    }
}

/// The one place where a change of state is logged.
fn tell(before: &Engine, after: &Engine) {
    let (engine, generation, detail) = (&after.id, after.generation, after.detail.as_deref().unwrap_or_default());
    match after.state {
        EngineState::Failed => tracing::warn!(%engine, generation, detail, "engine failed (was {})", before.state),
        EngineState::Ready => {
            let models: Vec<&str> = after.models.iter().map(|model| model.id.as_str()).collect();
            tracing::info!(%engine, generation, ?models, "engine ready (was {})", before.state);
        }
        state => tracing::info!(%engine, generation, detail, "engine {state} (was {})", before.state),
    }
}

/// Milliseconds since 1970: where counters begin that must also grow across restarts, however quick.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use remora_types::engines::EngineAddress;

    use super::*;

    fn definition(id: &str, slot: Option<u16>, port: u16) -> EngineDefinition {
        let address = EngineAddress::loopback(port);
        EngineDefinition { slot, ..EngineDefinition::adopted(id.parse().unwrap(), address) }
    }

    #[test]
    fn engines_stand_by_slot_then_id() {
        let registry = Registry::new(&[
            definition("z", None, 1),
            definition("slot-1", Some(1), 2),
            definition("a", None, 3),
            definition("slot-0", Some(0), 4),
        ]);
        let ids: Vec<String> = registry.list().engines.iter().map(|e| e.id.to_string()).collect();
        assert_eq!(ids, ["slot-0", "slot-1", "a", "z"]);
    }

    #[test]
    fn only_real_changes_are_published() {
        let registry = Registry::new(&[definition("a", None, 1)]);
        let id = "a".parse().unwrap();
        let mut reader = registry.subscribe();
        let first = reader.borrow_and_update().revision;
        registry.update(&id, |engine| engine.state = EngineState::Initializing);
        registry.update(&"b".parse().unwrap(), |engine| engine.generation = 7);
        assert!(!reader.has_changed().unwrap());
        let since = registry.get(&id).unwrap().since;
        registry.update(&id, |engine| engine.detail = Some("still away".into()));
        assert!(reader.has_changed().unwrap());
        assert_eq!(registry.list().revision, first + 1);
        assert_eq!(registry.get(&id).unwrap().since, since, "the state is the same");
    }

    #[test]
    fn unready_says_which_and_why() {
        assert_eq!(Registry::new(&[]).unready(), ["no engine is configured: set [model_manager] engines"]);
        let registry = Registry::new(&[definition("a", None, 1), definition("b", None, 2)]);
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        registry.update(&a, |engine| {
            engine.state = EngineState::Failed;
            engine.detail = Some("out of memory".into());
        });
        assert_eq!(registry.unready(), ["engine a is failed: out of memory", "engine b is initializing"]);
        registry.update(&b, |engine| engine.state = EngineState::Ready);
        assert_eq!(registry.unready(), Vec::<String>::new());
    }
}
