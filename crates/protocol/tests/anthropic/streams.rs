//! Whole streams, as engines send them.

use bytes::BytesMut;
use remora_protocol::anthropic::{Asked, ErrorKind, Failure, MessageStream, Note};
use serde_json::{Value, json};

use crate::legality::{Accumulated, Block, accumulate};

pub(crate) fn asked() -> Asked {
    Asked {
        id: "msg_1".into(),
        model: "claude-remora".into(),
        stop_sequences: vec!["END".into()],
        thinking: true,
        input_tokens: None,
    }
}

/// One chunk of the one choice.
fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
    let chunk =
        json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]});
    format!("data: {chunk}\n\n")
}

fn usage(prompt: u32, cached: u32, completion: u32) -> String {
    let usage = json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    });
    format!("data: {}\n\n", json!({"id": "chatcmpl-1", "choices": [], "usage": usage}))
}

const DONE: &str = "data: [DONE]\n\n";

fn call(index: u32, id: Option<&str>, name: Option<&str>, arguments: &str) -> Value {
    let mut call = json!({"index": index, "function": {"arguments": arguments}});
    if let Some(id) = id {
        call["id"] = id.into();
        call["type"] = "function".into();
    }
    if let Some(name) = name {
        call["function"]["name"] = name.into();
    }
    json!({"tool_calls": [call]})
}

fn run(events: &[String]) -> (String, MessageStream) {
    let (mut stream, mut out) = (MessageStream::new(asked()), BytesMut::new());
    for event in events {
        stream.feed(event.as_bytes(), &mut out);
    }
    stream.finish(&mut out);
    assert!(stream.is_over());
    (String::from_utf8(out.to_vec()).expect("only JSON is written"), stream)
}

fn got(events: &[String]) -> (Accumulated, Vec<Note>) {
    let (out, stream) = run(events);
    (accumulate(out.as_bytes()).unwrap_or_else(|why| panic!("{why}\n{out}")), stream.notes().to_vec())
}

#[test]
fn thinking_then_text() {
    let (out, _) = run(&[
        chunk(&json!({"role": "assistant", "content": ""}), None),
        chunk(&json!({"reasoning": "Two and "}), None),
        chunk(&json!({"reasoning": "two."}), None),
        chunk(&json!({"content": "\n\n"}), None),
        chunk(&json!({"content": "It is \"4\"."}), None),
        chunk(&json!({"content": ""}), Some("stop")),
        usage(20, 16, 9),
        DONE.to_owned(),
    ]);
    insta::assert_snapshot!(out, @r#"
    event: message_start
    data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-remora","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}

    event: content_block_start
    data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Two and "}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"two."}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"remora-local"}}

    event: content_block_stop
    data: {"type":"content_block_stop","index":0}

    event: content_block_start
    data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"\n\n"}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"It is \"4\"."}}

    event: content_block_stop
    data: {"type":"content_block_stop","index":1}

    event: message_delta
    data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":16,"output_tokens":9}}

    event: message_stop
    data: {"type":"message_stop"}
    "#);
}

#[test]
fn text_then_two_calls() {
    let (out, _) = run(&[
        chunk(&json!({"role": "assistant", "content": "I look."}), None),
        chunk(&call(0, Some("call_a"), Some("read"), ""), None),
        chunk(&call(0, None, None, "{\"path\": "), None),
        chunk(&call(0, None, None, "\"a\"}"), None),
        chunk(&call(1, Some("call_b"), Some("list"), "{}"), None),
        chunk(&json!({}), Some("tool_calls")),
        usage(30, 0, 12),
        DONE.to_owned(),
    ]);
    insta::assert_snapshot!(out, @r#"
    event: message_start
    data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-remora","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}

    event: content_block_start
    data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"I look."}}

    event: content_block_stop
    data: {"type":"content_block_stop","index":0}

    event: content_block_start
    data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"call_a","name":"read","input":{}}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":""}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"path\": "}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"\"a\"}"}}

    event: content_block_stop
    data: {"type":"content_block_stop","index":1}

    event: content_block_start
    data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"call_b","name":"list","input":{}}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}

    event: content_block_stop
    data: {"type":"content_block_stop","index":2}

    event: message_delta
    data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"input_tokens":30,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":12}}

    event: message_stop
    data: {"type":"message_stop"}
    "#);
}

#[test]
fn an_error_in_the_middle() {
    let error =
        json!({"error": {"message": "out of memory", "type": "InternalServerError", "param": null, "code": 500}});
    let (out, _) =
        run(&[chunk(&json!({"content": "Half an ans"}), None), format!("data: {error}\n\n"), DONE.to_owned()]);
    insta::assert_snapshot!(out, @r#"
    event: message_start
    data: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-remora","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":0,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}}}

    event: content_block_start
    data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

    event: content_block_delta
    data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Half an ans"}}

    event: error
    data: {"type":"error","error":{"type":"api_error","message":"out of memory"}}
    "#);
}

#[test]
fn interleaved_calls_come_one_after_the_other() {
    let (got, notes) = got(&[
        chunk(&call(0, Some("call_a"), Some("read"), "{\"a\":"), None),
        chunk(&call(1, Some("call_b"), Some("list"), "{\"b\":"), None),
        chunk(&json!({"content": "aside"}), None),
        chunk(&call(0, None, None, "1"), None),
        chunk(&call(1, None, None, "2}"), None),
        chunk(&call(0, None, None, "}"), None),
        chunk(&call(2, Some("call_c"), Some("stat"), "{\"c\":3}"), Some("tool_calls")),
        DONE.to_owned(),
    ]);
    let tool = |id: &str, name: &str, arguments: &str| Block::Tool {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(
        got.blocks,
        [
            tool("call_a", "read", "{\"a\":1}"),
            tool("call_b", "list", "{\"b\":2}"),
            Block::Text("aside".into()),
            tool("call_c", "stat", "{\"c\":3}"),
        ]
    );
    assert_eq!((got.stop_reason.as_deref(), notes), (Some("tool_use"), vec![]));
}

#[test]
fn a_call_streams_while_the_next_one_waits_only_as_long_as_it_must() {
    let (mut stream, mut out) = (MessageStream::new(asked()), BytesMut::new());
    stream.feed(chunk(&call(0, Some("a"), Some("read"), "{}"), None).as_bytes(), &mut out);
    stream.feed(chunk(&call(1, Some("b"), Some("list"), "{\"x"), None).as_bytes(), &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert!(text.contains(r#""partial_json":"{\"x""#), "{text}");
}

#[test]
fn calls_without_numbers_or_all_with_the_same_are_told_apart() {
    let whole = |index: Option<u32>, id: &str, name: &str| {
        let mut call = call(0, Some(id), Some(name), "{}");
        match index {
            Some(index) => call["tool_calls"][0]["index"] = index.into(),
            None => call["tool_calls"][0]["index"] = Value::Null,
        }
        chunk(&call, None)
    };
    for index in [None, Some(0)] {
        let end = chunk(&json!({}), Some("stop"));
        let (got, _) = got(&[whole(index, "a", "read"), whole(index, "b", "read"), end, DONE.to_owned()]);
        assert_eq!(got.calls(), [("read", "{}"), ("read", "{}")]);
        assert_eq!(got.stop_reason.as_deref(), Some("tool_use"));
    }
}

#[test]
fn ids_are_there_and_unique() {
    let same = |index| chunk(&call(index, Some("a"), Some("read"), "{}"), None);
    let (got, _) =
        got(&[same(0), same(1), chunk(&call(2, None, Some("list"), "{}"), Some("tool_calls")), DONE.to_owned()]);
    let ids: Vec<_> =
        got.blocks.iter().map(|block| if let Block::Tool { id, .. } = block { id.as_str() } else { "" }).collect();
    assert_eq!(ids, ["a", "toolu_1_1", "toolu_1_2"]);
}

#[test]
fn arguments_that_are_objects_are_taken_too() {
    let delta = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": "ü"}}}]});
    let (got, _) = got(&[chunk(&delta, Some("tool_calls")), DONE.to_owned()]);
    assert_eq!(got.calls(), [("f", "{\"x\":\"ü\"}")]);
}

#[test]
fn broken_arguments_are_closed_as_they_are() {
    let (got, notes) = got(&[chunk(&call(0, Some("a"), Some("read"), "{\"a\": tru"), Some("length")), DONE.to_owned()]);
    assert_eq!(got.calls(), [("read", "{\"a\": tru")]);
    assert_eq!(got.stop_reason.as_deref(), Some("max_tokens"));
    assert_eq!(notes, [Note::ArgumentsNotJson { tool: "read".into() }]);
}

#[test]
fn ends_are_told_in_anthropics_words() {
    let end = |finish: Option<&str>, stop: Value| {
        let choice = json!({"index": 0, "delta": {"content": "a"}, "finish_reason": finish, "stop_reason": stop});
        let (got, notes) = got(&[format!("data: {}\n\n", json!({"choices": [choice]})), DONE.to_owned()]);
        (got.stop_reason.unwrap(), got.stop_sequence, notes.len())
    };
    assert_eq!(end(Some("stop"), Value::Null), ("end_turn".into(), None, 0));
    assert_eq!(end(Some("stop"), json!("END")), ("stop_sequence".into(), Some("END".into()), 0));
    assert_eq!(end(Some("stop"), json!("<|im_end|>")), ("end_turn".into(), None, 0));
    assert_eq!(end(Some("stop"), json!(151_645)), ("end_turn".into(), None, 0));
    assert_eq!(end(Some("length"), Value::Null), ("max_tokens".into(), None, 0));
    assert_eq!(end(Some("tool_calls"), Value::Null), ("end_turn".into(), None, 0));
    assert_eq!(end(Some("content_filter"), Value::Null), ("refusal".into(), None, 0));
    assert_eq!(end(Some("novel"), Value::Null), ("end_turn".into(), None, 1));
    assert_eq!(end(None, Value::Null), ("end_turn".into(), None, 1));
}

#[test]
fn an_answer_that_is_cut_off_is_no_answer() {
    for events in [&[chunk(&json!({"content": "a"}), None)][..], &[], &[DONE.to_owned()], &["data: {\"choi".to_owned()]]
    {
        let (got, _) = got(events);
        let (kind, message) = got.error.unwrap();
        assert_eq!((kind.as_str(), message.as_str()), ("api_error", "The engine's answer was cut off before its end."));
    }
    // Without `[DONE]`, but with a reason to end: complete.
    let (got, _) = got(&[chunk(&json!({"content": "a"}), Some("stop"))]);
    assert_eq!((got.stop_reason.as_deref(), got.text().as_str()), (Some("end_turn"), "a"));
}

#[test]
fn the_prompts_length_is_told_as_early_as_it_is_known() {
    let continuous = json!({"choices": [{"delta": {"role": "assistant"}}],
                            "usage": {"prompt_tokens": 7, "completion_tokens": 0}});
    let (told, _) = got(&[
        format!("data: {continuous}\n\n"),
        chunk(&json!({"content": "a"}), Some("stop")),
        usage(7, 4, 1),
        DONE.to_owned(),
    ]);
    assert_eq!(told.start_usage["input_tokens"], 7);
    let expected = json!({
        "input_tokens": 3, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 1,
    });
    assert_eq!(told.usage, expected);

    let (mut stream, mut out) = (MessageStream::new(Asked { input_tokens: Some(9), ..asked() }), BytesMut::new());
    stream.ping(&mut out);
    assert!(stream.is_started());
    stream.feed(chunk(&json!({"content": "a"}), Some("stop")).as_bytes(), &mut out);
    stream.ping(&mut out);
    stream.feed(DONE.as_bytes(), &mut out);
    stream.ping(&mut out);
    let told = accumulate(&out).unwrap();
    assert_eq!((told.start_usage["input_tokens"].as_u64(), told.usage["input_tokens"].as_u64()), (Some(9), Some(9)));
    assert_eq!((told.pings, stream.usage().input_tokens), (2, 9));
}

#[test]
fn thinking_is_left_out_where_it_was_not_asked_for() {
    let mut stream = MessageStream::new(Asked { thinking: false, ..asked() });
    let mut out = BytesMut::new();
    for event in [chunk(&json!({"reasoning_content": "hm"}), None), chunk(&json!({"content": "a"}), Some("stop"))] {
        stream.feed(event.as_bytes(), &mut out);
    }
    stream.finish(&mut out);
    assert_eq!(accumulate(&out).unwrap().blocks, [Block::Text("a".into())]);
}

#[test]
fn a_failure_of_the_gateway_ends_the_stream() {
    let (mut stream, mut out) = (MessageStream::new(asked()), BytesMut::new());
    stream.start(&mut out);
    stream.fail(&Failure::new(ErrorKind::Overloaded, "the engine went away"), &mut out);
    stream.feed(DONE.as_bytes(), &mut out);
    stream.finish(&mut out);
    let told = accumulate(&out).unwrap();
    assert_eq!(told.error, Some(("overloaded_error".into(), "the engine went away".into())));
}

#[test]
fn an_event_that_cannot_be_read_is_a_failure() {
    for event in ["data: {\"choices\": 5}\n\n", "data: <html>\n\n", "data: \u{0}\n\n"] {
        let (told, _) = got(&[chunk(&json!({"content": "a"}), None), event.to_owned(), DONE.to_owned()]);
        assert_eq!(told.text(), "a");
        assert_eq!(told.error.unwrap().0, "api_error");
    }
}
