use serde_json::{Value, json};

use crate::support::{TestEngine, chat, steady, with};

fn text(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

#[tokio::test]
async fn a_chat_stream_is_told_as_vllm_tells_it() {
    let engine = TestEngine::start().await;
    let request =
        with(chat("hello"), json!({"stream": true, "max_tokens": 2, "stream_options": {"include_usage": true}}));
    let chunks = engine.chunks("/v1/chat/completions", &request).await;
    let lines: Vec<String> = chunks.into_iter().map(|chunk| steady(chunk).to_string()).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":"NOW","model":"remora-demo","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}
    {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":"NOW","model":"remora-demo","choices":[{"index":0,"delta":{"content":"TEXT"},"logprobs":null,"finish_reason":null,"token_ids":null}]}
    {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":"NOW","model":"remora-demo","choices":[{"index":0,"delta":{"content":"TEXT"},"logprobs":null,"finish_reason":"length","stop_reason":null,"token_ids":null}]}
    {"id":"chatcmpl-ID","object":"chat.completion.chunk","created":"NOW","model":"remora-demo","choices":[],"usage":{"prompt_tokens":"COUNT","total_tokens":"COUNT","completion_tokens":2},"system_fingerprint":"remora-0.1.0"}
    "#);
}

#[tokio::test]
async fn a_completion_stream_is_told_as_vllm_tells_it() {
    let engine = TestEngine::start().await;
    let request = json!({"prompt": "hello", "stream": true, "max_tokens": 2, "temperature": 0, "logprobs": 1,
        "ignore_eos": true, "skip_special_tokens": false});
    let chunks = engine.chunks("/v1/completions", &request).await;
    assert_eq!(chunks.len(), 2);
    assert!(chunks.iter().all(|chunk| chunk["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len() == 1));
    let usage = with(request.clone(), json!({"stream_options": {"include_usage": true}, "logprobs": null}));
    let chunks = engine.chunks("/v1/completions", &usage).await;
    let lines: Vec<String> = chunks.into_iter().map(|chunk| steady(chunk).to_string()).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"id":"cmpl-ID","object":"text_completion","created":"NOW","model":"remora-demo","choices":[{"index":0,"text":"TEXT","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}
    {"id":"cmpl-ID","object":"text_completion","created":"NOW","model":"remora-demo","choices":[{"index":0,"text":"TEXT","logprobs":null,"finish_reason":"length","stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}
    {"id":"cmpl-ID","object":"text_completion","created":"NOW","model":"remora-demo","choices":[],"usage":{"prompt_tokens":"COUNT","total_tokens":"COUNT","completion_tokens":2},"system_fingerprint":"remora-0.1.0"}
    "#);
}

#[tokio::test]
async fn streamed_and_whole_answers_are_the_same() {
    let engine = TestEngine::start().await;
    for question in ["hello", "What is Remora?", "say: 😀 naïve café"] {
        let whole = engine.ask("/v1/chat/completions", &chat(question)).await;
        let chunks = engine.chunks("/v1/chat/completions", &with(chat(question), json!({"stream": true}))).await;
        assert_eq!(text(&chunks), whole["choices"][0]["message"]["content"].as_str().unwrap());
        let last = &chunks.last().unwrap()["choices"][0];
        assert_eq!(last["finish_reason"], whole["choices"][0]["finish_reason"]);
        assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    }
}

#[tokio::test]
async fn usage_can_come_with_every_chunk() {
    let engine = TestEngine::start().await;
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let request = with(chat("hello"), json!({"stream": true, "max_tokens": 4, "stream_options": options}));
    let chunks = engine.chunks("/v1/chat/completions", &request).await;
    let counts: Vec<u64> = chunks.iter().map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted() && counts.last() == Some(&4), "{counts:?}");
}

#[tokio::test]
async fn token_ids_come_on_demand() {
    let engine = TestEngine::start().await;
    let request = with(chat("hello"), json!({"return_token_ids": true, "max_tokens": 3}));
    let whole = engine.ask("/v1/chat/completions", &request).await;
    let chunks = engine.chunks("/v1/chat/completions", &with(request, json!({"stream": true}))).await;
    let streamed: Vec<Value> =
        chunks.iter().filter_map(|chunk| chunk["choices"][0]["token_ids"].as_array()).flatten().cloned().collect();
    assert_eq!(whole["choices"][0]["token_ids"], Value::from(streamed));
    assert_eq!(chunks[0]["prompt_token_ids"], whole["prompt_token_ids"]);
    let prompt = whole["prompt_token_ids"].as_array().unwrap().len() as u64;
    assert_eq!(whole["usage"]["prompt_tokens"].as_u64(), Some(prompt));
}

#[tokio::test]
async fn a_stop_never_shows_in_a_stream() {
    let engine = TestEngine::start().await;
    let whole = engine.ask("/v1/chat/completions", &chat("What is Remora?")).await;
    let answer = whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    // A stop that begins inside one word and ends inside another, so that it is spread over tokens.
    let at = answer.find(' ').unwrap();
    let stop = &answer[at - 1..at + 3];
    let request = with(chat("What is Remora?"), json!({"stop": [stop, "never said"], "stream": true}));
    let chunks = engine.chunks("/v1/chat/completions", &request).await;
    assert_eq!(text(&chunks), answer.split(stop).next().unwrap());
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!((&last["finish_reason"], &last["stop_reason"]), (&json!("stop"), &json!(stop)));
    let kept = with(chat("What is Remora?"), json!({"stop": stop, "include_stop_str_in_output": true}));
    let kept = engine.ask("/v1/chat/completions", &kept).await;
    let kept = kept["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(kept.ends_with(stop) && answer.starts_with(kept));
}
