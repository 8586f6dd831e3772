//! The directory at one moment.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use remora_protocol::openai::{ModelCard, ModelList};
use remora_types::engines::{Capabilities, Capability, Engine, EngineState};
use remora_types::{EngineId, ModelId};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::{DrawError, LookupError};
use super::naming::{DEFAULT, Naming};
use crate::limits::{Admission, Gate};
use crate::metrics::{GatewayMetrics, Meter};
use crate::routing::{self, Candidate};
use crate::upstream::Upstream;

/// Most names that an error message lists.
const LISTED: usize = 20;

/// What this gateway is, for people.
pub(crate) const DESCRIPTION: &str = "Models on this tailnet";

/// Who says that a model is served by an alias of the settings.
const OWNER_OF_ALIASES: &str = "remora";

/// An engine and the connections to it.
#[derive(Debug)]
pub(super) struct EngineEntry {
    pub(super) facts: Engine,
    pub(super) upstream: Arc<Upstream>,
    pub(super) gate: Arc<Gate>,
}

/// One engine's offer of one model.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(super) model: ModelId,
    pub(super) engine: Arc<EngineEntry>,
    pub(super) meter: Meter,
}

/// What engines there are and what they serve. Never changed, only replaced.
#[derive(Debug)]
pub(crate) struct Table {
    /// By slot, then id, as the source gave them.
    engines: Vec<Arc<EngineEntry>>,
    /// Engines in the order of `engines`; never empty.
    models: HashMap<ModelId, Vec<Arc<Offer>>>,
    naming: Arc<Naming>,
    cards: ModelList,
    rendered: Bytes,
    /// Who has not said anything yet.
    unheard: Option<String>,
}

impl Table {
    /// Before the source has spoken.
    pub(super) fn unheard(naming: Arc<Naming>, source: String) -> Self {
        Self { unheard: Some(source), ..Self::of(Vec::new(), HashMap::new(), naming) }
    }

    /// These engines, in this order.
    pub(super) fn new(engines: Vec<Arc<EngineEntry>>, naming: Arc<Naming>, metrics: &GatewayMetrics) -> Self {
        let mut models: HashMap<ModelId, Vec<Arc<Offer>>> = HashMap::new();
        for engine in &engines {
            for model in engine.facts.models.iter().map(|m| &m.id) {
                let meter = metrics.meter(model, &engine.facts.id);
                let offer = Offer { model: model.clone(), engine: engine.clone(), meter };
                models.entry(model.clone()).or_default().push(Arc::new(offer));
            }
        }
        Self::of(engines, models, naming)
    }

    fn of(engines: Vec<Arc<EngineEntry>>, models: HashMap<ModelId, Vec<Arc<Offer>>>, naming: Arc<Naming>) -> Self {
        let cards = cards(&engines, &naming);
        let mut table = Self { engines, models, naming, cards, rendered: Bytes::new(), unheard: None };
        table.rendered = table.render(&table.cards);
        table
    }

    /// `GET /v1/models`, as JSON.
    pub(crate) fn rendered(&self) -> Bytes {
        self.rendered.clone()
    }

    /// A list of models as JSON, with what Tailscale's launcher reads beside vLLM's fields.
    pub(crate) fn render(&self, list: &ModelList) -> Bytes {
        #[derive(Serialize)]
        struct Listed<'a> {
            #[serde(flatten)]
            card: &'a ModelCard,
            supported_endpoints: Vec<&'static str>,
            metadata: &'a Value,
        }
        let metadata = json!({ "provider": {
            "id": "remora", "name": "Remora", "description": DESCRIPTION, "requires_client_auth": false,
            "upstream": "remora",
        } });
        let listed = |card| Listed { card, supported_endpoints: self.endpoints(card), metadata: &metadata };
        let data: Vec<_> = list.data.iter().map(listed).collect();
        let list = json!({ "object": list.object, "data": data });
        serde_json::to_vec(&list).expect("a list of models is plain data").into()
    }

    /// Which APIs a model answers in.
    fn endpoints(&self, card: &ModelCard) -> Vec<&'static str> {
        let meant = || self.models.get(self.naming.target(&card.id)?);
        let offers = self.models.get(card.id.as_str()).or_else(meant).map_or(&[][..], Vec::as_slice);
        let can = |capability| offers.iter().any(|offer| offer.engine.facts.capabilities.has(capability));
        let paths = [
            (Capability::Chat, "/v1/chat/completions"),
            (Capability::Chat, "/v1/messages"),
            (Capability::Responses, "/v1/responses"),
            (Capability::Completions, "/v1/completions"),
            (Capability::Embeddings, "/v1/embeddings"),
        ];
        paths.into_iter().filter(|(capability, _)| can(*capability)).map(|(_, path)| path).collect()
    }

    /// The same, of some of the models.
    pub(crate) fn list(&self, mut which: impl FnMut(&ModelId) -> bool) -> ModelList {
        let named = |card: &&ModelCard| card.id.parse().is_ok_and(|id| which(&id));
        ModelList { data: self.cards.data.iter().filter(named).cloned().collect(), ..self.cards.clone() }
    }

    /// `GET /v1/models/{name}`
    pub(crate) fn card(&self, name: &str) -> Option<&ModelCard> {
        self.cards.data.iter().find(|card| card.id == name)
    }

    pub(super) fn entry(&self, id: &EngineId) -> Option<&Arc<EngineEntry>> {
        self.engines.iter().find(|engine| engine.facts.id == *id)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &EngineEntry> {
        self.engines.iter().map(AsRef::as_ref)
    }

    /// What is missing before requests can be served.
    pub(super) fn reasons(&self) -> Vec<String> {
        if let Some(source) = &self.unheard {
            return vec![format!("no engine is known yet: {source} has not answered")];
        }
        if self.engines.is_empty() {
            return vec![LookupError::NoEngine.to_string()];
        }
        if self.entries().any(is_ready) {
            return Vec::new();
        }
        let reason = |EngineEntry { facts, .. }: &EngineEntry| match &facts.detail {
            Some(detail) => format!("engine {} is {}: {detail}", facts.id, facts.state),
            None => format!("engine {} is {}", facts.id, facts.state),
        };
        self.entries().map(reason).collect()
    }

    /// Who offers what a request asks for.
    ///
    /// A name is looked for among models and adapters, then among aliases. `default`, an empty name and none at all
    /// mean the settings' default model, else the first model of the first engine that can do it.
    pub(super) fn find(&self, asked: Option<&str>, capability: Capability) -> Result<&[Arc<Offer>], LookupError> {
        let asked = asked.filter(|name| !name.is_empty()).unwrap_or(DEFAULT);
        match self.models.get(asked) {
            Some(offers) => Ok(offers),
            None => self.meant(asked, capability),
        }
    }

    /// A place at one of the engines that are ready, serve the model and can do what is asked.
    pub(super) fn choose(
        &self,
        asked: Option<&str>,
        capability: Capability,
        beginning: impl FnOnce(&ModelId) -> Option<u64>,
    ) -> Result<(Arc<Offer>, Admission), DrawError> {
        let offers = self.find(asked, capability)?;
        let usable = |o: &&Arc<Offer>| is_ready(&o.engine) && o.engine.facts.capabilities.has(capability);
        let mut usable = offers.iter().filter(usable);
        let Some(first) = usable.next() else { return Err(refusal(offers, capability).into()) };
        let Some(second) = usable.next() else {
            return first.enter().ok_or_else(|| busy(vec![first]));
        };
        let usable: Vec<_> = [first, second].into_iter().chain(usable).collect();
        let candidates: Vec<_> = usable.iter().map(|offer| offer.candidate()).collect();
        let order = routing::order(&candidates, beginning(&first.model));
        let place = order.into_iter().find_map(|index| usable[index].enter());
        place.ok_or_else(|| busy(usable))
    }

    /// What a name means that is no model's own.
    fn meant(&self, asked: &str, capability: Capability) -> Result<&[Arc<Offer>], LookupError> {
        let target = if asked == DEFAULT { self.naming.default() } else { self.naming.target(asked) };
        let Some(target) = target else {
            let default = (asked == DEFAULT).then(|| self.first(capability)).flatten();
            return default.ok_or_else(|| self.unknown(asked, None));
        };
        let offers = self.models.get(target).map(Vec::as_slice);
        offers.ok_or_else(|| self.unknown(target.as_str(), Some(asked)))
    }

    /// The first base model of the first engine that can do this now; of any engine where none can.
    fn first(&self, capability: Capability) -> Option<&[Arc<Offer>]> {
        let able = |e: &&EngineEntry| is_ready(e) && e.facts.capabilities.has(capability);
        let base = |e: &EngineEntry| e.facts.models.iter().find(|model| model.parent.is_none()).map(|m| m.id.clone());
        let found = self.entries().filter(able).find_map(base);
        let found = found.or_else(|| self.entries().filter(|e| is_ready(e)).find_map(base));
        let name = found.or_else(|| self.entries().find_map(base))?;
        self.models.get(&name).map(Vec::as_slice)
    }

    /// A model and what the engine can do that would be asked for it, whether or not it is ready.
    pub(crate) fn known(&self, asked: &str, capability: Capability) -> Option<(&ModelId, &Capabilities)> {
        let offers = self.find(Some(asked), capability).ok()?;
        let ready = offers.iter().find(|offer| is_ready(&offer.engine));
        let offer = ready.unwrap_or(offers.first()?);
        Some((&offer.model, &offer.engine.facts.capabilities))
    }

    /// Whether an engine that is ready has `OpenAI`'s Responses API.
    pub(crate) fn has_responses(&self) -> bool {
        self.entries().any(|engine| is_ready(engine) && engine.facts.capabilities.has(Capability::Responses))
    }

    /// A model's own name, for one that is not it: what an alias or `default` stands for, whether or not it is there.
    pub(crate) fn own_name(&self, asked: &str) -> Option<&ModelId> {
        if self.models.contains_key(asked) {
            return None;
        }
        if asked == DEFAULT { self.naming.default() } else { self.naming.target(asked) }
    }

    /// Whether a name means nothing here, as far as is known once the engines are.
    pub(crate) fn is_foreign(&self, name: &str) -> bool {
        let meant = name.is_empty() || name == DEFAULT || self.naming.target(name).is_some();
        self.unheard.is_none() && !meant && !self.models.contains_key(name)
    }

    /// Why there is nothing under a name.
    pub(crate) fn unknown(&self, name: &str, via: Option<&str>) -> LookupError {
        if let Some(source) = &self.unheard {
            return LookupError::Unheard(format!("{source} has not answered"));
        }
        if self.engines.is_empty() {
            return LookupError::NoEngine;
        }
        let silent = |e: &&EngineEntry| {
            e.facts.models.is_empty() && !matches!(e.facts.state, EngineState::Ready | EngineState::Stopped)
        };
        if let Some(EngineEntry { facts, .. }) = self.entries().find(silent) {
            return LookupError::NotYetKnown {
                name: cut(name),
                engine: facts.id.clone(),
                state: facts.state,
                detail: facts.detail.clone(),
            };
        }
        LookupError::UnknownModel { name: cut(name), via: via.map(cut), known: self.listed() }
    }

    fn listed(&self) -> String {
        let mut text = String::new();
        for (index, card) in self.cards.data.iter().take(LISTED).enumerate() {
            let _ = write!(text, "{}{}", if index > 0 { ", " } else { "" }, card.id);
        }
        match self.cards.data.len() {
            0 => text.push_str("none"),
            count if count > LISTED => drop(write!(text, " and {} more", count - LISTED)),
            _ => {}
        }
        text
    }
}

/// A client's name, at a length that a message can hold.
fn cut(name: &str) -> String {
    name.chars().take(256).collect()
}

impl Offer {
    fn enter(self: &Arc<Self>) -> Option<(Arc<Self>, Admission)> {
        self.engine.gate.enter().map(|place| (self.clone(), place))
    }

    fn candidate(&self) -> Candidate<'_> {
        let EngineEntry { facts, gate, .. } = &*self.engine;
        Candidate { id: facts.id.as_str(), load: gate.inside(), slots: facts.limits.slots }
    }

    /// The way in to its engine.
    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.engine.gate
    }

    /// The model's own name.
    pub(crate) fn model(&self) -> &ModelId {
        &self.model
    }
}

/// Why none of these engines takes a request now.
fn busy(offers: Vec<&Arc<Offer>>) -> DrawError {
    let resting = |offer: &&Arc<Offer>| offer.engine.gate.breaker().resting();
    if offers.iter().all(|offer| resting(offer).is_some()) {
        let soonest = offers.into_iter().min_by_key(resting).expect("offers are never none");
        return DrawError::Lookup(LookupError::Resting {
            model: soonest.model.clone(),
            engine: soonest.engine.facts.id.clone(),
            after: resting(&soonest).unwrap_or_default(),
        });
    }
    DrawError::Busy(offers.into_iter().cloned().collect())
}

fn is_ready(engine: &EngineEntry) -> bool {
    engine.facts.state == EngineState::Ready
}

/// Why none of a model's engines can take a request.
fn refusal(offers: &[Arc<Offer>], capability: Capability) -> LookupError {
    // An engine that is not ready may not have said yet what it can do.
    let may_come = |o: &&Arc<Offer>| {
        let facts = &o.engine.facts;
        !is_ready(&o.engine) && (facts.capabilities.0.is_empty() || facts.capabilities.has(capability))
    };
    let model = offers[0].model.clone();
    match offers.iter().find(may_come) {
        Some(offer) => {
            let facts = &offer.engine.facts;
            LookupError::NotReady { model, engine: facts.id.clone(), state: facts.state, detail: facts.detail.clone() }
        }
        None => LookupError::Unsupported { model, capability },
    }
}

/// Every model that can be asked for: engines' own, each once, then aliases of them.
fn cards(engines: &[Arc<EngineEntry>], naming: &Naming) -> ModelList {
    let mut cards: Vec<ModelCard> = Vec::new();
    for engine in engines.iter().filter(|e| e.facts.state != EngineState::Stopped) {
        for model in &engine.facts.models {
            if cards.iter().all(|card| card.id != model.id.as_str()) {
                cards.push(ModelCard {
                    id: model.id.to_string(),
                    object: "model".to_owned(),
                    // Of the engine's last change: a time that does not move between two calls.
                    created: u64::try_from(engine.facts.since.as_second()).unwrap_or_default(),
                    owned_by: engine.facts.id.to_string(),
                    root: model.root.clone(),
                    parent: model.parent.clone(),
                    max_model_len: model.max_model_len,
                    permission: Vec::new(),
                });
            }
        }
    }
    let models = cards.len();
    for (alias, target) in naming.aliases() {
        let shadowed = cards.iter().any(|card| card.id == alias.as_str());
        let Some(card) = cards[..models].iter().find(|card| card.id == target.as_str()) else { continue };
        if !shadowed {
            let root = Some(target.to_string());
            let card = ModelCard { id: alias.to_string(), owned_by: OWNER_OF_ALIASES.to_owned(), root, ..card.clone() };
            cards.push(card);
        }
    }
    ModelList::new(cards)
}
