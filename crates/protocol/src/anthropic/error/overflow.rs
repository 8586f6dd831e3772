//! Conversations that are too long, in the words that clients act on.
//!
//! Claude Code compacts a conversation on `prompt is too long: N tokens > M maximum`, and asks for a shorter answer on
//! ``input length and `max_tokens` exceed context limit: N + O > M``. With any other words it gives up.

use serde_json::Value;

/// What an engine said about a length.
#[derive(Debug, Default)]
struct Lengths {
    /// The context's length.
    limit: Option<u64>,
    /// The prompt's.
    input: Option<u64>,
    /// Whether the prompt may be longer: vLLM stops counting where the prompt cannot fit any more.
    at_least: bool,
    /// What the answer was to have.
    output: Option<u64>,
}

/// The client's words for an engine's, if it speaks of a conversation that is too long.
pub(super) fn reworded(said: &str, detail: &Value, input_tokens: Option<u64>) -> Option<String> {
    let mut lengths = read(said, detail)?;
    if let Some(known) = input_tokens {
        lengths.input = Some(known);
        lengths.at_least = false;
    }
    let limit = lengths.limit?;
    let Some(output) = lengths.output.filter(|output| *output > 0) else {
        return lengths.input.map(|input| too_long(input, limit));
    };
    // Without a count the engine spoke of the answer alone.
    let input = lengths.input.unwrap_or(0);
    Some(match lengths.at_least {
        // How long the prompt really is nobody knows, so a shorter answer may not help: let the client compact.
        true if output < limit => too_long(input, limit - output),
        _ if input >= limit => too_long(input, limit),
        _ => format!("input length and `max_tokens` exceed context limit: {input} + {output} > {limit}"),
    })
}

/// Whether a text is one of those that [`reworded`] writes.
pub(super) fn is_reworded(text: &str) -> bool {
    text.starts_with("prompt is too long: ") || text.starts_with("input length and `max_tokens` exceed context limit: ")
}

/// Whether one of those texts has no length of the prompt: the engine told none, and no prompt is empty.
pub(super) fn is_uncounted(text: &str) -> bool {
    text.starts_with("input length and `max_tokens` exceed context limit: 0 + ")
}

fn too_long(input: u64, limit: u64) -> String {
    // A prompt that fills the context leaves no room for an answer, so one token less is the most that could do.
    let maximum = limit.min(input.saturating_sub(1));
    format!("prompt is too long: {input} tokens > {maximum} maximum")
}

fn read(said: &str, detail: &Value) -> Option<Lengths> {
    llama_cpp(said, detail)
        .or_else(|| vllm_characters(said))
        .or_else(|| vllm(said))
        .or_else(|| vllm_decoder(said))
        .or_else(|| vllm_answer_alone(said))
        .or_else(|| sglang(said))
}

/// `request (N tokens) exceeds the available context size (M tokens), try increasing it`, with both in fields.
fn llama_cpp(said: &str, detail: &Value) -> Option<Lengths> {
    let fields = (detail["n_prompt_tokens"].as_u64(), detail["n_ctx"].as_u64());
    let (input, limit) = match fields {
        (Some(input), Some(limit)) => (input, limit),
        _ => (after(said, "request (")?, after(said, "exceeds the available context size (")?),
    };
    Some(Lengths { limit: Some(limit), input: Some(input), ..Lengths::default() })
}

/// `This model's maximum context length is M tokens. However, your prompt contains C characters (more than X
/// characters, which is the upper bound for M input tokens).`: no token of the vocabulary is longer than X / M.
fn vllm_characters(said: &str) -> Option<Lengths> {
    let limit = after(said, "maximum context length is ")?;
    let (characters, most) = (after(said, "your prompt contains ")?, after(said, "(more than ")?);
    let bound = after(said, "upper bound for ")?;
    let longest = most.checked_div(bound).filter(|longest| *longest > 0)?;
    let input = characters.div_ceil(longest).max(limit.saturating_add(1));
    let output = after(said, "you requested ");
    Some(Lengths { limit: Some(limit), input: Some(input), at_least: true, output })
}

/// vLLM and `OpenAI`: `This model's maximum context length is M tokens.` and then one of
/// - `However, you requested O output tokens and your prompt contains (at least) N input tokens`
/// - `However, your prompt contains N input tokens`, `… your messages resulted in N tokens`
/// - `However, you requested T tokens (N in the messages, O in the completion)`
/// - `… your request has N input tokens (O > M - N)`
///
/// `SGLang`: `… maximum context length of M tokens. You requested a total of T tokens: N tokens from the input
/// messages and O tokens for the completion.`
fn vllm(said: &str) -> Option<Lengths> {
    let limit = after(said, "maximum context length is ").or_else(|| after(said, "maximum context length of "))?;
    let at_least = after(said, "your prompt contains at least ");
    let input = at_least
        .or_else(|| after(said, "your prompt contains "))
        .or_else(|| after(said, "your request has "))
        .or_else(|| before(said, " in the messages"))
        .or_else(|| before(said, " tokens from the input messages"))
        .or_else(|| before(said, " in the prompt"))
        .or_else(|| after(said, "resulted in "))?;
    let output = before(said, " output tokens")
        .or_else(|| before(said, " in the completion"))
        .or_else(|| before(said, " tokens for the completion"))
        .or_else(|| after(said, "is too large: "));
    Some(Lengths { limit: Some(limit), input: Some(input), at_least: at_least.is_some(), output })
}

/// `The decoder prompt (length N) is longer than the maximum model length of M.`, `… plus the number of requested
/// output tokens (at least 1) is longer than …`
fn vllm_decoder(said: &str) -> Option<Lengths> {
    let (input, limit) = (after(said, "prompt (length ")?, after(said, "maximum model length of ")?);
    Some(Lengths { limit: Some(limit), input: Some(input), ..Lengths::default() })
}

/// `max_tokens=O cannot be greater than max_model_len=M.`: the prompt was not looked at.
fn vllm_answer_alone(said: &str) -> Option<Lengths> {
    let (output, limit) = (after(said, "tokens=")?, after(said, "cannot be greater than max_model_len=")?);
    Some(Lengths { limit: Some(limit), output: Some(output), ..Lengths::default() })
}

/// `The input (N tokens) is longer than the model's context length (M tokens).`
fn sglang(said: &str) -> Option<Lengths> {
    let (input, limit) = (after(said, "input (")?, after(said, "context length (")?);
    Some(Lengths { limit: Some(limit), input: Some(input), ..Lengths::default() })
}

/// The number right behind these words.
fn after(said: &str, words: &str) -> Option<u64> {
    said.match_indices(words).find_map(|(at, _)| {
        let rest = &said[at + words.len()..];
        let end = rest.find(|byte: char| !byte.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().ok()
    })
}

/// The number right before these words.
fn before(said: &str, words: &str) -> Option<u64> {
    said.match_indices(words).find_map(|(at, _)| {
        let head = &said[..at];
        let digits = head.bytes().rev().take_while(u8::is_ascii_digit).count();
        head[at - digits..].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(said: &str) -> Option<String> {
        reworded(said, &Value::Null, None)
    }

    #[test]
    fn vllms_wordings() {
        let cases = [
            (
                "This model's maximum context length is 4096 tokens. However, your prompt contains 5000 input tokens, \
                 which exceeds this limit even without any output tokens. Please reduce the length of the input prompt.",
                "prompt is too long: 5000 tokens > 4096 maximum",
            ),
            (
                "This model's maximum context length is 32768 tokens. However, you requested 0 output tokens and your \
                 prompt contains at least 32769 input tokens, for a total of at least 32769 tokens.",
                "prompt is too long: 32769 tokens > 32768 maximum",
            ),
            (
                "This model's maximum context length is 16384 tokens. However, you requested 8192 output tokens and \
                 your prompt contains at least 8193 input tokens, for a total of at least 16385 tokens.",
                "prompt is too long: 8193 tokens > 8192 maximum",
            ),
            (
                "This model's maximum context length is 16384 tokens. However, you requested 8192 output tokens and \
                 your prompt contains 9000 input tokens, for a total of 17192 tokens.",
                "input length and `max_tokens` exceed context limit: 9000 + 8192 > 16384",
            ),
            (
                "This model's maximum context length is 8192 tokens. However, you requested 9224 tokens (1224 in the \
                 messages, 8000 in the completion). Please reduce the length of the messages or completion.",
                "input length and `max_tokens` exceed context limit: 1224 + 8000 > 8192",
            ),
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is \
                 8192 tokens and your request has 20 input tokens (32000 > 8192 - 20).",
                "input length and `max_tokens` exceed context limit: 20 + 32000 > 8192",
            ),
            (
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 8300 tokens. \
                 Please reduce the length of the messages.",
                "prompt is too long: 8300 tokens > 8192 maximum",
            ),
            (
                "The decoder prompt (length 4096) plus the number of requested output tokens (at least 1) is longer \
                 than the maximum model length of 4096.",
                "prompt is too long: 4096 tokens > 4095 maximum",
            ),
            (
                "max_tokens=9000 cannot be greater than max_model_len=4096. Please request fewer output tokens.",
                "input length and `max_tokens` exceed context limit: 0 + 9000 > 4096",
            ),
            (
                "This model's maximum context length is 64 tokens. However, your prompt contains 30050 characters \
                 (more than 1024 characters, which is the upper bound for 64 input tokens).",
                "prompt is too long: 1879 tokens > 64 maximum",
            ),
        ];
        for (said, expected) in cases {
            assert_eq!(told(said).as_deref(), Some(expected), "{said}");
        }
    }

    #[test]
    fn other_engines_wordings() {
        let said = "request (268914 tokens) exceeds the available context size (262144 tokens), try increasing it";
        let expected = "prompt is too long: 268914 tokens > 262144 maximum";
        assert_eq!(told(said).as_deref(), Some(expected));
        let fields = json!({"n_prompt_tokens": 9000, "n_ctx": 8192});
        assert_eq!(
            reworded("too big", &fields, None).as_deref(),
            Some("prompt is too long: 9000 tokens > 8192 maximum")
        );
        let said = "The input (9000 tokens) is longer than the model's context length (8192 tokens).";
        assert_eq!(told(said).as_deref(), Some("prompt is too long: 9000 tokens > 8192 maximum"));
        let said = "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested a \
                    total of 9192 tokens: 192 tokens from the input messages and 9000 tokens for the completion.";
        let expected = "input length and `max_tokens` exceed context limit: 192 + 9000 > 8192";
        assert_eq!(told(said).as_deref(), Some(expected));
    }

    #[test]
    fn a_known_count_is_believed() {
        let said = "This model's maximum context length is 16384 tokens. However, you requested 8192 output tokens and \
                    your prompt contains at least 8193 input tokens, for a total of at least 16385 tokens.";
        let told = |input| reworded(said, &Value::Null, Some(input)).unwrap();
        assert_eq!(told(9000), "input length and `max_tokens` exceed context limit: 9000 + 8192 > 16384");
        assert_eq!(told(20_000), "prompt is too long: 20000 tokens > 16384 maximum");
    }

    #[test]
    fn other_messages_stay_as_they_are() {
        for said in ["", "no such model", "maximum context length is", "temperature must be at least 0, got -1."] {
            assert_eq!(told(said), None, "{said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_message_panics(
            words in proptest::collection::vec(r"[0-9]{0,25}| |at least |prompt is|maximum context length is |your prompt contains |\(more than | output tokens|upper bound for |é", 0..12)
        ) {
            let _ = told(&words.concat());
        }
    }
}
