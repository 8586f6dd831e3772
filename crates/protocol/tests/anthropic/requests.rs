//! Requests on their way to the engine.

use std::collections::BTreeSet;

use proptest::prelude::*;
use remora_protocol::anthropic::{
    ChatOptions, CountTokensRequest, InlineSystem, MessagesRequest, Note, PastThinking, Translated,
};
use serde_json::{Value, json};

fn translate(request: &Value, options: &ChatOptions) -> (Value, Vec<Note>) {
    let request = MessagesRequest::parse(request.to_string().as_bytes()).expect("a request");
    let Translated { value, notes } = request.into_chat(options);
    (serde_json::to_value(value).expect("JSON"), notes)
}

/// The messages that these become.
fn messages(system: &Value, messages: &Value, options: &ChatOptions) -> (Value, Vec<Note>) {
    let request = json!({"model": "m", "max_tokens": 1, "system": system, "messages": messages});
    let (chat, notes) = translate(&request, options);
    (chat["messages"].clone(), notes)
}

fn claude_codes_request() -> Value {
    json!({
        "model": "claude-remora", "max_tokens": 32000, "stream": true, "temperature": 1.0, "top_p": 0.9, "top_k": 40,
        "stop_sequences": ["END"], "thinking": {"type": "adaptive"}, "metadata": {"user_id": "u"},
        "output_config": {"effort": "xhigh", "format": {"type": "json_schema", "schema": {"type": "object"}}},
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=abc;"},
            {"type": "text", "text": "You are helpful.", "cache_control": {"type": "ephemeral"}},
        ],
        "tools": [
            {"name": "Read", "description": "Reads.", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "x", "line": 1}},
                {"type": "tool_use", "id": "toolu_2", "name": "Read", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "text", "text": "there"},
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "one"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "is_error": true, "content": [
                    {"type": "text", "text": "two"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}},
                ]},
            ]},
            {"role": "system", "content": "Be brief."},
        ],
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "a snapshot of a whole request")]
fn a_turn_of_claude_code() {
    let options = ChatOptions {
        drop_billing_line: true,
        past_thinking: PastThinking::Reasoning,
        thinking_variable: Some("enable_thinking".into()),
        max_tokens_limit: Some(8000),
        continuous_usage: true,
        ..ChatOptions::default()
    };
    let (chat, notes) = translate(&claude_codes_request(), &options);
    insta::assert_snapshot!(serde_json::to_string_pretty(&chat).unwrap(), @r#"
    {
      "model": "claude-remora",
      "messages": [
        {
          "role": "system",
          "content": "You are helpful.\n\nBe brief."
        },
        {
          "role": "user",
          "content": "a\nb"
        },
        {
          "role": "assistant",
          "content": "I look.",
          "tool_calls": [
            {
              "id": "toolu_1",
              "type": "function",
              "function": {
                "name": "Read",
                "arguments": "{\"path\":\"x\",\"line\":1}"
              }
            },
            {
              "id": "toolu_2",
              "type": "function",
              "function": {
                "name": "Read",
                "arguments": "{}"
              }
            }
          ],
          "reasoning": "hm"
        },
        {
          "role": "tool",
          "content": "one",
          "tool_call_id": "toolu_1"
        },
        {
          "role": "tool",
          "content": "Error: two",
          "tool_call_id": "toolu_2"
        },
        {
          "role": "user",
          "content": [
            {
              "type": "image_url",
              "image_url": {
                "url": "data:image/png;base64,AA=="
              }
            },
            {
              "type": "text",
              "text": "there"
            }
          ]
        }
      ],
      "stream": true,
      "stream_options": {
        "include_usage": true,
        "continuous_usage_stats": true
      },
      "max_tokens": 8000,
      "tools": [
        {
          "type": "function",
          "function": {
            "name": "Read",
            "description": "Reads.",
            "parameters": {
              "type": "object",
              "properties": {
                "path": {
                  "type": "string"
                }
              }
            }
          }
        }
      ],
      "tool_choice": "required",
      "parallel_tool_calls": false,
      "reasoning_effort": "high",
      "chat_template_kwargs": {
        "enable_thinking": true
      },
      "temperature": 1.0,
      "top_p": 0.9,
      "top_k": 40,
      "stop": [
        "END"
      ],
      "response_format": {
        "type": "json_schema",
        "json_schema": {
          "name": "answer",
          "schema": {
            "type": "object"
          }
        }
      }
    }
    "#);
    assert_eq!(
        notes,
        [
            Note::ToolDropped { kind: "web_search_20250305".into(), name: "web_search".into() },
            Note::MaxTokensCut { asked: 32000, given: 8000 },
        ]
    );
}

#[test]
fn the_billing_line_goes_only_when_asked_and_only_the_line() {
    let keep = ChatOptions::default();
    let drop = ChatOptions { drop_billing_line: true, ..ChatOptions::default() };
    let line = "x-anthropic-billing-header: cch=1;";
    let said = |system: &Value, options: &ChatOptions| messages(system, &json!([]), options).0;
    assert_eq!(said(&json!(line), &keep), json!([{"role": "system", "content": line}]));
    assert_eq!(said(&json!(line), &drop), json!([]));
    assert_eq!(said(&json!(format!("{line}\n\nRest.")), &drop), json!([{"role": "system", "content": "Rest."}]));
    let talk = json!([{"role": "user", "content": line}]);
    assert_eq!(messages(&Value::Null, &talk, &drop).0, talk);
}

#[test]
fn system_turns_are_hoisted_or_folded() {
    let talk = json!([
        {"role": "system", "content": "first"},
        {"role": "user", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "second"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "system", "content": "third"},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r"}]},
    ]);
    let call = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}},
    ]});
    let hoisted = json!([
        {"role": "system", "content": "top\n\nfirst\n\nsecond\n\nthird"},
        {"role": "user", "content": "a"}, call, {"role": "tool", "content": "r", "tool_call_id": "t"},
    ]);
    assert_eq!(messages(&json!("top"), &talk, &ChatOptions::default()).0, hoisted);
    let folded = json!([
        {"role": "system", "content": "top\n\nfirst"},
        {"role": "user", "content": "a\nsecond"}, call, {"role": "tool", "content": "r\nthird", "tool_call_id": "t"},
    ]);
    let fold = ChatOptions { inline_system: InlineSystem::Fold, ..ChatOptions::default() };
    assert_eq!(messages(&json!("top"), &talk, &fold).0, folded);
}

#[test]
fn turns_of_one_side_are_one_and_results_stand_behind_their_calls() {
    let talk = json!([
        {"role": "user", "content": "a"},
        {"role": "ctx", "content": "b"},
        {"role": "assistant", "content": "c"},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "1", "name": "f", "input": {}},
            {"type": "tool_use", "id": "2", "name": "f", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "text", "text": "d"},
            {"type": "tool_result", "tool_use_id": "1", "content": [
                {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
            ]},
        ]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "2"}]},
    ]);
    let (got, notes) = messages(&Value::Null, &talk, &ChatOptions::default());
    let call = |id: &str| json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    assert_eq!(
        got,
        json!([
            {"role": "user", "content": "a\nb"},
            {"role": "assistant", "content": "c", "tool_calls": [call("1"), call("2")]},
            {"role": "tool", "content": "[image: see the next message]", "tool_call_id": "1"},
            {"role": "tool", "content": "", "tool_call_id": "2"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}}, {"type": "text", "text": "d"},
            ]},
        ])
    );
    assert_eq!(notes, [Note::RoleUnknown { role: "ctx".into() }]);
}

#[test]
fn thinking_goes_where_it_is_asked_for() {
    let talk = json!([
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ]);
    let said = |past_thinking| {
        messages(&Value::Null, &talk, &ChatOptions { past_thinking, ..ChatOptions::default() }).0[1].clone()
    };
    assert_eq!(said(PastThinking::Dropped), json!({"role": "assistant", "content": "b"}));
    assert_eq!(said(PastThinking::Reasoning), json!({"role": "assistant", "content": "b", "reasoning": "hm"}));
    assert_eq!(
        said(PastThinking::ReasoningContent),
        json!({"role": "assistant", "content": "b", "reasoning_content": "hm"})
    );
}

#[test]
fn an_answer_that_is_begun_is_continued() {
    let request = |last: Value| {
        let messages = json!([{"role": "user", "content": "a"}, last]);
        translate(&json!({"model": "m", "max_tokens": 1, "messages": messages}), &ChatOptions::default()).0
    };
    let begun = request(json!({"role": "assistant", "content": "{"}));
    assert_eq!((&begun["continue_final_message"], &begun["add_generation_prompt"]), (&json!(true), &json!(false)));
    for last in [
        json!({"role": "user", "content": "b"}),
        json!({"role": "assistant", "content": []}),
        json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": {}}]}),
    ] {
        assert_eq!(request(last)["continue_final_message"], Value::Null);
    }
}

#[test]
fn tool_choices() {
    let choice = |choice: Value| {
        let tools = json!([{"name": "f", "input_schema": {}}]);
        let request = json!({"model": "m", "max_tokens": 1, "messages": [], "tools": tools, "tool_choice": choice});
        let (chat, notes) = translate(&request, &ChatOptions::default());
        (chat["tool_choice"].clone(), chat["parallel_tool_calls"].clone(), notes.len())
    };
    assert_eq!(choice(Value::Null), (Value::Null, Value::Null, 0));
    assert_eq!(choice(json!({"type": "auto"})), (json!("auto"), Value::Null, 0));
    assert_eq!(choice(json!({"type": "any", "disable_parallel_tool_use": false})), (json!("required"), Value::Null, 0));
    assert_eq!(choice(json!({"type": "none"})), (json!("none"), Value::Null, 0));
    let named = json!({"type": "function", "function": {"name": "f"}});
    assert_eq!(
        choice(json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true})),
        (named, json!(false), 0)
    );
    assert_eq!(choice(json!({"type": "novel"})), (Value::Null, Value::Null, 1));
    // Engines refuse a choice without tools.
    let request = json!({"model": "m", "max_tokens": 1, "messages": [], "tool_choice": {"type": "any"}});
    assert_eq!(translate(&request, &ChatOptions::default()).0["tool_choice"], Value::Null);
}

#[test]
fn what_cannot_be_carried_over_is_noted() {
    let talk = json!([{"role": "user", "content": [
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "title": "T", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA=="}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"type": "document", "context": "C", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
        {"type": "search_result", "source": "https://a", "title": "S", "content": [{"type": "text", "text": "found"}]},
        {"type": "container_upload", "file_id": "f"},
        {"type": "redacted_thinking", "data": "x"},
    ]}]);
    let (got, notes) = messages(&Value::Null, &talk, &ChatOptions::default());
    assert_eq!(got, json!([{"role": "user", "content": "T\nplain\nC\ninner\nfound"}]));
    assert_eq!(
        notes,
        [
            Note::SourceDropped { block: "image", source_kind: "file".into() },
            Note::SourceDropped { block: "document", source_kind: "base64".into() },
            Note::BlockAsText { kind: "search_result".into() },
            Note::BlockDropped { kind: "container_upload".into() },
            Note::BlockDropped { kind: "redacted_thinking".into() },
        ]
    );
}

#[test]
fn images_can_be_left_out() {
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}});
    let options = ChatOptions { omit_images: true, ..ChatOptions::default() };
    let (got, notes) = messages(&Value::Null, &json!([{"role": "user", "content": [image]}]), &options);
    assert_eq!(got, json!([{"role": "user", "content": "[image omitted: this model cannot see images]"}]));
    assert_eq!(notes, [Note::ImageOmitted]);
}

#[test]
fn a_count_is_asked_for_as_the_answer_would_be() {
    let body = json!({
        "model": "m", "system": "s", "messages": [{"role": "user", "content": "a"}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}], "thinking": {"type": "disabled"},
        "output_config": {"effort": "low"},
    });
    let options = ChatOptions { thinking_variable: Some("enable_thinking".into()), ..ChatOptions::default() };
    let request = CountTokensRequest::parse(body.to_string().as_bytes()).unwrap();
    let Translated { value, notes } = request.into_tokenize(&options);
    assert_eq!(
        serde_json::to_value(value).unwrap(),
        json!({
            "model": "m",
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}],
            "add_special_tokens": false, "add_generation_prompt": true,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "chat_template_kwargs": {"enable_thinking": false, "reasoning_effort": "low"},
        })
    );
    assert_eq!(notes, []);
}

/// A text that is found again wherever it goes.
fn mark() -> impl Strategy<Value = String> {
    (any::<u32>(), "[ \"\\\\\né\u{0}]{0,3}").prop_map(|(number, odd)| format!("<{number:08x}>{odd}."))
}

fn image() -> impl Strategy<Value = Value> {
    mark().prop_map(
        |data| json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}),
    )
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => mark().prop_map(|text| json!({"type": "text", "text": text, "cache_control": {"type": "ephemeral"}})),
        1 => image(),
        1 => (mark(), mark()).prop_map(|(title, text)| {
            json!({"type": "document", "title": title, "source": {"type": "text", "data": text}})
        }),
        1 => mark().prop_map(|name| json!({"type": "tool_reference", "tool_name": name})),
        1 => mark().prop_map(|text| json!({"type": "novel", "text": text, "content": 5})),
        1 => mark().prop_map(|text| json!({"type": "search_result", "content": [{"type": "text", "text": text}]})),
    ]
}

fn block() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => leaf(),
        2 => (mark(), mark(), mark(), mark()).prop_map(|(id, name, key, value)| {
            json!({"type": "tool_use", "id": id, "name": name, "input": {key: [value, 1.5, null]}})
        }),
        2 => (mark(), proptest::collection::vec(leaf(), 0..3), any::<bool>()).prop_map(|(id, content, is_error)| {
            json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error})
        }),
        1 => (mark(), mark()).prop_map(|(id, text)| json!({"type": "tool_result", "tool_use_id": id, "content": text})),
    ]
}

/// Turns; assistants' pictures cannot be kept, so they have none.
fn turn() -> impl Strategy<Value = Value> {
    let role = prop_oneof![Just("user"), Just("assistant"), Just("system"), Just("developer"), Just("ctx")];
    let content =
        prop_oneof![mark().prop_map(Value::from), proptest::collection::vec(block(), 0..4).prop_map(Value::from),];
    (role, content).prop_map(|(role, mut content)| {
        if let Some(blocks) = content.as_array_mut() {
            match role {
                "assistant" => blocks.retain(|block| block["type"] != "image"),
                "system" | "developer" => blocks.retain(|block| block["type"] == "text"),
                _ => {}
            }
        }
        json!({"role": role, "content": content})
    })
}

/// Every string in a value, those inside arguments too; keys as well.
fn strings(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            if let Ok(inner @ Value::Object(_)) = serde_json::from_str(text) {
                strings(&inner, found);
            }
            found.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| {
            found.insert(key.clone());
            strings(value, found);
        }),
        _ => {}
    }
}

fn marks(value: &Value) -> Vec<String> {
    let mut found = BTreeSet::new();
    strings(value, &mut found);
    found.into_iter().filter(|text| text.starts_with('<') && text.ends_with('.')).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nothing_said_is_lost(
        system in prop_oneof![mark().prop_map(Value::from), Just(Value::Null)],
        turns in proptest::collection::vec(turn(), 0..8),
        fold: bool,
        drop_billing_line: bool,
    ) {
        let inline_system = if fold { InlineSystem::Fold } else { InlineSystem::Hoist };
        let options = ChatOptions { inline_system, drop_billing_line, ..ChatOptions::default() };
        let sent = json!({"system": system, "messages": turns});
        let (got, _) = messages(&system, &Value::from(turns), &options);
        let mut kept = BTreeSet::new();
        strings(&got, &mut kept);
        for mark in marks(&sent) {
            prop_assert!(kept.iter().any(|text| text.contains(&mark)), "{mark:?} is not in {got:#}");
        }
        check_order(&got)?;
    }

    /// Any JSON at all, where clients may put anything.
    #[test]
    fn nothing_panics(fields in proptest::collection::vec(odd_field(), 0..8)) {
        let mut request = json!({"model": "m", "max_tokens": 1, "tools": [{}], "messages": [{"role": "user", "content": [{}]}]});
        for (field, value) in &fields {
            request["messages"][0]["content"][0][*field] = value.clone();
            request["tools"][0][*field] = value.clone();
            request[*field] = value.clone();
        }
        if let Ok(request) = MessagesRequest::parse(request.to_string().as_bytes()) {
            let _ = request.into_chat(&ChatOptions::default());
        }
        if let Ok(request) = CountTokensRequest::parse(request.to_string().as_bytes()) {
            let _ = request.into_tokenize(&ChatOptions::default());
        }
    }
}

fn odd_field() -> impl Strategy<Value = (&'static str, Value)> {
    let fields = [
        "type",
        "text",
        "source",
        "content",
        "input",
        "name",
        "id",
        "tool_use_id",
        "system",
        "thinking",
        "output_config",
        "input_schema",
        "metadata",
        "stop_sequences",
    ];
    let value = prop_oneof![
        Just(Value::Null),
        Just(json!(1)),
        Just(json!("x")),
        Just(json!({})),
        Just(json!([])),
        Just(json!({"type": "text"})),
        Just(json!([{"type": "text", "text": "a"}])),
        Just(json!({"type": "base64", "data": 1})),
        Just(json!(["a"])),
        proptest::sample::select(
            &[
                "text",
                "image",
                "document",
                "tool_use",
                "tool_result",
                "thinking",
                "redacted_thinking",
                "tool_reference",
            ][..]
        )
        .prop_map(Value::from),
    ];
    (proptest::sample::select(fields.to_vec()), value)
}

/// The system prompt is first and alone, results stand behind an assistant's turn or another result, and two users'
/// turns never meet.
fn check_order(messages: &Value) -> Result<(), TestCaseError> {
    let messages = messages.as_array().expect("messages");
    for (at, message) in messages.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| messages[at]["role"].as_str().unwrap_or_default());
        match message["role"].as_str().unwrap_or_default() {
            "system" => prop_assert_eq!(at, 0),
            "tool" => prop_assert!(message["tool_call_id"].is_string()),
            "user" => prop_assert_ne!(before, Some("user")),
            "assistant" => prop_assert!(message.get("content").is_some()),
            role => return Err(TestCaseError::fail(role.to_owned())),
        }
    }
    Ok(())
}
