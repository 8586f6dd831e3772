//! Many at once.

use futures::future::join_all;
use remora_e2e::Up;
use serde_json::{Value, json};

#[tokio::test]
async fn two_hundred_concurrent_streams_all_end_well() {
    let up = Up::ready().await;
    let client = reqwest::Client::new();
    let url = format!("{}/v1/chat/completions", up.gateway());
    let one = |number: usize| {
        let body = json!({
            "model": "remora-demo", "stream": true, "temperature": 0, "max_tokens": 24,
            "messages": [{"role": "user", "content": format!("say number {number}")}],
            "stream_options": {"include_usage": true},
        });
        let request = client.post(&url).json(&body);
        async move { request.send().await.unwrap().text().await.unwrap() }
    };
    let answers = join_all((0..200).map(one)).await;
    for text in answers {
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        let events: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("data: ")).collect();
        let usage: Value = serde_json::from_str(events[events.len() - 2]).unwrap();
        assert!(usage["usage"]["completion_tokens"].as_u64().unwrap() > 0, "{usage}");
    }
}
