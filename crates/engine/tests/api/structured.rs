//! Answers that must have a form, from the real model, which was never taught any of them.

use serde_json::{Value, json};

use crate::support::{TestEngine, chat, with};

/// The text of a chat answer that is asked for with these fields.
async fn answer(engine: &TestEngine, fields: Value) -> String {
    let request = with(chat("Tell me about Remora."), json!({"temperature": 1.0, "seed": 5, "max_tokens": 200}));
    let request = with(request, fields);
    let answer = engine.ask("/v1/chat/completions", &request).await;
    assert_eq!(answer["choices"][0]["finish_reason"], "stop", "{answer}");
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_schema_holds() {
    let engine = TestEngine::start().await;
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "port": {"type": "integer", "minimum": 1, "maximum": 9},
            "tags": {"type": "array", "items": {"enum": ["fast", "safe"]}, "minItems": 1, "maxItems": 2},
        },
        "required": ["name", "port", "tags"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "service", "schema": schema}});
    for fields in [json!({"response_format": format}), json!({"structured_outputs": {"json": schema}})] {
        let text = answer(&engine, fields).await;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["name", "port", "tags"]);
        assert!(value["name"].as_str().unwrap().chars().count() <= 12);
        assert!((1..=9).contains(&value["port"].as_i64().unwrap()));
        assert!(value["tags"].as_array().unwrap().iter().all(|tag| tag == "fast" || tag == "safe"));
    }
}

#[tokio::test]
async fn a_regex_a_choice_and_a_grammar_hold() {
    let engine = TestEngine::start().await;
    let held = |outputs: Value| answer(&engine, json!({"structured_outputs": outputs}));
    let number = held(json!({"regex": "[1-9][0-9]{2}-[a-z]{3}"})).await;
    let (digits, letters) = number.split_once('-').unwrap();
    assert!(digits.len() == 3 && digits.parse::<u32>().unwrap() >= 100, "{number}");
    assert!(letters.len() == 3 && letters.bytes().all(|b| b.is_ascii_lowercase()), "{number}");
    assert!(["left", "right"].contains(&held(json!({"choice": ["left", "right"]})).await.as_str()));
    let sum = held(json!({"grammar": "start: NUMBER \"+\" NUMBER \"=\" NUMBER\nNUMBER: /[0-9]/"})).await;
    assert!(sum.len() == 5 && &sum[1..2] == "+" && &sum[3..4] == "=", "{sum}");
    // Complete before its least length, and the model's end ignored: the constraint decides.
    let short = answer(&engine, json!({"structured_outputs": {"choice": ["a"]}, "min_tokens": 9, "ignore_eos": true}));
    assert_eq!(short.await, "a");
}

#[tokio::test]
async fn any_object_is_an_object_and_other_requests_are_not_touched() {
    let engine = TestEngine::start().await;
    let hello = chat("hello");
    let plain = engine.ask("/v1/chat/completions", &hello).await;
    let request = with(hello.clone(), json!({"response_format": {"type": "json_object"}}));
    let (object, again) =
        tokio::join!(engine.ask("/v1/chat/completions", &request), engine.ask("/v1/chat/completions", &hello));
    assert!(object["choices"][0]["message"]["content"].as_str().unwrap().starts_with('{'), "{object}");
    let content = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
    assert_eq!(content(&plain), content(&again));
    assert!(!content(&plain).as_str().unwrap().starts_with('{'));
}

#[tokio::test]
async fn a_form_that_cannot_be_held_is_a_400_that_names_the_fault() {
    let engine = TestEngine::start().await;
    for (fields, fault) in [
        (json!({"structured_outputs": {"json": {"type": "objekt"}}}), "objekt"),
        (json!({"structured_outputs": {"regex": "("}}), "regex"),
        (json!({"structured_outputs": {"grammar": "start: nothing"}}), "nothing"),
        (json!({"structured_outputs": {"regex": "a", "choice": ["b"]}}), "only use one kind"),
        (json!({"response_format": {"type": "json_schema"}}), "'json_schema' field"),
        (json!({"response_format": {"type": "poem"}}), "poem"),
    ] {
        let error = engine.refused("/v1/chat/completions", &with(chat("hello"), fields), 400).await;
        assert!(error["error"]["message"].as_str().unwrap().contains(fault), "{fault}: {error}");
    }
}
