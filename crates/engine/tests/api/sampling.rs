use std::collections::HashSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::support::{TestEngine, chat, with};

fn hot(seed: Option<i64>) -> Value {
    json!({"prompt": "hello", "max_tokens": 20, "temperature": 2.0, "ignore_eos": true, "seed": seed})
}

async fn answers(engine: &TestEngine, requests: Vec<Value>) -> Vec<String> {
    let asked = requests.iter().map(|request| engine.ask("/v1/completions", request));
    join_all(asked).await.iter().map(|answer| answer["choices"][0]["text"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_seed_gives_the_same_answer_again() {
    let engine = TestEngine::start().await;
    let first = answers(&engine, vec![hot(Some(7))]).await;
    let again = answers(&engine, vec![hot(Some(7))]).await;
    assert_eq!(first, again);
    let others = answers(&engine, (0..5).map(|seed| hot(Some(seed))).collect()).await;
    assert!(others.iter().collect::<HashSet<_>>().len() > 1, "{others:?}");
    let unseeded = answers(&engine, vec![hot(None), hot(None), hot(Some(-1)), hot(Some(-1))]).await;
    assert!(unseeded.iter().collect::<HashSet<_>>().len() > 1, "{unseeded:?}");
}

#[tokio::test]
async fn top_k_of_one_is_greedy() {
    let engine = TestEngine::start().await;
    let greedy = with(hot(None), json!({"temperature": 0}));
    let narrow = [json!({"top_k": 1}), json!({"top_p": 1e-9}), json!({"min_p": 1.0})];
    let mut requests = vec![greedy];
    requests.extend(narrow.into_iter().map(|fields| with(hot(None), fields)));
    let found = answers(&engine, requests).await;
    assert!(found.iter().all(|answer| answer == &found[0]), "{found:?}");
}

#[tokio::test]
async fn biases_and_penalties_change_the_answer() {
    let engine = TestEngine::start().await;
    let greedy =
        json!({"prompt": "hello", "max_tokens": 6, "temperature": 0, "ignore_eos": true, "return_token_ids": true});
    let plain = engine.ask("/v1/completions", &greedy).await;
    let first = plain["choices"][0]["token_ids"][0].as_i64().unwrap();
    let biased = with(greedy.clone(), json!({"logit_bias": {first.to_string(): -100}}));
    let biased = engine.ask("/v1/completions", &biased).await;
    assert_ne!(biased["choices"][0]["token_ids"][0], first);
    let forced = with(greedy.clone(), json!({"allowed_token_ids": [5]}));
    let forced = engine.ask("/v1/completions", &forced).await;
    assert_eq!(forced["choices"][0]["token_ids"], json!([5, 5, 5, 5, 5, 5]));
    let varied = with(
        greedy,
        json!({"allowed_token_ids": [5, 6, 7, 8], "frequency_penalty": 2.0, "repetition_penalty": 1.5,
        "presence_penalty": 2.0, "max_tokens": 16}),
    );
    let varied = engine.ask("/v1/completions", &varied).await;
    let used: HashSet<_> = varied["choices"][0]["token_ids"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(used.len() > 1, "{used:?}");
}

#[tokio::test]
async fn many_at_once_get_what_one_gets() {
    let engine = TestEngine::with(|config| config.slots = Some(8)).await;
    let questions: Vec<Value> = (0..32).map(|n| chat(&format!("repeat after me: number {n} of many"))).collect();
    let content = |answer: &Value| answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let mut alone = Vec::new();
    for question in &questions {
        alone.push(content(&engine.ask("/v1/chat/completions", question).await));
    }
    let together = join_all(questions.iter().map(|question| engine.ask("/v1/chat/completions", question))).await;
    let same = together.iter().zip(&alone).filter(|(one, other)| content(one) == **other).count();
    // Another batch rounds otherwise, so an answer may part where two tokens are equally likely.
    assert!(same >= 30, "only {same} of 32 are the same");
}
