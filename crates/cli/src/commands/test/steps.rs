//! What is tried, one function a step.

use std::time::{Duration, Instant};

use anyhow::{anyhow, bail};
use futures::{StreamExt, pin_mut};
use remora_api_client::Client;
use serde_json::{Map, Value, json};

use crate::commands::connect::facts::{unknown, waiting};
use crate::failure::{Exit, Failure};
use crate::output;

const CHAT: &str = "/v1/chat/completions";

/// What a step found.
#[derive(Debug)]
pub(super) struct Found {
    /// For people.
    pub(super) told: String,
    /// What agents would miss.
    pub(super) warning: Option<String>,
    /// For scripts.
    pub(super) figures: Map<String, Value>,
}

impl Found {
    fn new(told: impl Into<String>, figures: Value) -> anyhow::Result<Self> {
        let Value::Object(figures) = figures else { bail!("figures have names") };
        Ok(Self { told: told.into(), warning: None, figures })
    }

    fn but(mut self, warning: impl Into<String>) -> Self {
        self.warning = Some(warning.into());
        self
    }
}

/// Which models there are, and the one to ask.
pub(super) async fn models(gateway: &Client, wanted: Option<&str>) -> anyhow::Result<Found> {
    let listed = gateway.models().await?;
    let Some(first) = listed.first() else {
        let failure = Failure::new(Exit::NotRunning, "there is no model yet");
        let engines = gateway.gateway_status().await.map(|status| status.engines).unwrap_or_default();
        let engines: Vec<_> = engines.into_iter().map(|load| load.engine).collect();
        let hint = waiting(&engines).unwrap_or_else(|| "it knows no engine: `remora up` starts one".into());
        return Err(failure.hint(hint).into());
    };
    let model = match wanted {
        None => first.id.as_str(),
        Some(wanted) if listed.iter().any(|model| model.id.as_str() == wanted) => wanted,
        Some(wanted) => return Err(unknown(wanted, &listed).into()),
    };
    let ids: Vec<_> = listed.iter().map(|model| model.id.as_str()).collect();
    Found::new(ids.join(", "), json!({"model": model, "models": ids}))
}

/// One whole answer.
pub(super) async fn answer(gateway: &Client, model: &str, limit: Duration) -> anyhow::Result<Found> {
    let question = json!({"model": model, "messages": say_hello(), "max_tokens": 128});
    let answer = gateway.ask(CHAT, &question, limit).await?;
    let message = &answer["choices"][0]["message"];
    let text = text_of(message).ok_or_else(|| anyhow!("the answer holds no text"))?;
    Found::new(quoted(text), json!({"usage": answer["usage"]}))
}

/// One stream: when its first token came, and how fast the others did.
pub(super) async fn stream(gateway: &Client, model: &str, limit: Duration) -> anyhow::Result<Found> {
    // Longer than a greeting: small models are done with one in a single piece.
    let messages = json!([{"role": "user", "content": "count to 20"}]);
    let question = json!({
        "model": model, "messages": messages, "max_tokens": 128,
        "stream": true, "stream_options": {"include_usage": true},
    });
    let began = Instant::now();
    let events = gateway.ask_streamed(CHAT, &question, limit).await?;
    pin_mut!(events);
    let (mut first, mut last, mut pieces, mut tokens) = (None, began, 0_u64, None);
    while let Some(event) = events.next().await {
        let event = event?;
        if let Some(message) = event["error"]["message"].as_str() {
            bail!("the stream broke off: {message}");
        }
        tokens = event["usage"]["completion_tokens"].as_u64().or(tokens);
        if text_of(&event["choices"][0]["delta"]).is_some() {
            last = Instant::now();
            first.get_or_insert(last);
            pieces += 1;
        }
    }
    let first = first.ok_or_else(|| anyhow!("the stream held no text"))?;
    let ttft_ms = (first - began).as_secs_f64() * 1e3;
    let tokens = tokens.unwrap_or(pieces);
    let speed = per_second(tokens, last - first);
    let told = match speed {
        Some(speed) => format!("first token after {ttft_ms:.0} ms, then {speed:.0} tokens/s"),
        None => format!("first token after {ttft_ms:.0} ms, and no other"),
    };
    let found = Found::new(told, json!({"ttft_ms": ttft_ms, "tokens": tokens, "tokens_per_s": speed}))?;
    // One piece that holds everything was collected somewhere on the way.
    let collected = pieces == 1 && tokens > 4;
    Ok(if collected {
        found.but("it came in one piece: something between here and the engine collects it")
    } else {
        found
    })
}

/// Tokens a second after the first one.
#[expect(clippy::cast_precision_loss, reason = "no answer has 2^52 tokens")]
fn per_second(tokens: u64, time: Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (tokens > 1 && seconds > 0.0).then(|| (tokens - 1) as f64 / seconds)
}

/// One tool call. A model that does not make it is told, not a failure.
pub(super) async fn tool_call(gateway: &Client, model: &str, limit: Duration) -> anyhow::Result<Found> {
    let read = json!({"type": "function", "function": {
        "name": "read", "description": "Reads a file.",
        "parameters": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }});
    let messages = json!([{"role": "user", "content": "read notes.txt"}]);
    let question = json!({"model": model, "messages": messages, "tools": [read], "max_tokens": 512, "temperature": 0});
    let answer = gateway.ask(CHAT, &question, limit).await?;
    let message = &answer["choices"][0]["message"];
    let Some(call) = message["tool_calls"].get(0) else {
        let text = text_of(message).unwrap_or_default();
        // The call is there, and nobody has read it as one.
        if ["<tool_call>", "[TOOL_CALLS]", "<|python_tag|>", "<start_function_call>", "<function="]
            .iter()
            .any(|mark| text.contains(mark))
        {
            let failure = Failure::new(Exit::Failure, format!("the call came as text: {}", quoted(text)));
            return Err(failure.hint(NO_PARSER).into());
        }
        let told = format!("no call, but {}", quoted(text));
        return Ok(Found::new(told, json!({"called": false}))?.but("agents and editors need a model that calls tools"));
    };
    let (name, arguments) = (&call["function"]["name"], &call["function"]["arguments"]);
    let (Some(name), Some(arguments)) = (name.as_str(), arguments.as_str()) else { bail!("the call has no name") };
    if serde_json::from_str::<Map<String, Value>>(arguments).is_err() {
        bail!("the call's arguments are no JSON object: {}", quoted(arguments));
    }
    Found::new(format!("{name}({arguments})"), json!({"called": true}))
}

/// What to do about calls that nobody reads.
pub(super) const NO_PARSER: &str = "its engine has no parser for this model's tool calls: start vLLM with \
                                    --enable-auto-tool-choice --tool-call-parser NAME, `remora engine` with --tool-parser";

/// How many tokens a message has.
pub(super) async fn count_tokens(gateway: &Client, model: &str, limit: Duration) -> anyhow::Result<Found> {
    let question = json!({"model": model, "messages": say_hello()});
    let answer = gateway.ask("/v1/messages/count_tokens", &question, limit).await?;
    let tokens = answer["input_tokens"].as_u64().ok_or_else(|| anyhow!("the answer holds no count"))?;
    Found::new(format!("{tokens} tokens"), json!({"input_tokens": tokens}))
}

/// One answer in Anthropic's dialect.
pub(super) async fn message(
    gateway: &Client,
    model: &str,
    counted: Option<u64>,
    limit: Duration,
) -> anyhow::Result<Found> {
    let question = json!({"model": model, "messages": say_hello(), "max_tokens": 128});
    let answer = gateway.ask("/v1/messages", &question, limit).await?;
    let blocks = answer["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = blocks.iter().find_map(|block| block["text"].as_str().or(block["thinking"].as_str()));
    let text = text.ok_or_else(|| anyhow!("the message holds no text"))?;
    let found = Found::new(quoted(text), json!({"usage": answer["usage"]}))?;
    // What came out of a cache counts as well.
    let parts = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
    let used: Option<u64> = answer["usage"]["input_tokens"]
        .as_u64()
        .map(|_| parts.iter().filter_map(|part| answer["usage"][*part].as_u64()).sum());
    Ok(match (counted, used) {
        (Some(counted), Some(used)) if counted != used => {
            found.but(format!("count_tokens said {counted} tokens, the message had {used}"))
        }
        _ => found,
    })
}

fn say_hello() -> Value {
    json!([{"role": "user", "content": "say hello"}])
}

/// The text or the thinking of a message or of a piece of one.
fn text_of(message: &Value) -> Option<&str> {
    let fields = ["content", "reasoning_content", "reasoning"];
    fields.into_iter().find_map(|field| message[field].as_str().filter(|text| !text.is_empty()))
}

fn quoted(text: &str) -> String {
    format!("{:?}", output::short(text.trim()))
}
