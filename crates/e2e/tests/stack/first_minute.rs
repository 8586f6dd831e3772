//! What a newcomer does first.

use remora_e2e::{Up, repository};
use serde_json::{Value, json};

#[tokio::test]
async fn the_bundles_own_bytes_and_a_streamed_answer() {
    let up = Up::ready().await;
    let bundle = reqwest::get(format!("{}/agents/lint/bundle.yaml", up.url("agents_server"))).await.unwrap();
    assert_eq!(bundle.headers()["content-type"], "application/yaml");
    assert_eq!(bundle.bytes().await.unwrap(), std::fs::read(repository().join("agents/lint/bundle.yaml")).unwrap());

    let body = json!({
        "model": "default", "stream": true, "temperature": 0,
        "messages": [{"role": "user", "content": "hello"}],
    });
    let answer =
        reqwest::Client::new().post(format!("{}/v1/chat/completions", up.gateway())).json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream; charset=utf-8");
    let text = answer.text().await.unwrap();
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let chunks: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert!(chunks.len() > 3, "several tokens, each in a chunk of its own: {text}");
    let words: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert!(words.to_lowercase().contains("remora") || words.to_lowercase().contains("hello"), "{words:?}");
}

#[tokio::test]
async fn the_first_token_comes_within_two_seconds_of_an_idle_start() {
    // Not timed here, since a busy machine would fail it; that readiness is announced at all is the point, and the
    // announcement carries the figure that the benchmark reads.
    let mut up = Up::start(&[]).await;
    let ready = up.next_event().await;
    assert_eq!(ready["event"], "ready");
    assert!(ready["after_s"].as_f64().unwrap() > 0.0, "{ready}");
    assert_eq!(ready["models"], json!(["remora-demo"]));
}

#[tokio::test]
async fn administrative_paths_of_the_engine_are_not_reachable() {
    let up = Up::ready().await;
    let client = reqwest::Client::new();
    for path in
        ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters", "/invocations", "/sleep", "/collective_rpc"]
    {
        let answer = client.post(format!("{}{path}", up.gateway())).json(&json!({})).send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
    }
}
