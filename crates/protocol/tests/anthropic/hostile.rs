//! Streams that no engine should send, cut anywhere: what comes out is legal all the same.

use bytes::BytesMut;
use proptest::prelude::*;
use remora_protocol::anthropic::{Asked, MessageStream, answer};
use serde_json::{Value, json};

use crate::legality::{Block, accumulate};
use crate::streams::asked;

/// A text with everything that has to be escaped.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("\n\n".to_owned()),
        Just(" ".to_owned()),
        Just("data: [DONE]\n\n".to_owned()),
        "[a-z \"\\\\\n\r\u{0}é€𝄞]{1,12}",
        ".{0,8}",
    ]
}

fn arguments() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!("")),
        Just(json!("{}")),
        Just(json!("{\"a\":")),
        Just(json!("\"}\"")),
        Just(json!("1}")),
        Just(json!(" ")),
        Just(json!("}]")),
        Just(Value::Null),
        Just(json!({"a": [1]})),
        Just(json!(7)),
        text().prop_map(Value::from),
    ]
}

fn call() -> impl Strategy<Value = Value> {
    let id = prop_oneof![Just(json!("a")), Just(json!("b")), Just(json!("")), Just(Value::Null)];
    let name = prop_oneof![Just(json!("read")), Just(json!("list")), Just(json!("")), Just(Value::Null)];
    let index = prop_oneof![Just(json!(0)), Just(json!(1)), Just(json!(2)), Just(Value::Null)];
    (index, id, name, arguments()).prop_map(
        |(index, id, name, arguments)| json!({"index": index, "id": id, "function": {"name": name, "arguments": arguments}}),
    )
}

fn delta() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => text().prop_map(|text| json!({"content": text})),
        2 => text().prop_map(|text| json!({"reasoning": text})),
        1 => text().prop_map(|text| json!({"reasoning_content": text, "content": null})),
        1 => text().prop_map(|text| json!({"refusal": text})),
        6 => proptest::collection::vec(call(), 1..3).prop_map(|calls| json!({"tool_calls": calls})),
        1 => (text(), text(), call()).prop_map(
            |(a, b, call)| json!({"reasoning": a, "content": b, "tool_calls": [call]})
        ),
        1 => Just(json!({})),
        1 => Just(Value::Null),
    ]
}

/// Events that are no chunks, and chunks of odd shapes.
const ODD: [&[u8]; 15] = [
    b"data: [DONE]\n\n",
    b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\r\n\r\n",
    b"data: {\"choices\":null,\"usage\":{}}\n\n",
    b"data: {\"error\":{\"message\":\"m\",\"code\":400}}\n\n",
    b"data: {\"error\":\"m\"}\n\n",
    b"data: {\"object\":\"error\",\"message\":\"\",\"code\":429}\n\n",
    b": comment\n\n",
    b"event: x\r\ndata:\r\n\r\n",
    b"data: {\"choices\":\ndata: []}\n\n",
    b"data: {\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n",
    b"data: {\"choices\":[{\"message\":{\"content\":\"whole\"},\"finish_reason\":\"stop\"}]}\n\n",
    b"data: {\"choi",
    b"\n\n",
    b"\xff\xfe\r",
    b"data: {\"choices\":[{\"delta\":{\"content\":\"\\ud800\"}}]}\n\n",
];

fn event() -> impl Strategy<Value = Vec<u8>> {
    let finish = prop_oneof![
        8 => Just(Value::Null),
        1 => prop_oneof![
            Just("stop"), Just("length"), Just("tool_calls"), Just("content_filter"), Just("abort"), Just("novel"), Just("")
        ].prop_map(Value::from),
    ];
    let chunk = (delta(), finish).prop_map(|(delta, finish)| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
            .into_bytes()
    });
    let odd = proptest::sample::select(&ODD[..]);
    prop_oneof![
        12 => chunk,
        2 => odd.prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

/// Feeds a stream in pieces that end at these places.
fn feed(stream: &[u8], cuts: &[usize], thinking: bool, pings: bool) -> BytesMut {
    let (mut translated, mut out) = (MessageStream::new(Asked { thinking, ..asked() }), BytesMut::new());
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(stream.len());
    let mut from = 0;
    for cut in cuts {
        translated.feed(&stream[from..cut], &mut out);
        if pings {
            translated.ping(&mut out);
        }
        from = cut;
    }
    translated.finish(&mut out);
    assert!(translated.is_over());
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn every_stream_comes_out_legal(
        events in proptest::collection::vec(event(), 0..24),
        cuts in proptest::collection::vec(any::<usize>(), 0..12),
        thinking: bool,
    ) {
        let stream = events.concat();
        let whole = feed(&stream, &[], thinking, false);
        if let Err(why) = accumulate(&whole) {
            return Err(TestCaseError::fail(format!("{why}\n{}", String::from_utf8_lossy(&whole))));
        }
        prop_assert_eq!(&feed(&stream, &cuts, thinking, false), &whole);
        let pinged = feed(&stream, &cuts, thinking, true);
        prop_assert!(accumulate(&pinged).is_ok());
    }

    /// A stream that an engine may send loses nothing: a client ends up with what the whole answer holds.
    #[test]
    fn a_good_stream_says_what_the_whole_answer_says(
        reasoning in "[a-z\n ]{0,20}",
        content in "[a-zé\"\n ]{0,20}",
        calls in proptest::collection::vec(("[a-z]{1,5}", proptest::collection::btree_map("[a-z]{0,3}", ".{0,6}", 0..3)), 0..4),
        order in any::<u64>(),
        size in 1usize..5,
    ) {
        let calls: Vec<_> = calls.into_iter().enumerate().map(|(index, (name, arguments))| {
            (index, format!("call_{index}"), name, serde_json::to_string(&arguments).unwrap())
        }).collect();
        let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
        let whole = json!({
            "choices": [{"index": 0, "finish_reason": finish, "message": {
                "role": "assistant", "content": content, "reasoning": reasoning,
                "tool_calls": calls.iter().map(|(_, id, name, arguments)| json!(
                    {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
                )).collect::<Vec<_>>(),
            }}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11},
        });
        let message = answer(whole.to_string().as_bytes(), asked()).unwrap().value;

        let mut deltas = Vec::new();
        deltas.extend(pieces(&reasoning, size).map(|piece| json!({"reasoning": piece})));
        deltas.extend(pieces(&content, size).map(|piece| json!({"content": piece})));
        // The calls' pieces, interleaved by chance but each in order.
        let mut queues: Vec<Vec<Value>> = calls.iter().map(|(index, id, name, arguments)| {
            let head = json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": ""}}]});
            let rest = pieces(arguments, size)
                .map(|piece| json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}));
            let mut queue: Vec<_> = std::iter::once(head).chain(rest).collect();
            queue.reverse();
            queue
        }).collect();
        let mut chance = order;
        // The heads in order: an answer's calls are numbered as they begin.
        deltas.extend(queues.iter_mut().filter_map(Vec::pop));
        while queues.iter().any(|queue| !queue.is_empty()) {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(chance >> 40).unwrap() % queues.len();
            deltas.extend(queues[at].pop());
        }
        let mut chunks: Vec<Value> = deltas.iter().map(|delta| {
            json!({"choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
        }).collect();
        chunks.push(json!({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}));
        chunks.push(json!({"choices": [], "usage": whole["usage"]}));
        let mut stream = String::new();
        for chunk in chunks {
            stream.push_str("data: ");
            stream.push_str(&chunk.to_string());
            stream.push_str("\n\n");
        }
        stream.push_str("data: [DONE]\n\n");

        let got = accumulate(&feed(stream.as_bytes(), &[], true, false)).unwrap();
        let expected = serde_json::to_value(&message).unwrap();
        prop_assert_eq!(&got.usage, &expected["usage"]);
        prop_assert_eq!(got.stop_reason.as_deref(), expected["stop_reason"].as_str());
        let content: Vec<Value> = got.blocks.iter().map(|block| match block {
            Block::Thinking(thinking) => {
                json!({"type": "thinking", "thinking": thinking, "signature": "remora-local"})
            }
            Block::Text(text) => json!({"type": "text", "text": text}),
            Block::Tool { id, name, arguments } => {
                let input: Value = serde_json::from_str(arguments).unwrap();
                json!({"type": "tool_use", "id": id, "name": name, "input": input})
            }
        }).collect();
        prop_assert_eq!(Value::from(content), expected["content"].clone());
    }

    #[test]
    fn no_answer_panics(body in proptest::collection::vec(event(), 1..3)) {
        let body = body.concat();
        let body = body.strip_prefix(b"data: ").unwrap_or(&body);
        let _ = answer(body, asked());
    }
}

fn pieces(text: &str, size: usize) -> impl Iterator<Item = String> {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(size).map(|piece| piece.iter().collect()).collect::<Vec<String>>().into_iter()
}
