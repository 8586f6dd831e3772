//! Lengths and stops: what bounds an answer.

use remora_protocol::openai::{BodyError, SamplingFields};

use super::{RequestError, not_supported};
use crate::constraint::{Grammars, Guide, InvalidConstraint, constraint_of};
use crate::llama::{Token, Vocabulary};
use crate::sampling::{InvalidParams, SamplingParams, out_of_vocabulary};
use crate::scheduler::{CachedTokens, GenerateRequest, Loaded};

/// Most stop texts; vLLM's own limit is 4, `OpenAI`'s too, and agents send more.
const MAX_STOPS: usize = 16;
/// Most answers to a prompt; `OpenAI`'s limit. vLLM's own, 16384, would fill the queue with one request.
const MAX_ANSWERS: i64 = 128;
/// Most candidates per token, as in vLLM.
const MAX_LOGPROBS: i64 = 20;

/// The parts of a request that chat and completions name differently.
pub(super) struct Wishes {
    /// Most tokens to generate; none leaves it to the context.
    pub(super) max_tokens: Option<i64>,
    /// The field that said so.
    pub(super) max_tokens_param: &'static str,
    /// Candidates per token, if log probabilities are wanted.
    pub(super) logprobs: Option<i64>,
    /// The form of the answer, if it has to have one.
    pub(super) guide: Option<Guide>,
}

/// Refuses what cannot be done, before any work is put into the prompt.
pub(super) fn check_supported(fields: &SamplingFields) -> Result<(), RequestError> {
    if let Some(n) = fields.n.filter(|&n| n < 1) {
        return Err(InvalidParams::new(None, format!("n must be at least 1, got {n}.")).into());
    }
    if let Some(n) = fields.n.filter(|&n| n > MAX_ANSWERS) {
        return Err(InvalidParams::new(None, format!("n must be at most {MAX_ANSWERS}, got {n}.")).into());
    }
    if fields.use_beam_search == Some(true) {
        return Err(not_supported("use_beam_search", "Beam search"));
    }
    if fields.bad_words.as_ref().is_some_and(|words| !words.is_empty()) {
        return Err(not_supported("bad_words", "bad_words"));
    }
    if fields.prompt_logprobs.is_some() {
        return Err(not_supported("prompt_logprobs", "prompt_logprobs"));
    }
    if fields.truncate_prompt_tokens.is_some() {
        return Err(not_supported("truncate_prompt_tokens", "truncate_prompt_tokens"));
    }
    Ok(())
}

/// Refuses a text that cannot fit whatever its tokens are, before they are counted.
pub(super) fn check_text_length<'a>(texts: impl Iterator<Item = &'a str>, loaded: &Loaded) -> Result<(), RequestError> {
    let length: usize = texts.map(str::len).sum();
    let most = loaded.max_model_len as usize * loaded.model.vocabulary().longest();
    if length <= most {
        return Ok(());
    }
    let limit = loaded.max_model_len;
    let message = format!(
        "This model's maximum context length is {limit} tokens. However, your prompt contains {length} characters \
         (more than {most} characters, which is the upper bound for {limit} input tokens). Please reduce the length \
         of the input prompt."
    );
    Err(InvalidParams::new("input_text", message).with_value(length).into())
}

/// Puts a request together; the prompt is made of known tokens.
pub(super) fn finish(
    prompt: Vec<Token>,
    fields: &SamplingFields,
    wishes: &Wishes,
    loaded: &Loaded,
) -> Result<GenerateRequest, RequestError> {
    let vocabulary = loaded.model.vocabulary();
    let max_tokens = max_tokens(prompt.len(), wishes, loaded.max_model_len)?;
    let sampling = SamplingParams::new(fields, &loaded.defaults, vocabulary)?;
    if let Some(n) = fields.n.filter(|&n| n > 1 && sampling.is_greedy()) {
        return Err(InvalidParams::new(None, format!("n must be 1 when using greedy sampling, got {n}.")).into());
    }
    Ok(GenerateRequest {
        sampling,
        max_tokens,
        min_tokens: min_tokens(fields, max_tokens)?,
        ignore_eos: fields.ignore_eos.unwrap_or(false),
        stops: stops(fields)?,
        keep_stop: fields.include_stop_str_in_output.unwrap_or(false),
        stop_tokens: stop_tokens(fields, vocabulary)?,
        skip_special: fields.skip_special_tokens.unwrap_or(true),
        shown: Vec::new(),
        logprobs: logprobs(wishes.logprobs, vocabulary)?,
        guide: wishes.guide.clone(),
        adapter: None,
        cached: CachedTokens::default(),
        prompt,
    })
}

/// What holds the answer to the form that was asked for.
pub(super) fn guide(fields: &SamplingFields, loaded: &Loaded) -> Result<Option<Guide>, RequestError> {
    let invalid = |InvalidConstraint { param, message }| InvalidParams::new(param, message);
    let Some(constraint) = constraint_of(fields).map_err(invalid)? else { return Ok(None) };
    Ok(Some(grammars(loaded)?.guide(&constraint).map_err(invalid)?))
}

/// What makes guides.
pub(super) fn grammars(loaded: &Loaded) -> Result<&Grammars, RequestError> {
    let message = "this model has no token that ends an answer, so no answer of it can be constrained";
    loaded.grammars().ok_or_else(|| InvalidParams::new(None, message).into())
}

/// Refuses a prompt that is empty or does not fit.
pub(super) fn check_prompt_length(prompt: usize, limit: usize) -> Result<(), RequestError> {
    if prompt == 0 {
        return Err(InvalidParams::new(None, "The decoder prompt cannot be empty").into());
    }
    if prompt > limit {
        let message = format!(
            "This model's maximum context length is {limit} tokens. However, your prompt contains {prompt} input \
             tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input \
             prompt."
        );
        return Err(InvalidParams::new("input_tokens", message).with_value(prompt).into());
    }
    Ok(())
}

/// How many tokens the answer may have: what was asked for, cut to what the context has left.
fn max_tokens(prompt: usize, wishes: &Wishes, max_model_len: u32) -> Result<u32, RequestError> {
    let limit = max_model_len as usize;
    check_prompt_length(prompt, limit)?;
    let param = wishes.max_tokens_param;
    if let Some(wanted) = wishes.max_tokens.filter(|&wanted| wanted > i64::from(max_model_len)) {
        let message = format!(
            "{param}={wanted} cannot be greater than max_model_len={limit}. Please request fewer output tokens."
        );
        return Err(InvalidParams::new(param, message).with_value(wanted).into());
    }
    if let Some(wanted) = wishes.max_tokens.filter(|&wanted| wanted < 1) {
        let message = format!("max_tokens must be at least 1, got {wanted}.");
        return Err(InvalidParams::new("max_tokens", message).with_value(wanted).into());
    }
    let left = limit - prompt;
    if left == 0 {
        let message = format!(
            "The decoder prompt (length {prompt}) plus the number of requested output tokens (at least 1) is longer \
             than the maximum model length of {limit}. Make sure that `max_model_len` is no smaller than the number \
             of text tokens (prompt + requested output tokens)."
        );
        return Err(InvalidParams::new("input_tokens", message).into());
    }
    let wanted = wishes.max_tokens.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(left);
    Ok(u32::try_from(wanted.min(left)).expect("a context's length fits 32 bits"))
}

fn min_tokens(fields: &SamplingFields, max_tokens: u32) -> Result<u32, RequestError> {
    let wanted = fields.min_tokens.unwrap_or(0);
    if wanted < 0 {
        let message = format!("min_tokens must be greater than or equal to 0, got {wanted}.");
        return Err(InvalidParams::new(None, message).into());
    }
    u32::try_from(wanted).ok().filter(|&wanted| wanted <= max_tokens).ok_or_else(|| {
        let message = format!("min_tokens must be less than or equal to max_tokens={max_tokens}, got {wanted}.");
        InvalidParams::new(None, message).into()
    })
}

fn stops(fields: &SamplingFields) -> Result<Vec<String>, RequestError> {
    let stops = fields.stop.as_ref().map(|stop| stop.texts().to_vec()).unwrap_or_default();
    if stops.len() > MAX_STOPS {
        let message = format!("List should have at most {MAX_STOPS} items after validation, not {}", stops.len());
        return Err(BodyError::new("too_long", "body.stop", message).into());
    }
    if stops.iter().any(String::is_empty) {
        return Err(InvalidParams::new(None, "stop cannot contain an empty string.").into());
    }
    Ok(stops)
}

fn stop_tokens(fields: &SamplingFields, vocabulary: &Vocabulary) -> Result<Vec<Token>, RequestError> {
    let ids = fields.stop_token_ids.as_deref().unwrap_or_default();
    let unknown: Vec<i64> = ids.iter().copied().filter(|&id| vocabulary.check(id).is_none()).collect();
    if !unknown.is_empty() {
        return Err(out_of_vocabulary("stop_token_ids", &unknown, vocabulary).into());
    }
    Ok(ids.iter().filter_map(|&id| vocabulary.check(id)).collect())
}

fn logprobs(wanted: Option<i64>, vocabulary: &Vocabulary) -> Result<Option<usize>, RequestError> {
    let Some(wanted) = wanted else { return Ok(None) };
    // -1 asks for the whole vocabulary.
    let wanted = if wanted == -1 { i64::try_from(vocabulary.len()).unwrap_or(i64::MAX) } else { wanted };
    if wanted > MAX_LOGPROBS {
        let message =
            format!("Requested sample logprobs of {wanted}, which is greater than max allowed: {MAX_LOGPROBS}");
        return Err(InvalidParams::new("logprobs", message).with_value(wanted).into());
    }
    Ok(Some(usize::try_from(wanted).unwrap_or(0)))
}
