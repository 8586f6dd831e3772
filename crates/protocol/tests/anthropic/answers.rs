//! Whole answers.

use remora_protocol::anthropic::{AnswerError, ErrorKind, Failure, Note, answer};
use serde_json::json;

use crate::streams::asked;

#[test]
fn everything_an_answer_holds() {
    let body = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "served", "choices": [{
            "index": 0, "logprobs": null, "finish_reason": "tool_calls", "stop_reason": null,
            "message": {"role": "assistant", "content": "I look.", "reasoning": "Where?", "tool_calls": [
                {"id": "call_a", "type": "function", "function": {"name": "read", "arguments": "{\"path\": \"a\"}"}},
                {"id": "call_b", "type": "function", "function": {"name": "list", "arguments": ""}},
                {"id": "call_b", "type": "function", "function": {"name": "odd", "arguments": "[1"}},
            ]},
        }],
        "usage": {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29, "prompt_tokens_details": {"cached_tokens": 16}},
    });
    let translated = answer(body.to_string().as_bytes(), asked()).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&translated.value).unwrap(), @r#"
    {
      "id": "msg_1",
      "type": "message",
      "role": "assistant",
      "model": "claude-remora",
      "content": [
        {
          "type": "thinking",
          "thinking": "Where?",
          "signature": "remora-local"
        },
        {
          "type": "text",
          "text": "I look."
        },
        {
          "type": "tool_use",
          "id": "call_a",
          "name": "read",
          "input": {
            "path": "a"
          }
        },
        {
          "type": "tool_use",
          "id": "call_b",
          "name": "list",
          "input": {}
        },
        {
          "type": "tool_use",
          "id": "toolu_1_2",
          "name": "odd",
          "input": {
            "INVALID_JSON": "[1"
          }
        }
      ],
      "stop_reason": "tool_use",
      "stop_sequence": null,
      "usage": {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 16,
        "output_tokens": 9
      }
    }
    "#);
    assert_eq!(translated.notes, [Note::ArgumentsNotJson { tool: "odd".into() }]);
}

#[test]
fn a_stop_sequence_is_named() {
    let body = br#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop","stop_reason":"END"}]}"#;
    let message = serde_json::to_value(answer(body, asked()).unwrap().value).unwrap();
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("stop_sequence"), &json!("END")));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    let failed = |body: &[u8]| answer(body, asked()).unwrap_err();
    assert!(matches!(failed(b"<html>"), AnswerError::Unreadable(_)));
    assert!(matches!(failed(b"{}"), AnswerError::NoMessage));
    assert!(matches!(failed(br#"{"choices":[{"message":null}]}"#), AnswerError::NoMessage));
    let failure = Failure::from(failed(br#"{"error":{"message":"gone","code":404}}"#));
    assert_eq!((failure.status, failure.kind, failure.message.as_str()), (404, ErrorKind::NotFound, "gone"));
    assert_eq!(Failure::from(failed(b"{}")).status, 500);
}
