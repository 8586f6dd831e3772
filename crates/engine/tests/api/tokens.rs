use serde_json::json;

use crate::support::TestEngine;

#[tokio::test]
async fn tokens_become_the_same_text_again() {
    let engine = TestEngine::start().await;
    for text in ["Hello, world!", "  two  spaces\n\ttabs", "naïve 😀 日本語", "<|im_start|>user\nx<|im_end|>", ""]
    {
        let counted = engine.ask("/tokenize", &json!({"prompt": text, "model": "remora-demo"})).await;
        assert_eq!(counted["count"], counted["tokens"].as_array().unwrap().len());
        assert_eq!(counted["max_model_len"], 2048);
        let back = engine.ask("/detokenize", &json!({"tokens": counted["tokens"]})).await;
        assert_eq!(back, json!({"prompt": text}));
    }
}

#[tokio::test]
async fn a_long_text_has_the_tokens_of_its_parts() {
    let engine = TestEngine::start().await;
    let part = "<|im_start|>user\nnaïve 😀  text<|im_end|>\n";
    let one = engine.ask("/tokenize", &json!({"prompt": part})).await;
    // Long enough to be tokenized in parts, and quadratic in llama.cpp if it were not.
    let many = engine.ask("/tokenize", &json!({"prompt": part.repeat(2000)})).await;
    let expected = std::iter::repeat_n(one["tokens"].as_array().unwrap(), 2000).flatten();
    assert!(many["tokens"].as_array().unwrap().iter().eq(expected));
}

#[tokio::test]
async fn tokens_can_be_spelled() {
    let engine = TestEngine::start().await;
    let request = json!({"prompt": "a <|im_end|>", "return_token_strs": true});
    let counted = engine.ask("/tokenize", &request).await;
    assert_eq!(counted["token_strs"], json!(["a", "Ġ", "<|im_end|>"]));
    let keys: Vec<&String> = counted.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["count", "max_model_len", "tokens", "token_strs"]);
    assert_eq!(engine.ask("/tokenize", &json!({"prompt": "a"})).await["token_strs"], json!(null));
}

#[tokio::test]
async fn a_conversation_is_counted_as_it_will_be_read() {
    let engine = TestEngine::start().await;
    let messages = json!([{"role": "user", "content": "hello"}]);
    let open = engine.ask("/tokenize", &json!({"messages": messages})).await;
    let closed = engine.ask("/tokenize", &json!({"messages": messages, "add_generation_prompt": false})).await;
    assert!(open["count"].as_u64() > closed["count"].as_u64());
    let answer = engine.ask("/v1/chat/completions", &json!({"messages": messages, "max_tokens": 1})).await;
    assert_eq!(answer["usage"]["prompt_tokens"], open["count"]);
    let text = engine.ask("/detokenize", &json!({"tokens": open["tokens"]})).await;
    assert_eq!(text["prompt"], "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n");
}

#[tokio::test]
async fn ids_that_the_model_has_not_are_refused() {
    let engine = TestEngine::start().await;
    for id in [-1, 1_000_000, i64::from(u32::MAX) + 1] {
        let error = engine.refused("/detokenize", &json!({"tokens": [1, id]}), 400).await;
        assert_eq!(error["error"]["message"], format!("Token id {id} is out of vocabulary"));
    }
}
