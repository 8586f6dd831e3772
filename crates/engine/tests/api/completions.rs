use serde_json::json;

use crate::support::{TestEngine, steady};

#[tokio::test]
async fn an_answer_has_every_key_that_vllm_sends() {
    let engine = TestEngine::start().await;
    let request = json!({"prompt": "hello", "max_tokens": 2, "ignore_eos": true, "skip_special_tokens": false});
    let answer = engine.ask("/v1/completions", &request).await;
    insta::assert_json_snapshot!(steady(answer), @r#"
    {
      "id": "cmpl-ID",
      "object": "text_completion",
      "created": "NOW",
      "model": "remora-demo",
      "choices": [
        {
          "index": 0,
          "text": "TEXT",
          "logprobs": null,
          "finish_reason": "length",
          "stop_reason": null,
          "token_ids": null,
          "prompt_logprobs": null,
          "prompt_token_ids": null,
          "routed_experts": null
        }
      ],
      "service_tier": null,
      "system_fingerprint": "remora-0.1.0",
      "usage": {
        "prompt_tokens": "COUNT",
        "total_tokens": "COUNT",
        "completion_tokens": 2,
        "prompt_tokens_details": null,
        "completion_tokens_details": null
      },
      "kv_transfer_params": null,
      "ec_transfer_params": null,
      "metrics": null
    }
    "#);
}

#[tokio::test]
async fn every_form_of_one_prompt_gives_the_same() {
    let engine = TestEngine::start().await;
    let tokens = engine.ask("/tokenize", &json!({"prompt": "hello there"})).await["tokens"].clone();
    let mut answers = Vec::new();
    for prompt in [json!("hello there"), json!(["hello there"]), tokens.clone(), json!([tokens])] {
        let request = json!({"prompt": prompt, "max_tokens": 8, "temperature": 0, "ignore_eos": true});
        answers.push(engine.ask("/v1/completions", &request).await["choices"].clone());
    }
    assert!(answers.iter().all(|answer| answer == &answers[0]), "{answers:?}");
}

#[tokio::test]
async fn completions_generate_sixteen_tokens_unless_told() {
    let engine = TestEngine::start().await;
    let answer = engine.ask("/v1/completions", &json!({"prompt": "a", "ignore_eos": true, "temperature": 0})).await;
    assert_eq!(answer["usage"]["completion_tokens"], 16);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn log_probabilities_come_as_four_lists() {
    let engine = TestEngine::start().await;
    let request = json!({"prompt": "hello", "max_tokens": 5, "temperature": 0, "logprobs": 2, "ignore_eos": true,
        "skip_special_tokens": false});
    let answer = engine.ask("/v1/completions", &request).await;
    let logprobs = &answer["choices"][0]["logprobs"];
    let list = |name: &str| logprobs[name].as_array().unwrap();
    for name in ["text_offset", "token_logprobs", "tokens", "top_logprobs"] {
        assert_eq!(list(name).len(), 5, "{name}");
    }
    let mut offset = 0;
    for (index, token) in list("tokens").iter().enumerate() {
        assert_eq!(list("text_offset")[index], offset);
        offset += token.as_str().unwrap().chars().count();
        let top = list("top_logprobs")[index].as_object().unwrap();
        assert!((2..=3).contains(&top.len()));
        assert_eq!(top[token.as_str().unwrap()], list("token_logprobs")[index]);
    }
}

#[tokio::test]
async fn stop_tokens_and_least_lengths_hold() {
    let engine = TestEngine::start().await;
    let base = json!({"prompt": "hello", "max_tokens": 12, "temperature": 0, "return_token_ids": true});
    let free = engine.ask("/v1/completions", &crate::support::with(base.clone(), json!({"ignore_eos": true}))).await;
    let third = free["choices"][0]["token_ids"][2].clone();
    let stopped = crate::support::with(base.clone(), json!({"ignore_eos": true, "stop_token_ids": [third]}));
    let stopped = engine.ask("/v1/completions", &stopped).await;
    assert_eq!(
        (&stopped["choices"][0]["finish_reason"], &stopped["choices"][0]["stop_reason"]),
        (&json!("stop"), &third)
    );
    let longer = crate::support::with(base, json!({"min_tokens": 12, "stop_token_ids": [third]}));
    let longer = engine.ask("/v1/completions", &longer).await;
    assert_eq!(longer["usage"]["completion_tokens"], 12);
    assert!(!longer["choices"][0]["token_ids"].as_array().unwrap()[..11].contains(&third));
}
