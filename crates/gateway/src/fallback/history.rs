//! Takes out of a conversation what only this machine understands.

use std::ops::Range;

use bytes::Bytes;
use remora_protocol::anthropic::LOCAL_SIGNATURE;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The body of a Messages request without the thinking of local engines: Anthropic refuses signatures that are not its
/// own. Turns without such thinking stay as they are, byte for byte, and so does everything else.
pub(crate) fn without_local_thinking(body: &Bytes) -> Bytes {
    if !body.windows(LOCAL_SIGNATURE.len()).any(|window| window == LOCAL_SIGNATURE.as_bytes()) {
        return body.clone();
    }
    let cleaned = cleaned(body);
    if cleaned.is_empty() {
        return body.clone();
    }
    let mut whole = Vec::with_capacity(body.len());
    let mut from = 0;
    for (range, turn) in cleaned {
        whole.extend_from_slice(&body[from..range.start]);
        whole.extend_from_slice(turn.as_bytes());
        from = range.end;
    }
    whole.extend_from_slice(&body[from..]);
    whole.into()
}

/// The places of the turns that change, with what stands there then.
fn cleaned(body: &[u8]) -> Vec<(Range<usize>, String)> {
    #[derive(Deserialize)]
    struct Conversation<'a> {
        #[serde(borrow, default)]
        messages: Vec<&'a RawValue>,
    }
    let Ok(Conversation { messages }) = serde_json::from_slice(body) else { return Vec::new() };
    let turns = messages.into_iter().filter(|turn| turn.get().contains(LOCAL_SIGNATURE));
    let changed = turns.filter_map(|turn| {
        let start = turn.get().as_ptr().addr() - body.as_ptr().addr();
        Some((start..start + turn.get().len(), cleaned_turn(turn.get())?))
    });
    changed.collect()
}

fn cleaned_turn(turn: &str) -> Option<String> {
    let mut turn: Map<String, Value> = serde_json::from_str(turn).ok()?;
    let blocks = turn.get_mut("content")?.as_array_mut()?;
    let before = blocks.len();
    blocks.retain(|block| block["type"] != "thinking" || block["signature"] != LOCAL_SIGNATURE);
    if blocks.len() == before {
        return None;
    }
    if blocks.is_empty() {
        // A turn must not be empty, and taking it out would join its neighbours.
        blocks.push(serde_json::json!({ "type": "text", "text": "(thinking)" }));
    }
    serde_json::to_string(&turn).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(body: &str) -> String {
        String::from_utf8(without_local_thinking(&Bytes::copy_from_slice(body.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn only_turns_with_local_thinking_change() {
        let local = r#"{"type":"thinking","thinking":"hm","signature":"remora-local"}"#;
        let theirs = r#"{"type":"thinking","thinking":"hm","signature":"EqQB"}"#;
        let body = format!(
            r#"{{ "system" : "x", "messages":[ {{"role":"user", "content":"remora-local?"}},
            {{"role":"assistant","content":[{local},{theirs},{{"type":"text","text":"a"}}]}},
            {{ "role":"assistant","content":[{theirs}] }},{{"role":"assistant","content":[{local}]}}],"n":1.0 }}"#
        );
        let expected = format!(
            r#"{{ "system" : "x", "messages":[ {{"role":"user", "content":"remora-local?"}},
            {{"role":"assistant","content":[{theirs},{{"type":"text","text":"a"}}]}},
            {{ "role":"assistant","content":[{theirs}] }},{{"role":"assistant","content":[{{"type":"text","text":"(thinking)"}}]}}],"n":1.0 }}"#
        );
        assert_eq!(cleaned(&body), expected);
    }

    #[test]
    fn anything_else_stays() {
        for body in ["", "remora-local", "{\"messages\":3,\"x\":\"remora-local\"}", "{ \"messages\" : [] }"] {
            assert_eq!(cleaned(body), body);
        }
    }
}
