//! Vectors, compared with what transformers computes for the same weights (`scripts/test-models`).

use std::fmt::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{TestEngine, chat, steady};

#[derive(Debug, Deserialize)]
struct Expected {
    text: String,
    tokens: Vec<u32>,
    vector: Vec<f32>,
}

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

fn expected(model: &str) -> Vec<Expected> {
    let all: Value = serde_json::from_str(&std::fs::read_to_string(models().join("embeddings.json")).unwrap()).unwrap();
    serde_json::from_value(all[model].clone()).unwrap()
}

async fn engine(model: &str) -> TestEngine {
    let path = models().join(format!("{model}.gguf"));
    TestEngine::with(|config| {
        let names = std::mem::take(&mut config.names);
        *config = remora_engine::EngineConfig { names, ..remora_engine::EngineConfig::new(path) };
        config.names = vec![model.to_owned()];
    })
    .await
}

fn vectors(answer: &Value) -> Vec<Vec<f32>> {
    let data = answer["data"].as_array().unwrap();
    data.iter().map(|item| serde_json::from_value(item["embedding"].clone()).unwrap()).collect()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let furthest = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(furthest < 2e-3, "{furthest}: {found:?} instead of {expected:?}");
}

#[tokio::test]
async fn vectors_are_those_of_transformers() {
    for model in ["tiny-bert", "tiny-qwen3"] {
        let (engine, expected) = (engine(model).await, expected(model));
        let texts: Vec<_> = expected.iter().map(|one| one.text.as_str()).collect();
        for (text, one) in texts.iter().zip(&expected) {
            let tokens = engine.ask("/tokenize", &json!({"prompt": text})).await["tokens"].clone();
            assert_eq!(tokens, json!(one.tokens), "{model}: {text}");
            let answer = engine.ask("/v1/embeddings", &json!({"model": model, "input": text})).await;
            assert_close(&vectors(&answer)[0], &one.vector);
            assert_eq!(answer["usage"]["prompt_tokens"], one.tokens.len());
        }
        let together = engine.ask("/v1/embeddings", &json!({"input": texts})).await;
        for (found, one) in vectors(&together).iter().zip(&expected) {
            assert_close(found, &one.vector);
        }
        let ids: Vec<_> = expected.iter().map(|one| &one.tokens).collect();
        assert_eq!(vectors(&engine.ask("/v1/embeddings", &json!({"input": ids})).await), vectors(&together));
        let one = engine.ask("/v1/embeddings", &json!({"input": expected[1].tokens})).await;
        assert_close(&vectors(&one)[0], &expected[1].vector);
    }
}

#[tokio::test]
async fn an_answer_has_vllm_s_form() {
    let engine = engine("tiny-bert").await;
    let mut answer = engine.ask("/v1/embeddings", &json!({"input": "hello", "encoding_format": "base64"})).await;
    let bytes = BASE64_STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let vector: Vec<f32> = bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect();
    let floats = engine.ask("/v1/embeddings", &json!({"input": "hello", "encoding_format": "float"})).await;
    assert_eq!(vectors(&floats), std::slice::from_ref(&vector));
    let length: f32 = vector.iter().map(|value| value * value).sum();
    assert!((length - 1.0).abs() < 1e-5);
    answer["data"][0]["embedding"] = "VECTOR".into();
    insta::assert_json_snapshot!(steady(answer), @r#"
    {
      "id": "embd-ID",
      "object": "list",
      "created": "NOW",
      "model": "tiny-bert",
      "data": [
        {
          "index": 0,
          "object": "embedding",
          "embedding": "VECTOR"
        }
      ],
      "usage": {
        "prompt_tokens": "COUNT",
        "total_tokens": "COUNT",
        "completion_tokens": 0,
        "prompt_tokens_details": null,
        "completion_tokens_details": null
      }
    }
    "#);
    let metric = engine.metric("vllm:prompt_tokens_total").await;
    assert_eq!(metric, 6, "two requests of three tokens");
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused_in_vllm_s_words() {
    let engine = engine("tiny-bert").await;
    let mut said = String::new();
    for body in [
        json!({}),
        json!({"input": []}),
        json!({"input": [[]]}),
        json!({"input": [1, 100_000]}),
        json!({"input": ["fine", "on ".repeat(80)]}),
        json!({"input": "on ".repeat(10_000)}),
        json!({"input": "hello", "dimensions": 8}),
        json!({"input": "hello", "encoding_format": "bytes"}),
        json!({"input": {"text": "hello"}}),
    ] {
        let error = engine.refused("/v1/embeddings", &body, 400).await;
        writeln!(said, "{} | {}", error["error"]["message"].as_str().unwrap(), error["error"]["param"]).unwrap();
    }
    insta::assert_snapshot!(said, @r#"
    1 validation error:
      {'type': 'missing', 'loc': 'body.input', 'msg': 'Field required'} | "body.input"
    You must pass at least one prompt | null
    The decoder prompt cannot be empty | null
    Token id 100000 is out of vocabulary | null
    This model's maximum context length is 64 tokens. However, your prompt contains 82 input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=82) | "input_tokens"
    This model's maximum context length is 64 tokens. However, your prompt contains 30000 characters (more than 512 characters, which is the upper bound for 64 input tokens). Please reduce the length of the input prompt. (parameter=input_text, value=30000) | "input_text"
    Model 'tiny-bert' does not support Matryoshka embeddings; dimensions must be unset (received dimensions=8). | null
    1 validation error:
      {'type': 'type_error', 'loc': 'body.encoding_format', 'msg': 'unknown variant `bytes`, expected `float` or `base64` at line 1 column 42'} | "body.encoding_format"
    1 validation error:
      {'type': 'type_error', 'loc': 'body.input', 'msg': 'data did not match any variant of untagged enum Prompt at line 1 column 26'} | "body.input"
    "#);
    let error = engine.refused("/v1/embeddings", &json!({"model": "other", "input": "hello"}), 404).await;
    assert_eq!(error["error"]["message"], "The model `other` does not exist. Valid aliases: tiny-bert.");
}

#[tokio::test]
async fn a_model_either_generates_or_embeds() {
    let embedder = engine("tiny-qwen3").await;
    let generator = TestEngine::start().await;
    let texts = json!({"model": "tiny-qwen3", "prompt": "hello"});
    for (path, body) in [
        ("/v1/chat/completions", chat("hello")),
        ("/v1/chat/completions", json!({})),
        ("/v1/completions", texts),
        ("/v1/load_lora_adapter", json!({})),
    ] {
        let error = embedder.refused(path, &body, 404).await;
        let message = error["error"]["message"].as_str().unwrap();
        let expected = format!("The model does not support {path}: it makes embeddings, at /v1/embeddings.");
        assert_eq!((message, error["error"]["type"].as_str()), (expected.as_str(), Some("NotFoundError")));
    }
    for body in [json!({}), json!({"input": "hello"})] {
        let error = generator.refused("/v1/embeddings", &body, 404).await;
        let message = error["error"]["message"].as_str().unwrap();
        let expected = "The model does not support /v1/embeddings: it generates text, at /v1/chat/completions.";
        assert_eq!(message, expected);
    }
    let list: Value = embedder.get("/v1/models").await.json().await.unwrap();
    assert_eq!((&list["data"][0]["id"], &list["data"][0]["max_model_len"]), (&json!("tiny-qwen3"), &json!(1024)));
}

#[tokio::test]
async fn many_requests_at_once_get_their_own_vectors() {
    let engine = engine("tiny-bert").await;
    let expected = expected("tiny-bert");
    let ask = async |count: usize| {
        let texts: Vec<_> = (0..count).map(|index| &expected[index % expected.len()].text).collect();
        let answer = engine.ask("/v1/embeddings", &json!({"input": texts})).await;
        let vectors = vectors(&answer);
        assert_eq!(vectors.len(), count);
        for (index, vector) in vectors.iter().enumerate() {
            assert_close(vector, &expected[index % expected.len()].vector);
        }
    };
    futures::future::join_all((1..40).map(ask)).await;
}

#[tokio::test]
async fn a_long_input_is_read_in_pieces_where_only_the_last_token_counts() {
    let engine = engine("tiny-qwen3").await;
    let ids: Vec<u32> = (0..1000).map(|place| place * 7 % 250).collect();
    let together = engine.ask("/v1/embeddings", &json!({"input": [ids, [1, 2, 3]]})).await;
    let alone = engine.ask("/v1/embeddings", &json!({"input": [1, 2, 3]})).await;
    assert_close(&vectors(&together)[1], &vectors(&alone)[0]);
    assert_eq!(together["usage"]["prompt_tokens"], 1003);
}
