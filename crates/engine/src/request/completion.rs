//! Completion requests.

use remora_protocol::openai::{CompletionRequest, Prompt};

use super::limits::{Wishes, check_supported, check_text_length, finish, guide};
use super::{RequestError, not_supported};
use crate::llama::Token;
use crate::sampling::InvalidParams;
use crate::scheduler::{GenerateRequest, Loaded};

/// What completions generate when they do not say; `OpenAI`'s default of old.
const MAX_TOKENS: i64 = 16;

/// A completion request that can be answered.
#[derive(Debug)]
pub(crate) struct PreparedCompletion {
    /// One for each prompt.
    pub(crate) prompts: Vec<GenerateRequest>,
    pub(crate) echo: Echo,
}

/// What of the prompts stands in the answers.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// The texts of the prompts; empty unless they were asked for.
    texts: Vec<String>,
    /// Nothing else does: `max_tokens` was 0, for which a token is generated all the same.
    only: bool,
}

impl Echo {
    /// The beginning of an answer to a prompt.
    pub(crate) fn begin(&self, prompt: usize, text: String) -> String {
        match self.texts.get(prompt) {
            Some(echo) => format!("{echo}{}", self.go_on(text)),
            None => text,
        }
    }

    /// What follows it.
    pub(crate) fn go_on(&self, text: String) -> String {
        if self.only { String::new() } else { text }
    }
}

/// Checks a completion request and makes its prompts. Takes time with long ones: not for an async thread.
pub(crate) fn prepare_completion(
    request: &CompletionRequest,
    loaded: &Loaded,
) -> Result<PreparedCompletion, RequestError> {
    check(request)?;
    let echoes = request.echo == Some(true);
    let only = echoes && request.max_tokens == Some(0);
    let wishes = Wishes {
        max_tokens: Some(if only { 1 } else { request.max_tokens.unwrap_or(MAX_TOKENS) }),
        max_tokens_param: "max_tokens",
        logprobs: request.logprobs,
        guide: guide(&request.sampling, loaded)?,
    };
    let prompts = prompts(request, loaded)?;
    // Who gets the tokens gets no text, as in vLLM.
    let as_text = request.sampling.return_token_ids != Some(true);
    let text = |given: &Given| match given.text {
        _ if !as_text => String::new(),
        Some(text) => text.to_owned(),
        None => loaded.model.detokenize(&given.tokens),
    };
    let texts = if echoes { prompts.iter().map(text).collect() } else { Vec::new() };
    let finish = |given: Given| finish(given.tokens, &request.sampling, &wishes, loaded);
    let prompts = prompts.into_iter().map(finish).collect::<Result<_, _>>()?;
    Ok(PreparedCompletion { prompts, echo: Echo { texts, only } })
}

fn check(request: &CompletionRequest) -> Result<(), RequestError> {
    check_supported(&request.sampling)?;
    if request.stream_options.is_some() && request.stream != Some(true) {
        let message = "Stream options can only be defined when `stream=True`.";
        return Err(InvalidParams::new("stream_options", message).into());
    }
    if let Some(wanted) = request.logprobs.filter(|&wanted| wanted < -1) {
        let message = "`logprobs` must be a positive value or -1.";
        return Err(InvalidParams::new("logprobs", message).with_value(wanted).into());
    }
    if request.echo == Some(true) && request.logprobs.is_some() {
        // It would need those of the prompt.
        return Err(not_supported("echo", "echo with logprobs"));
    }
    if request.best_of.is_some_and(|best_of| best_of > 1) {
        return Err(not_supported("best_of", "best_of greater than 1"));
    }
    if request.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(not_supported("suffix", "suffix"));
    }
    if request.prompt_embeds.as_ref().is_some_and(|embeds| !embeds.is_null()) {
        return Err(not_supported("prompt_embeds", "prompt_embeds"));
    }
    Ok(())
}

/// One prompt.
struct Given<'a> {
    /// Its text, where it came as one.
    text: Option<&'a str>,
    tokens: Vec<Token>,
}

fn prompts<'a>(request: &'a CompletionRequest, loaded: &Loaded) -> Result<Vec<Given<'a>>, RequestError> {
    let empty = || InvalidParams::new("prompt", "Either prompt or prompt_embeds must be provided and non-empty.");
    let add_special = request.add_special_tokens.unwrap_or(true);
    let of_text = |text: &'a String| Ok(Given { text: Some(text), tokens: text_tokens(text, add_special, loaded)? });
    let of_ids = |ids: &Vec<i64>| Ok(Given { text: None, tokens: known_tokens(ids, loaded)? });
    match request.prompt.as_ref().ok_or_else(empty)? {
        Prompt::Text(text) if text.is_empty() => Err(empty().into()),
        Prompt::Text(text) => Ok(vec![of_text(text)?]),
        Prompt::Tokens(ids) if ids.is_empty() => {
            Err(InvalidParams::new(None, "You must pass at least one prompt").into())
        }
        Prompt::Tokens(ids) => Ok(vec![of_ids(ids)?]),
        Prompt::Texts(texts) => texts.iter().map(of_text).collect(),
        Prompt::TokenLists(lists) => lists.iter().map(of_ids).collect(),
    }
}

/// The tokens of a text; special tokens that stand in it are read as such, as vLLM does here.
fn text_tokens(text: &str, add_special: bool, loaded: &Loaded) -> Result<Vec<Token>, RequestError> {
    check_text_length(std::iter::once(text), loaded)?;
    Ok(loaded.model.tokenize(text, add_special))
}

/// Ids that the model has.
pub(super) fn known_tokens(ids: &[i64], loaded: &Loaded) -> Result<Vec<Token>, RequestError> {
    let vocabulary = loaded.model.vocabulary();
    ids.iter()
        .map(|&id| {
            vocabulary
                .check(id)
                .ok_or_else(|| InvalidParams::new(None, format!("Token id {id} is out of vocabulary")).into())
        })
        .collect()
}
