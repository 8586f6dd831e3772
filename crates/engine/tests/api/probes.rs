use remora_engine::EngineConfig;
use remora_testing::wait_until;
use serde_json::json;

use crate::support::{LIMIT, TestEngine, chat, steady, with};

#[tokio::test]
async fn health_is_empty_and_ok_once_the_model_is_loaded() {
    let engine = TestEngine::start().await;
    let health = engine.get("/health").await;
    assert_eq!((health.status().as_u16(), health.text().await.unwrap()), (200, String::new()));
    assert_eq!(engine.get("/ready").await.status().as_u16(), 200);
    let version: serde_json::Value = engine.get("/version").await.json().await.unwrap();
    assert_eq!(version, json!({"version": remora_service::VERSION}));
}

#[tokio::test]
async fn the_port_answers_while_the_model_loads() {
    // A pipe that nobody writes to never ends loading.
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("slow.gguf");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let engine = TestEngine::loading(EngineConfig::new(&pipe)).await;
    let health = engine.get("/health").await;
    assert_eq!(health.status().as_u16(), 503);
    assert_eq!(health.headers()["retry-after"], "1");
    insta::assert_snapshot!(health.text().await.unwrap(), @r#"{"status":"loading","progress":0.0,"message":"the model is being loaded (0 %)"}"#);
    let error = engine.refused("/v1/chat/completions", &chat("hello"), 503).await;
    insta::assert_compact_json_snapshot!(error, @r#"
    {
      "error": {
        "message": "The model is still being loaded (0 %).",
        "type": "ServiceUnavailableError",
        "param": null,
        "code": 503
      }
    }
    "#);
    // Opened and closed without a byte: no model.
    drop(std::fs::OpenOptions::new().write(true).open(&pipe).unwrap());
    let error = engine.running.wait().await.unwrap_err().to_string();
    assert!(error.contains("is not a GGUF file"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_loaded_ends_the_process_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let demo = std::fs::read(crate::support::demo_model()).unwrap();
    for (path, reason) in [
        (folder.path().join("none.gguf"), "no model file at"),
        (folder.path().to_owned(), "is a folder"),
        (file("text.gguf", b"hello, I am a text"), "is not a GGUF file"),
        (file("cut.gguf", &demo[..demo.len() / 2]), "cut.gguf is not usable: the file is cut short: tensor blk."),
        (
            file("lies.gguf", b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0\0\0\0\0\0"),
            "more than any model has",
        ),
    ] {
        let engine = TestEngine::loading(EngineConfig::new(path)).await;
        let error = engine.running.wait().await.unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_gpu_is_not_promised_by_a_program_that_cannot_use_one() {
    let listener = remora_service::Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let mut config = EngineConfig::new(crate::support::demo_model());
    config.gpu_layers = Some("all".parse().unwrap());
    let refused = remora_engine::service(listener, config).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused.contains("--features cuda, vulkan, metal or rocm"), "{refused}");
}

#[tokio::test]
async fn a_smaller_cache_and_other_steps_answer_too() {
    let engine = TestEngine::with(|config| {
        config.kv_type = remora_engine::KvType::Q8_0;
        config.batch = 16;
        config.threads = Some(1);
    })
    .await;
    let usual = TestEngine::start().await;
    let ask =
        async |engine: &TestEngine| engine.ask("/v1/chat/completions", &chat("What is the capital of France?")).await;
    let (small, usual) = (ask(&engine).await, ask(&usual).await);
    assert_eq!(small["usage"]["prompt_tokens"], usual["usage"]["prompt_tokens"]);
    assert!(!small["choices"][0]["message"]["content"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn the_model_is_listed_under_each_of_its_names() {
    let engine = TestEngine::with(|config| config.names = vec!["remora-demo".into(), "org/other".into()]).await;
    let list: serde_json::Value = engine.get("/v1/models").await.json().await.unwrap();
    assert_eq!(list["data"][1]["id"], "org/other");
    let one: serde_json::Value = engine.get("/v1/models/org/other").await.json().await.unwrap();
    assert_eq!(one["id"], "org/other");
    assert_eq!(engine.get("/v1/models/org%2Fother").await.status().as_u16(), 200);
    insta::assert_json_snapshot!(steady(list["data"][0].clone()), @r#"
    {
      "id": "remora-ID",
      "object": "model",
      "created": "NOW",
      "owned_by": "remora",
      "root": "FILE",
      "parent": null,
      "max_model_len": 2048,
      "permission": [
        {
          "id": "modelperm-ID",
          "object": "model_permission",
          "created": "NOW",
          "allow_create_engine": false,
          "allow_sampling": true,
          "allow_logprobs": true,
          "allow_search_indices": false,
          "allow_view": true,
          "allow_fine_tuning": false,
          "organization": "*",
          "group": null,
          "is_blocking": false
        }
      ]
    }
    "#);
    let request = with(chat("hello"), json!({"model": "org/other", "max_tokens": 1}));
    let answer = engine.ask("/v1/chat/completions", &request).await;
    assert_eq!(answer["model"], "remora-demo", "as in vLLM, the first name is the one in answers");
}

#[tokio::test]
async fn metrics_have_vllm_s_names() {
    let engine = TestEngine::start().await;
    engine.ask("/v1/chat/completions", &chat("hello")).await;
    wait_until(LIMIT, async || engine.metric("vllm:num_requests_running").await == 0).await;
    let text = engine.get("/metrics").await.text().await.unwrap();
    let names: std::collections::BTreeSet<&str> =
        text.lines().filter(|line| line.starts_with("vllm:")).filter_map(|line| line.split('{').next()).collect();
    let names: Vec<_> =
        names.into_iter().filter(|name| !name.ends_with("_bucket") && !name.ends_with("_sum")).collect();
    insta::assert_snapshot!(names.join("\n"), @"
    vllm:e2e_request_latency_seconds_count
    vllm:generation_tokens_total
    vllm:inter_token_latency_seconds_count
    vllm:iteration_tokens_total_count
    vllm:kv_cache_usage_perc
    vllm:lora_requests_info
    vllm:num_preemptions_total
    vllm:num_requests_running
    vllm:num_requests_waiting
    vllm:prefix_cache_hits_total
    vllm:prefix_cache_queries_total
    vllm:prompt_tokens_cached_total
    vllm:prompt_tokens_total
    vllm:request_decode_time_seconds_count
    vllm:request_generation_tokens_count
    vllm:request_inference_time_seconds_count
    vllm:request_params_max_tokens_count
    vllm:request_prefill_time_seconds_count
    vllm:request_prompt_tokens_count
    vllm:request_queue_time_seconds_count
    vllm:request_success_total
    vllm:request_time_per_output_token_seconds_count
    vllm:time_to_first_token_seconds_count
    ");
    let labels = ["finished_reason=\"stop\"", "model_name=\"remora-demo\"", "engine=\"0\"", "} 1"];
    let stopped =
        |line: &str| line.starts_with("vllm:request_success_total") && labels.iter().all(|label| line.contains(label));
    assert!(text.lines().any(stopped), "{text}");
}
