use serde_json::{Value, json};

use crate::support::{TestEngine, chat, with};

/// `type`, `param` and `message` of each refusal, one a line.
async fn refusals(engine: &TestEngine, path: &str, requests: Vec<Value>) -> String {
    let mut lines = Vec::new();
    for request in requests {
        let body = engine.refused(path, &request, 400).await;
        let error = &body["error"];
        assert_eq!(error["code"], 400);
        assert_eq!(error.as_object().unwrap().len(), 4, "message, type, param, code");
        lines.push(format!("{} {} {}", error["type"], error["param"], error["message"]));
    }
    lines.join("\n")
}

#[tokio::test]
async fn values_out_of_range_are_refused_in_vllm_s_words() {
    let engine = TestEngine::start().await;
    let fields = [
        json!({"temperature": -1}),
        json!({"temperature": 2.5}),
        json!({"top_p": 0}),
        json!({"top_p": 1.5}),
        json!({"top_k": -2}),
        json!({"min_p": 2}),
        json!({"presence_penalty": 3}),
        json!({"frequency_penalty": -3}),
        json!({"repetition_penalty": 0}),
        json!({"max_tokens": 0}),
        json!({"max_completion_tokens": 5000}),
        json!({"min_tokens": -1}),
        json!({"min_tokens": 99}),
        json!({"stop": [""]}),
        json!({"stop_token_ids": [9999]}),
        json!({"logit_bias": {"x": 1}}),
        json!({"logit_bias": {"9999": 1}}),
        json!({"allowed_token_ids": []}),
        json!({"logprobs": true, "top_logprobs": 21}),
    ];
    let requests = fields.into_iter().map(|fields| with(chat("hello"), fields)).collect();
    insta::assert_snapshot!(refusals(&engine, "/v1/chat/completions", requests).await, @"");
}

#[tokio::test]
async fn bodies_of_the_wrong_shape_are_refused() {
    let engine = TestEngine::start().await;
    let fields = [
        json!({"messages": null}),
        json!({"messages": []}),
        json!({"messages": [{"content": "x"}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}),
        json!({"temperature": "warm"}),
        json!({"stream_options": {"include_usage": true}}),
        json!({"top_logprobs": 2}),
        json!({"stop": ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17"]}),
        json!({"tools": []}),
        json!({"tool_choice": "auto"}),
        json!({"chat_template": "{{ messages }}"}),
        json!({"continue_final_message": true, "add_generation_prompt": true}),
    ];
    let requests = fields.into_iter().map(|fields| with(chat("hello"), fields)).collect();
    insta::assert_snapshot!(refusals(&engine, "/v1/chat/completions", requests).await, @"");
}

#[tokio::test]
async fn what_is_not_done_yet_is_refused_rather_than_ignored() {
    let engine = TestEngine::start().await;
    let tool = json!({"type": "function", "function": {"name": "read", "parameters": {}}});
    let fields = [
        json!({"n": 2}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"structured_outputs": {"regex": "a"}}),
        json!({"tools": [tool], "tool_choice": "required"}),
        json!({"tools": [tool], "tool_choice": {"type": "function", "function": {"name": "read"}}}),
        json!({"echo": true}),
    ];
    let requests = fields.into_iter().map(|fields| with(chat("hello"), fields)).collect();
    insta::assert_snapshot!(refusals(&engine, "/v1/chat/completions", requests).await, @"");
    let base = json!({"prompt": "hello"});
    let fields = [
        json!({"prompt": ["a", "b"]}),
        json!({"best_of": 2}),
        json!({"echo": true}),
        json!({"suffix": "x"}),
        json!({"prompt_logprobs": 1}),
        json!({"prompt": ""}),
        json!({"prompt": []}),
        json!({"prompt": [99999]}),
        json!({"logprobs": 21}),
    ];
    let requests = fields.into_iter().map(|fields| with(base.clone(), fields)).collect();
    insta::assert_snapshot!(refusals(&engine, "/v1/completions", requests).await, @"");
}

#[tokio::test]
async fn a_prompt_longer_than_the_context_is_refused_in_vllm_s_words() {
    let engine = TestEngine::with(|config| config.context = Some(64)).await;
    let long = "word ".repeat(60);
    let huge = "word ".repeat(6000);
    let requests = vec![chat(&long), chat(&huge)];
    insta::assert_snapshot!(refusals(&engine, "/v1/chat/completions", requests).await, @"");
    let requests = vec![json!({"prompt": vec![5; 65]}), json!({"prompt": vec![5; 64]})];
    insta::assert_snapshot!(refusals(&engine, "/v1/completions", requests).await, @"");
    let fits = json!({"prompt": vec![5; 60], "max_tokens": 50, "ignore_eos": true});
    let cut = engine.ask("/v1/completions", &fits).await;
    assert_eq!(cut["usage"]["completion_tokens"], 4, "an answer is cut where the context ends");
    assert_eq!(cut["choices"][0]["finish_reason"], "length");
}

#[tokio::test]
async fn an_unknown_model_is_a_404() {
    let engine = TestEngine::start().await;
    for (path, body) in [("/v1/chat/completions", chat("hello")), ("/tokenize", json!({"prompt": "x"}))] {
        let error = engine.refused(path, &with(body, json!({"model": "gpt-9"})), 404).await;
        insta::allow_duplicates! {
            insta::assert_compact_json_snapshot!(error, @"");
        }
    }
}

#[tokio::test]
async fn malformed_json_and_unknown_routes_speak_the_same_dialect() {
    let engine = TestEngine::start().await;
    let post = async |path: &str, body: Vec<u8>| {
        let response = engine.client.post(format!("{}{path}", engine.url)).body(body).send().await.unwrap();
        format!("{} {}", response.status().as_u16(), response.text().await.unwrap())
    };
    let answers = [
        post("/v1/chat/completions", b"{\"messages\": [}".to_vec()).await,
        post("/v1/chat/completions", Vec::new()).await,
        post("/v1/completions", b"\xff\xfe".to_vec()).await,
        post("/v1/wibble", Vec::new()).await,
        post("/v1/models", Vec::new()).await,
        post("/v1/completions", vec![b' '; (32 << 20) + 1]).await,
    ];
    insta::assert_snapshot!(answers.join("\n"), @"");
}
