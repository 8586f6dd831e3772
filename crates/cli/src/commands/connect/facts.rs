//! What the settings say: where the gateway is, which models it has, and where the key is to be had.

use std::path::{Path, PathBuf};

use remora_api_client::Client;
use remora_types::engines::{Capability, Engine, EngineModel};

use crate::failure::{Exit, Failure};
use crate::key;

/// What a client is told of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// `http://host:port`
    pub(super) server: String,
    /// The model to use first, then the others.
    pub(super) models: Vec<Model>,
    pub(super) key: Key,
    /// Whether the model's engine has the Responses API.
    pub(super) responses: bool,
}

/// A model and its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) id: String,
    /// Longest prompt and answer together, in tokens, where the gateway knows it.
    pub(super) context: Option<u32>,
}

/// Where the key is; never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// None is needed here; programs that insist on one get any text.
    None,
    /// In the environment.
    Variable,
    /// In a file.
    File(PathBuf),
}

impl Key {
    /// The key's place, from the same options with which this program finds it.
    pub(super) fn find(file: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(file) = file {
            // Other programs are started elsewhere.
            return Ok(Self::File(std::path::absolute(file)?));
        }
        let set = std::env::var_os(key::VARIABLE).is_some_and(|value| !value.is_empty());
        Ok(if set { Self::Variable } else { Self::None })
    }
}

impl Model {
    /// Room for an answer: a quarter of the context, and no more than programs ask for.
    pub(super) fn answer(&self) -> Option<u32> {
        self.context.map(|context| (context / 4).clamp(1, 32_000))
    }
}

impl Facts {
    /// The model to use.
    pub(super) fn model(&self) -> &Model {
        &self.models[0]
    }

    /// Asks the gateway. With a `wanted` model there is no other.
    pub(super) async fn ask(gateway: &Client, wanted: Option<&str>, key: Key) -> anyhow::Result<Self> {
        let listed = gateway.models().await?;
        // Only for advice: a server that is no gateway of ours has no such thing.
        let status = gateway.gateway_status().await;
        let engines: Vec<_> = status.map(|status| status.engines).unwrap_or_default();
        let engines: Vec<Engine> = engines.into_iter().map(|load| load.engine).collect();
        let chosen = choose(&listed, wanted, &engines)?;
        let mut models: Vec<Model> = listed.iter().map(|model| of_listed(model, &listed)).collect();
        let first = models.remove(chosen);
        if wanted.is_some() {
            models.clear();
        }
        let responses = serves(&engines, &first.id, Capability::Responses);
        models.insert(0, first);
        Ok(Self { server: gateway.server(), models, key, responses })
    }
}

/// The model's place in the list.
fn choose(listed: &[EngineModel], wanted: Option<&str>, engines: &[Engine]) -> Result<usize, Failure> {
    if listed.is_empty() {
        let failure = Failure::new(Exit::NotRunning, "the gateway has no model yet");
        return Err(match waiting(engines) {
            Some(why) => failure.hint(why),
            None => failure.hint("it knows no engine: `remora up` starts one"),
        });
    }
    let Some(wanted) = wanted else { return Ok(0) };
    listed.iter().position(|model| model.id.as_str() == wanted).ok_or_else(|| unknown(wanted, listed))
}

/// A model that is not there, with those that are.
pub(crate) fn unknown(wanted: &str, listed: &[EngineModel]) -> Failure {
    let ids: Vec<_> = listed.iter().map(|model| model.id.as_str()).collect();
    Failure::new(Exit::NotFound, format!("the gateway has no model {wanted}"))
        .hint(format!("it has {}", ids.join(", ")))
}

/// What the engines that are not ready are doing.
pub(crate) fn waiting(engines: &[Engine]) -> Option<String> {
    let told = engines.iter().map(|engine| match &engine.detail {
        Some(detail) => format!("engine {} is {}: {detail}", engine.id, engine.state),
        None => format!("engine {} is {}", engine.id, engine.state),
    });
    let told: Vec<_> = told.collect();
    (!told.is_empty()).then(|| told.join("; "))
}

fn of_listed(model: &EngineModel, listed: &[EngineModel]) -> Model {
    // An adapter has the context of what it was made for.
    let parent = listed.iter().find(|other| Some(other.id.as_str()) == model.parent.as_deref());
    let context = model.max_model_len.or_else(|| parent.and_then(|parent| parent.max_model_len));
    Model { id: model.id.to_string(), context }
}

/// Whether an engine with this model can do this; yes where nothing is known.
fn serves(engines: &[Engine], model: &str, capability: Capability) -> bool {
    let has = |engine: &&Engine| engine.models.iter().any(|m| m.id.as_str() == model);
    let mut with = engines.iter().filter(has).peekable();
    with.peek().is_none() || with.any(|engine| engine.capabilities.has(capability))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: &str, parent: Option<&str>, length: Option<u32>) -> EngineModel {
        EngineModel { id: id.parse().unwrap(), root: None, parent: parent.map(Into::into), max_model_len: length }
    }

    #[test]
    fn an_adapter_has_its_parents_context() {
        let listed = [model("base", None, Some(4096)), model("lint", Some("base"), None), model("odd", None, None)];
        let context = |index: usize| of_listed(&listed[index], &listed).context;
        assert_eq!([context(0), context(1), context(2)], [Some(4096), Some(4096), None]);
    }

    #[test]
    fn a_model_that_is_not_there_is_told_with_the_list() {
        let listed = [model("a", None, None), model("b", None, None)];
        assert_eq!(choose(&listed, None, &[]).unwrap(), 0);
        assert_eq!(choose(&listed, Some("b"), &[]).unwrap(), 1);
        let failure = choose(&listed, Some("c"), &[]).unwrap_err();
        assert_eq!((failure.exit, failure.hint.as_deref()), (Exit::NotFound, Some("it has a, b")));
        assert_eq!(choose(&[], None, &[]).unwrap_err().exit, Exit::NotRunning);
    }

    #[test]
    fn an_answer_gets_a_quarter_of_the_context() {
        let answer = |context| Model { id: "m".into(), context }.answer();
        assert_eq!(
            [answer(Some(2048)), answer(Some(1 << 20)), answer(Some(1)), answer(None)],
            [Some(512), Some(32_000), Some(1), None]
        );
    }
}
