use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestEngine, chat, with};

const CHAT: &str = "/v1/chat/completions";

/// A question after a long preamble, which is the same in all of them.
fn question(question: &str) -> Value {
    let preamble = "You are the Remora demo assistant. Answer in one sentence. ".repeat(10);
    let messages = json!([{"role": "system", "content": preamble}, {"role": "user", "content": question}]);
    with(chat(""), json!({"messages": messages, "return_token_ids": true}))
}

fn cached(answer: &Value) -> u64 {
    answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0)
}

fn told(answer: &Value) -> Value {
    answer["choices"][0]["token_ids"].clone()
}

#[tokio::test]
async fn a_prompt_that_was_seen_is_not_computed_again() {
    let engine = TestEngine::start().await;
    let first = engine.ask(CHAT, &question("hello")).await;
    assert_eq!(first["usage"]["prompt_tokens_details"], Value::Null);
    let again = engine.ask(CHAT, &question("hello")).await;
    let length = again["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(cached(&again), length - 1, "all but the token whose scores are wanted");
    assert_eq!(told(&again), told(&first));
    let fields = json!({"stream": true, "stream_options": {"include_usage": true}});
    let chunks = engine.chunks(CHAT, &with(question("hello"), fields)).await;
    assert_eq!(cached(chunks.last().unwrap()), length - 1);
    assert_eq!(engine.metric("vllm:prefix_cache_queries_total").await, 3 * length);
    assert_eq!(engine.metric("vllm:prefix_cache_hits_total").await, 2 * (length - 1));
    assert_eq!(engine.metric("vllm:prompt_tokens_total").await, 3 * length);
    assert_eq!(engine.metric("vllm:prompt_tokens_cached_total").await, 2 * (length - 1));
}

#[tokio::test]
async fn a_conversation_goes_on_from_its_last_answer() {
    let engine = TestEngine::start().await;
    let mut request = question("hello");
    let first = engine.ask(CHAT, &request).await;
    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": first["choices"][0]["message"]["content"]}));
    messages.push(json!({"role": "user", "content": "What is Remora?"}));
    let second = engine.ask(CHAT, &request).await;
    assert!(cached(&second) > first["usage"]["prompt_tokens"].as_u64().unwrap(), "the answer is in memory too");
    let fresh = TestEngine::start().await;
    assert_eq!(told(&second), told(&fresh.ask(CHAT, &request).await));
}

#[tokio::test]
async fn with_and_without_the_cache_answers_are_the_same() {
    // Three slots for many conversations: memory is cut, copied from slots at work, and given up.
    let engine = TestEngine::with(|config| config.slots = Some(3)).await;
    let questions =
        ["hello", "What is Remora?", "What is an adapter?", "Who are you?", "What is a gateway?", "Thanks!"];
    let mut alone = Vec::new();
    for asked in questions {
        let fresh = TestEngine::start().await;
        alone.push(told(&fresh.ask(CHAT, &question(asked)).await));
    }
    let mut reused = 0;
    for round in 0..4 {
        let requests = questions.map(question);
        let answers = join_all(requests.iter().map(|request| engine.ask(CHAT, request))).await;
        for ((answer, expected), asked) in answers.iter().zip(&alone).zip(questions) {
            assert_eq!(told(answer), *expected, "round {round}, {asked}");
            reused += cached(answer);
        }
    }
    assert!(reused > 0);
}

#[tokio::test]
async fn a_slot_at_work_lends_its_prefix() {
    let engine = TestEngine::with(|config| config.slots = Some(2)).await;
    let expected = told(&TestEngine::start().await.ask(CHAT, &question("What is Remora?")).await);
    let endless = json!({"stream": true, "ignore_eos": true, "max_tokens": 1500, "temperature": 0});
    let mut stream = engine.post(CHAT, &with(question("hello"), endless)).await;
    assert!(stream.chunk().await.unwrap().is_some());
    let beside = engine.ask(CHAT, &question("What is Remora?")).await;
    assert!(cached(&beside) >= 64, "{}", beside["usage"]);
    assert_eq!(told(&beside), expected);
}
