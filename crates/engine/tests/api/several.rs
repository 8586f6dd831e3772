//! Several answers to one prompt, and several prompts.

use std::collections::BTreeMap;

use remora_testing::wait_until;
use serde_json::{Value, json};

use crate::support::{LIMIT, TestEngine, chat, with};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";

/// A request that is drawn, not greedy.
fn drawn(fields: Value) -> Value {
    let long = "Tell me about Remora, please. ".repeat(12);
    with(with(chat(&long), json!({"temperature": 2.0, "seed": 7, "max_tokens": 24})), fields)
}

fn texts(answer: &Value) -> Vec<&str> {
    let choices = answer["choices"].as_array().unwrap();
    assert!(choices.iter().enumerate().all(|(index, choice)| choice["index"] == index), "{answer}");
    choices.iter().map(|choice| choice["message"]["content"].as_str().or(choice["text"].as_str()).unwrap()).collect()
}

/// The texts of a stream, by index.
fn streamed(chunks: &[Value]) -> BTreeMap<u64, String> {
    let mut texts: BTreeMap<u64, String> = BTreeMap::new();
    for choice in chunks.iter().filter_map(|chunk| chunk["choices"].get(0)) {
        let more = choice["delta"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default();
        texts.entry(choice["index"].as_u64().unwrap()).or_default().push_str(more);
    }
    texts
}

#[tokio::test]
async fn each_answer_is_another_and_the_prompt_is_computed_once() {
    let engine = TestEngine::start().await;
    let answer = engine.ask(CHAT, &drawn(json!({"n": 3}))).await;
    let texts = texts(&answer);
    assert_eq!(texts.len(), 3);
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "{texts:?}");
    let prompt = answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert!(prompt > 65, "long enough to be worth a copy");
    assert_eq!(engine.metric("vllm:prompt_tokens_total").await, 3 * prompt);
    assert_eq!(engine.metric("vllm:prefix_cache_hits_total").await, 2 * (prompt - 1));
    assert_eq!(answer["usage"]["prompt_tokens_details"], Value::Null, "that is between the answers");
    let usage = |key: &str| answer["usage"][key].as_u64().unwrap();
    assert_eq!(usage("total_tokens"), usage("prompt_tokens") + usage("completion_tokens"));
    assert_eq!(usage("completion_tokens"), engine.metric("vllm:generation_tokens_total").await);
}

#[tokio::test]
async fn streamed_answers_are_told_by_their_index() {
    let request = drawn(json!({"n": 3}));
    let whole = TestEngine::start().await.ask(CHAT, &request).await;
    // Another engine, since what is in memory changes the last digits.
    let engine = TestEngine::start().await;
    let options = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = engine.chunks(CHAT, &with(request, options)).await;
    let openings: Vec<_> = chunks[..3].iter().map(|chunk| &chunk["choices"][0]).collect();
    for (index, opening) in openings.into_iter().enumerate() {
        assert_eq!((&opening["index"], &opening["delta"]["role"]), (&json!(index), &json!("assistant")));
    }
    assert!(streamed(&chunks).into_values().eq(texts(&whole).into_iter().map(str::to_owned)));
    let finished = chunks.iter().filter(|chunk| chunk["choices"][0]["finish_reason"].is_string()).count();
    assert_eq!(finished, 3);
    let usage = &chunks.last().unwrap()["usage"];
    for key in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(usage[key], whole["usage"][key]);
    }
}

#[tokio::test]
async fn several_prompts_are_answered_in_their_order() {
    let engine = TestEngine::start().await;
    let prompts = ["hello there", "What is Remora?"];
    let request = |prompt: Value| json!({"prompt": prompt, "max_tokens": 6, "seed": 3, "n": 2, "ignore_eos": true, "temperature": 1.0});
    let mut alone = Vec::new();
    for prompt in prompts {
        alone.push(engine.ask(COMPLETIONS, &request(json!(prompt))).await);
    }
    let both = engine.ask(COMPLETIONS, &request(json!(prompts))).await;
    let expected: Vec<&str> = alone.iter().flat_map(texts).collect();
    assert_eq!(texts(&both), expected, "first both answers to the first prompt");
    for key in ["prompt_tokens", "completion_tokens"] {
        let sum: u64 = alone.iter().map(|answer| answer["usage"][key].as_u64().unwrap()).sum();
        assert_eq!(both["usage"][key], sum);
    }
    let chunks = engine.chunks(COMPLETIONS, &with(request(json!(prompts)), json!({"stream": true}))).await;
    assert!(streamed(&chunks).into_values().eq(expected.into_iter().map(str::to_owned)));
}

#[tokio::test]
async fn a_prompt_can_be_told_again_before_its_answer() {
    let engine = TestEngine::start().await;
    let request = json!({"prompt": "hello there", "max_tokens": 6, "temperature": 0, "ignore_eos": true});
    let plain = engine.ask(COMPLETIONS, &request).await;
    let expected = format!("hello there{}", texts(&plain)[0]);
    let echo = with(request.clone(), json!({"echo": true}));
    assert_eq!(texts(&engine.ask(COMPLETIONS, &echo).await), [expected.as_str()]);
    let tokens = engine.ask("/tokenize", &json!({"prompt": "hello there"})).await["tokens"].clone();
    let as_tokens = with(echo.clone(), json!({"prompt": tokens}));
    assert!(texts(&engine.ask(COMPLETIONS, &as_tokens).await)[0].ends_with(&expected));
    let chunks = engine.chunks(COMPLETIONS, &with(echo.clone(), json!({"stream": true}))).await;
    assert_eq!(streamed(&chunks)[&0], expected);
    let only = with(echo.clone(), json!({"max_tokens": 0}));
    assert_eq!(texts(&engine.ask(COMPLETIONS, &only).await), ["hello there"]);
    let chunks = engine.chunks(COMPLETIONS, &with(only, json!({"stream": true}))).await;
    assert_eq!(streamed(&chunks)[&0], "hello there");
    // In a chat it is the message that is gone on with.
    let begun = json!([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Well, I"}]);
    let request = json!({"messages": begun, "continue_final_message": true, "add_generation_prompt": false,
        "temperature": 0, "max_tokens": 5});
    let plain = engine.ask(CHAT, &request).await;
    let expected = format!("Well, I{}", texts(&plain)[0]);
    let echo = with(request, json!({"echo": true}));
    assert_eq!(texts(&engine.ask(CHAT, &echo).await), [expected.as_str()]);
    assert_eq!(streamed(&engine.chunks(CHAT, &with(echo, json!({"stream": true}))).await)[&0], expected);
}

#[tokio::test]
async fn a_client_that_leaves_frees_all_its_answers() {
    let engine = TestEngine::with(|config| config.slots = Some(2)).await;
    let request = drawn(json!({"n": 4, "stream": true, "ignore_eos": true, "max_tokens": 1500}));
    let mut stream = engine.post(CHAT, &request).await;
    assert!(stream.chunk().await.unwrap().is_some());
    wait_until(LIMIT, async || engine.metric("vllm:num_requests_waiting").await == 2).await;
    drop(stream);
    for gauge in ["vllm:num_requests_running", "vllm:num_requests_waiting"] {
        wait_until(LIMIT, async || engine.metric(gauge).await == 0).await;
    }
    assert!(engine.metric("vllm:generation_tokens_total").await < 2 * 1500, "they did not run to their ends");
}

#[tokio::test]
async fn a_full_house_takes_all_answers_or_none() {
    let engine = TestEngine::with(|config| (config.slots, config.max_queue) = (Some(1), 3)).await;
    let endless = json!({"stream": true, "ignore_eos": true, "max_tokens": 1500});
    let mut first = engine.post(CHAT, &drawn(endless.clone())).await;
    assert!(first.chunk().await.unwrap().is_some());
    let second = engine.post(CHAT, &drawn(with(endless.clone(), json!({"n": 2})))).await;
    assert_eq!(second.status().as_u16(), 200);
    wait_until(LIMIT, async || engine.metric("vllm:num_requests_waiting").await == 2).await;
    let refused = engine.post(CHAT, &drawn(with(endless, json!({"n": 2})))).await;
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(engine.metric("vllm:num_requests_waiting").await, 2, "not even one of them was taken");
    let never = engine.refused(CHAT, &drawn(json!({"n": 4})), 400).await;
    insta::assert_snapshot!(never["error"]["message"].as_str().unwrap(), @"Too many answers: the request asks for 4 answers at once, and no more than 3 may wait (--max-queue).");
    drop((first, second));
    wait_until(LIMIT, async || engine.metric("vllm:num_requests_running").await == 0).await;
}
