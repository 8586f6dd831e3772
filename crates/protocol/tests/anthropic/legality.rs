//! Reads a stream of Anthropic's events as strictly as any client does: the official SDKs' accumulators, the AI SDK's
//! schemas and Claude Code's own checks together. Knows nothing of how the stream was written.

use std::collections::HashSet;

use serde_json::Value;

/// What a client has of an answer when its stream has ended.
#[derive(Debug, Default)]
pub(crate) struct Accumulated {
    pub(crate) blocks: Vec<Block>,
    pub(crate) stop_reason: Option<String>,
    pub(crate) stop_sequence: Option<String>,
    pub(crate) start_usage: Value,
    pub(crate) usage: Value,
    pub(crate) error: Option<(String, String)>,
    pub(crate) pings: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    Thinking(String),
    Text(String),
    Tool { id: String, name: String, arguments: String },
}

impl Accumulated {
    pub(crate) fn text(&self) -> String {
        self.blocks
            .iter()
            .filter_map(|block| if let Block::Text(text) = block { Some(text.as_str()) } else { None })
            .collect()
    }

    /// Name and arguments of every call.
    pub(crate) fn calls(&self) -> Vec<(&str, &str)> {
        let calls = self.blocks.iter().filter_map(|block| match block {
            Block::Tool { name, arguments, .. } => Some((name.as_str(), arguments.as_str())),
            _ => None,
        });
        calls.collect()
    }
}

#[derive(Debug, PartialEq)]
enum Stage {
    Fresh,
    Between,
    Open { signed: bool },
    Closing,
    Over,
}

/// Reads a whole stream; says what is wrong with it.
pub(crate) fn accumulate(stream: &[u8]) -> Result<Accumulated, String> {
    let text = std::str::from_utf8(stream).map_err(|error| error.to_string())?;
    let mut client = Client { stage: Stage::Fresh, got: Accumulated::default(), ids: HashSet::new() };
    let Some(blocks) = text.strip_suffix("\n\n") else { return Err("the last event is not whole".into()) };
    for block in blocks.split("\n\n") {
        client.event(block).map_err(|why| format!("{why} in {block:?} at {:?}", client.stage))?;
    }
    if client.stage == Stage::Over { Ok(client.got) } else { Err(format!("ended at {:?}", client.stage)) }
}

struct Client {
    stage: Stage,
    got: Accumulated,
    ids: HashSet<String>,
}

impl Client {
    fn event(&mut self, block: &str) -> Result<(), String> {
        let (name, data) = block.split_once('\n').ok_or("one line")?;
        let name = name.strip_prefix("event: ").ok_or("no event name")?;
        let data = data.strip_prefix("data: ").ok_or("no data")?;
        require(!data.contains(['\n', '\r']), "more than one line of data")?;
        let data: Value = serde_json::from_str(data).map_err(|error| error.to_string())?;
        require(data["type"] == name, "the name is not the type")?;
        require(self.stage != Stage::Over, "behind the end")?;
        match name {
            "message_start" => self.message_start(&data["message"]),
            "content_block_start" => self.block_start(&data),
            "content_block_delta" => self.block_delta(&data),
            "content_block_stop" => self.block_stop(&data),
            "message_delta" => self.message_delta(&data),
            "message_stop" => {
                require(self.stage == Stage::Closing, "message_stop without message_delta")?;
                self.stage = Stage::Over;
                Ok(())
            }
            "ping" => {
                self.got.pings += 1;
                require(self.stage != Stage::Fresh && self.stage != Stage::Closing, "ping out of place")
            }
            "error" => self.error(&data["error"]),
            _ => Err("unknown event".into()),
        }
    }

    fn message_start(&mut self, message: &Value) -> Result<(), String> {
        require(self.stage == Stage::Fresh, "a second message_start")?;
        require(message["type"] == "message" && message["role"] == "assistant", "not a message")?;
        require(message["id"].as_str().is_some_and(|id| id.starts_with("msg_")), "no id")?;
        require(message["model"].is_string(), "no model")?;
        require(message["content"] == Value::Array(Vec::new()), "content")?;
        require(message["stop_reason"].is_null() && message["stop_sequence"].is_null(), "stopped at once")?;
        usage(&message["usage"])?;
        self.got.start_usage = message["usage"].clone();
        self.stage = Stage::Between;
        Ok(())
    }

    fn block_start(&mut self, data: &Value) -> Result<(), String> {
        require(self.stage == Stage::Between, "block_start out of place")?;
        require(data["index"] == self.got.blocks.len(), "the block's number")?;
        let block = &data["content_block"];
        let text = |field: &str| block[field].as_str().map(str::to_owned).ok_or(format!("no {field}"));
        self.got.blocks.push(match block["type"].as_str() {
            Some("thinking") => {
                require(text("signature")?.is_empty(), "signature at the start")?;
                Block::Thinking(text("thinking")?)
            }
            Some("text") => Block::Text(text("text")?),
            Some("tool_use") => {
                let (id, name) = (text("id")?, text("name")?);
                require(block["input"] == serde_json::json!({}), "input at the start")?;
                require(!id.is_empty() && !name.is_empty(), "empty id or name")?;
                require(self.ids.insert(id.clone()), "an id twice")?;
                Block::Tool { id, name, arguments: String::new() }
            }
            _ => return Err("unknown block".into()),
        });
        self.stage = Stage::Open { signed: false };
        Ok(())
    }

    fn block_delta(&mut self, data: &Value) -> Result<(), String> {
        let Stage::Open { signed } = &mut self.stage else { return Err("delta without a block".into()) };
        require(data["index"] == self.got.blocks.len() - 1, "the delta's number")?;
        let delta = &data["delta"];
        let piece = |field: &str| delta[field].as_str().ok_or(format!("no {field}"));
        match (self.got.blocks.last_mut(), delta["type"].as_str()) {
            (Some(Block::Thinking(thinking)), Some("thinking_delta")) => {
                require(!*signed, "thinking behind its signature")?;
                thinking.push_str(piece("thinking")?);
            }
            (Some(Block::Thinking(_)), Some("signature_delta")) => {
                require(!piece("signature")?.is_empty(), "empty signature")?;
                require(!std::mem::replace(signed, true), "signed twice")?;
            }
            (Some(Block::Text(text)), Some("text_delta")) => text.push_str(piece("text")?),
            (Some(Block::Tool { arguments, .. }), Some("input_json_delta")) => {
                arguments.push_str(piece("partial_json")?);
            }
            (block, kind) => return Err(format!("{kind:?} in {block:?}")),
        }
        Ok(())
    }

    fn block_stop(&mut self, data: &Value) -> Result<(), String> {
        let Stage::Open { signed } = self.stage else { return Err("stop without a block".into()) };
        require(data["index"] == self.got.blocks.len() - 1, "the stop's number")?;
        match self.got.blocks.last() {
            Some(Block::Thinking(_)) => require(signed, "thinking without a signature")?,
            Some(Block::Text(text)) => require(!text.trim().is_empty(), "blank text")?,
            _ => {}
        }
        self.stage = Stage::Between;
        Ok(())
    }

    fn message_delta(&mut self, data: &Value) -> Result<(), String> {
        require(self.stage == Stage::Between, "message_delta out of place")?;
        let reason = data["delta"]["stop_reason"].as_str().ok_or("no stop_reason")?;
        let reasons = ["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"];
        require(reasons.contains(&reason), "unknown stop_reason")?;
        let sequence = data["delta"].get("stop_sequence").ok_or("no stop_sequence")?;
        require(sequence.is_string() == (reason == "stop_sequence"), "the stop_sequence")?;
        require(sequence.is_string() || sequence.is_null(), "the stop_sequence")?;
        let called = self.got.blocks.iter().any(|block| matches!(block, Block::Tool { .. }));
        require(called || reason != "tool_use", "tool_use without a call")?;
        require(!called || !matches!(reason, "end_turn" | "stop_sequence"), "a call, but the turn ended")?;
        usage(&data["usage"])?;
        self.got.usage = data["usage"].clone();
        self.got.stop_reason = Some(reason.to_owned());
        self.got.stop_sequence = sequence.as_str().map(str::to_owned);
        self.stage = Stage::Closing;
        Ok(())
    }

    fn error(&mut self, error: &Value) -> Result<(), String> {
        require(self.stage != Stage::Closing, "an error behind a good end")?;
        let kinds = [
            "invalid_request_error",
            "authentication_error",
            "billing_error",
            "permission_error",
            "not_found_error",
            "request_too_large",
            "rate_limit_error",
            "api_error",
            "timeout_error",
            "overloaded_error",
        ];
        let kind = error["type"].as_str().filter(|kind| kinds.contains(kind)).ok_or("unknown error")?;
        let message = error["message"].as_str().filter(|message| !message.is_empty()).ok_or("no message")?;
        self.got.error = Some((kind.to_owned(), message.to_owned()));
        self.stage = Stage::Over;
        Ok(())
    }
}

fn usage(usage: &Value) -> Result<(), String> {
    let fields = ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
    require(fields.iter().all(|field| usage[field].is_u64()), "the usage")
}

fn require(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

#[test]
fn the_checker_refuses_what_clients_refuse() {
    const START: &str = r#"event: message_start
data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}}}

"#;
    const TEXT: &str = r#"event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

"#;
    const DELTA: &str = r#"event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}

"#;
    const STOP: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
    const END: &str = r#"event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":1,"output_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0}}

event: message_stop
data: {"type":"message_stop"}

"#;
    const ERROR: &str =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"m\"}}\n\n";
    const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let told = |events: &[&str]| accumulate(events.concat().as_bytes());
    assert_eq!(told(&[START, PING, TEXT, PING, DELTA, STOP, END]).unwrap().text(), "a");
    told(&[START, TEXT, DELTA, ERROR]).unwrap();
    told(&[ERROR]).unwrap();
    for wrong in [
        &[][..],
        &[START],
        &[PING, START, END],
        &[START, START, END],
        &[TEXT, DELTA, STOP, END],
        &[START, DELTA, END],
        &[START, TEXT, TEXT, STOP, END],
        &[START, TEXT, DELTA, END],
        &[START, TEXT, STOP, END],
        &[START, STOP, END],
        &[START, TEXT, DELTA, STOP, STOP, END],
        &[START, TEXT, DELTA, STOP, TEXT, DELTA, STOP, END],
        &[START, END, PING],
        &[START, END, ERROR],
        &[START, ERROR, END],
        &["data: {}\n\n"],
    ] {
        assert!(told(wrong).is_err(), "{wrong:?}");
    }
}
