//! Log probabilities as the API tells them.

use remora_protocol::openai::{ChatLogprobs, CompletionLogprobs, TokenLogprob, TopLogprob};
use serde_json::Map;

use super::answer::Telling;
use crate::llama::{Token, Vocabulary};
use crate::sampling::Logprobs;
use crate::scheduler::GeneratedToken;

/// For a chat answer; none when they were not asked for.
pub(super) fn chat(telling: &Telling, tokens: &[GeneratedToken]) -> Option<ChatLogprobs> {
    if !telling.logprobs {
        return None;
    }
    let vocabulary = telling.loaded.model.vocabulary();
    let spelled =
        |token: Token| (text(vocabulary, token, telling.tokens_as_ids), Some(vocabulary.bytes(token).to_vec()));
    let entries = tokens.iter().filter_map(|token| {
        let Logprobs { chosen, top } = token.logprobs.as_ref()?;
        let (name, bytes) = spelled(token.id);
        let candidates = top.iter().map(|&(candidate, logprob)| {
            let (token, bytes) = spelled(candidate);
            TopLogprob { token, logprob: logprob.into(), bytes }
        });
        Some(TokenLogprob { token: name, logprob: (*chosen).into(), bytes, top_logprobs: candidates.collect() })
    });
    Some(ChatLogprobs { content: Some(entries.collect()) })
}

/// For a completion; `offset` is where its first token begins, and is moved to where the next will.
pub(super) fn completion(
    telling: &Telling,
    tokens: &[GeneratedToken],
    offset: &mut usize,
) -> Option<CompletionLogprobs> {
    if !telling.logprobs {
        return None;
    }
    let vocabulary = telling.loaded.model.vocabulary();
    let mut lists = CompletionLogprobs::default();
    for token in tokens {
        let Some(Logprobs { chosen, top }) = &token.logprobs else { continue };
        let name = key(vocabulary, token.id, telling.tokens_as_ids);
        let mut candidates = Map::new();
        for (candidate, logprob) in std::iter::once(&(token.id, *chosen)).chain(top) {
            // Two tokens can have the same text: the likelier one stands for both.
            candidates.entry(key(vocabulary, *candidate, telling.tokens_as_ids)).or_insert_with(|| (*logprob).into());
        }
        lists.text_offset.push(*offset);
        *offset += name.chars().count();
        lists.tokens.push(name);
        lists.token_logprobs.push(Some((*chosen).into()));
        lists.top_logprobs.push(Some(candidates));
    }
    Some(lists)
}

fn text(vocabulary: &Vocabulary, token: Token, as_id: bool) -> String {
    if as_id { format!("token_id:{token}") } else { String::from_utf8_lossy(vocabulary.bytes(token)).into_owned() }
}

/// A token as a key: what is not whole characters is spelled in bytes, as `OpenAI` does, since half the vocabulary of
/// a byte-level tokenizer would be the same U+FFFD.
fn key(vocabulary: &Vocabulary, token: Token, as_id: bool) -> String {
    match std::str::from_utf8(vocabulary.bytes(token)) {
        Err(_) if !as_id => {
            let bytes = vocabulary.bytes(token).iter().map(|byte| format!("\\x{byte:02x}"));
            format!("bytes:{}", bytes.collect::<String>())
        }
        _ => text(vocabulary, token, as_id),
    }
}
