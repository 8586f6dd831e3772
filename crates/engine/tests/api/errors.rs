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
    insta::assert_snapshot!(refusals(&engine, "/v1/chat/completions", requests).await, @r#"
    "BadRequestError" "temperature" "temperature must be non-negative, got -1.0. (parameter=temperature, value=-1.0)"
    "BadRequestError" "temperature" "temperature must be in [0, 2], got 2.5. (parameter=temperature, value=2.5)"
    "BadRequestError" "top_p" "top_p must be in (0, 1], got 0.0. (parameter=top_p, value=0.0)"
    "BadRequestError" "top_p" "top_p must be in (0, 1], got 1.5. (parameter=top_p, value=1.5)"
    "BadRequestError" null "top_k must be 0 (disable), or at least 1, got -2."
    "BadRequestError" null "min_p must be in [0, 1], got 2.0."
    "BadRequestError" null "presence_penalty must be in [-2, 2], got 3.0."
    "BadRequestError" null "frequency_penalty must be in [-2, 2], got -3.0."
    "BadRequestError" null "repetition_penalty must be greater than zero, got 0.0."
    "BadRequestError" "max_tokens" "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"
    "BadRequestError" "max_completion_tokens" "max_completion_tokens=5000 cannot be greater than max_model_len=2048. Please request fewer output tokens. (parameter=max_completion_tokens, value=5000)"
    "BadRequestError" null "min_tokens must be greater than or equal to 0, got -1."
    "BadRequestError" null "min_tokens must be less than or equal to max_tokens=60, got 99."
    "BadRequestError" null "stop cannot contain an empty string."
    "BadRequestError" "stop_token_ids" "token_id(s) [9999] in stop_token_ids contain out-of-vocab token ids. Vocabulary size: 1024 (parameter=stop_token_ids, value=[9999])"
    "BadRequestError" "logit_bias" "logit_bias contains key(s) that cannot be converted to integer token IDs: ['x'] (parameter=logit_bias, value=['x'])"
    "BadRequestError" "logit_bias" "token_id(s) [9999] in logit_bias contain out-of-vocab token ids. Vocabulary size: 1024 (parameter=logit_bias, value=[9999])"
    "BadRequestError" "allowed_token_ids" "allowed_token_ids is not None and empty! (parameter=allowed_token_ids, value=[])"
    "BadRequestError" "logprobs" "Requested sample logprobs of 21, which is greater than max allowed: 20 (parameter=logprobs, value=21)"
    "#);
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
        json!({"tools": [{"type": "function", "function": {"description": "no name"}}]}),
        json!({"tools": [{"type": "custom", "function": {"name": "x"}}]}),
        json!({"tool_choice": "auto"}),
        json!({"chat_template": "{{ messages }}"}),
        json!({"continue_final_message": true, "add_generation_prompt": true}),
    ];
    let requests = fields.into_iter().map(|fields| with(chat("hello"), fields)).collect();
    insta::assert_snapshot!(refusals(&engine, "/v1/chat/completions", requests).await, @r#"
    "Bad Request" "body.messages" "1 validation error:\n  {'type': 'type_error', 'loc': 'body.messages', 'msg': 'invalid type: null, expected a sequence at line 1 column 16'}"
    "BadRequestError" null "Cannot apply chat template to an empty conversation. Provide at least one message."
    "Bad Request" "body.messages.0.role" "1 validation error:\n  {'type': 'missing', 'loc': 'body.messages.0.role', 'msg': 'Field required'}"
    "BadRequestError" null "This model reads text only; content parts of type 'image_url' are not supported."
    "Bad Request" "body.temperature" "1 validation error:\n  {'type': 'type_error', 'loc': 'body.temperature', 'msg': 'invalid type: string, expected f64 at line 1 column 68'}"
    "BadRequestError" "stream_options" "Stream options can only be defined when `stream=True`. (parameter=stream_options)"
    "BadRequestError" "top_logprobs" "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)"
    "Bad Request" "body.stop" "1 validation error:\n  {'type': 'too_long', 'loc': 'body.stop', 'msg': 'List should have at most 16 items after validation, not 17'}"
    "BadRequestError" "tools" "`tools` must not be an empty array. Either provide at least one tool or omit the field entirely. (parameter=tools)"
    "Bad Request" "body.tools.0.function.name" "1 validation error:\n  {'type': 'missing', 'loc': 'body.tools.0.function.name', 'msg': 'Field required'}"
    "Bad Request" "body.tools.0.type" "1 validation error:\n  {'type': 'literal_error', 'loc': 'body.tools.0.type', 'msg': 'Input should be 'function''}"
    "BadRequestError" "tool_choice" "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)"
    "BadRequestError" null "Chat template is passed with request, but --trust-request-chat-template is not set. Refused request with untrusted chat template."
    "BadRequestError" null "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
    "#);
}

#[tokio::test]
async fn what_is_not_done_yet_is_refused_rather_than_ignored() {
    let engine = TestEngine::start().await;
    let fields = [json!({"n": 2}), json!({"n": 129}), json!({"n": 0}), json!({"prompt_logprobs": 1})];
    let requests = fields.into_iter().map(|fields| with(chat("hello"), fields)).collect();
    insta::assert_snapshot!(refusals(&engine, "/v1/chat/completions", requests).await, @r#"
    "BadRequestError" null "n must be 1 when using greedy sampling, got 2."
    "BadRequestError" null "n must be at most 128, got 129."
    "BadRequestError" null "n must be at least 1, got 0."
    "BadRequestError" "prompt_logprobs" "prompt_logprobs is not supported yet by this engine. (parameter=prompt_logprobs)"
    "#);
    let base = json!({"prompt": "hello"});
    let fields = [
        json!({"best_of": 2}),
        json!({"echo": true, "logprobs": 1}),
        json!({"prompt": ["a", "b"], "max_tokens": 0}),
        json!({"suffix": "x"}),
        json!({"prompt_logprobs": 1}),
        json!({"prompt": ""}),
        json!({"prompt": []}),
        json!({"prompt": [99999]}),
        json!({"logprobs": 21}),
    ];
    let requests = fields.into_iter().map(|fields| with(base.clone(), fields)).collect();
    insta::assert_snapshot!(refusals(&engine, "/v1/completions", requests).await, @r#"
    "BadRequestError" "best_of" "best_of greater than 1 is not supported yet by this engine. (parameter=best_of)"
    "BadRequestError" "echo" "echo with logprobs is not supported yet by this engine. (parameter=echo)"
    "BadRequestError" "max_tokens" "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)"
    "BadRequestError" "suffix" "suffix is not supported yet by this engine. (parameter=suffix)"
    "BadRequestError" "prompt_logprobs" "prompt_logprobs is not supported yet by this engine. (parameter=prompt_logprobs)"
    "BadRequestError" "prompt" "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
    "BadRequestError" null "You must pass at least one prompt"
    "BadRequestError" null "Token id 99999 is out of vocabulary"
    "BadRequestError" "logprobs" "Requested sample logprobs of 21, which is greater than max allowed: 20 (parameter=logprobs, value=21)"
    "#);
}

#[tokio::test]
async fn a_prompt_longer_than_the_context_is_refused_in_vllm_s_words() {
    let engine = TestEngine::with(|config| config.context = Some(64)).await;
    let message = async |path: &str, body: Value| {
        let error = engine.refused(path, &body, 400).await;
        assert_eq!(error["error"]["type"], "BadRequestError");
        let text = |key: &str| error["error"][key].as_str().unwrap().to_owned();
        (text("param"), text("message"))
    };
    let long = chat(&"word ".repeat(60));
    let count = engine.ask("/tokenize", &long).await["count"].clone();
    let expected = format!(
        "This model's maximum context length is 64 tokens. However, your prompt contains {count} input tokens, which \
         exceeds this limit even without any output tokens. Please reduce the length of the input prompt. \
         (parameter=input_tokens, value={count})"
    );
    assert_eq!(message("/v1/chat/completions", long).await, ("input_tokens".to_owned(), expected));
    // Too long whatever its tokens are: it is not even tokenized.
    let (param, text) = message("/v1/chat/completions", chat(&"word ".repeat(6000))).await;
    assert_eq!(param, "input_text");
    let begin = "This model's maximum context length is 64 tokens. However, your prompt contains 30050 characters (more \
                 than ";
    let end = " characters, which is the upper bound for 64 input tokens). Please reduce the length of the input prompt. \
               (parameter=input_text, value=30050)";
    assert!(text.starts_with(begin) && text.ends_with(end), "{text}");
    let full = "The decoder prompt (length 64) plus the number of requested output tokens (at least 1) is longer than \
                the maximum model length of 64. Make sure that `max_model_len` is no smaller than the number of text \
                tokens (prompt + requested output tokens). (parameter=input_tokens)";
    assert_eq!(message("/v1/completions", json!({"prompt": vec![5; 64]})).await.1, full);
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
            insta::assert_compact_json_snapshot!(error, @r#"
            {
              "error": {
                "message": "The model `gpt-9` does not exist. Valid aliases: remora-demo.",
                "type": "NotFoundError",
                "param": "model",
                "code": 404
              }
            }
            "#);
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
    insta::assert_snapshot!(answers.join("\n"), @r#"
    400 {"error":{"message":"1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.14', 'msg': 'JSON decode error: expected value at line 1 column 15'}","type":"Bad Request","param":"body.14","code":400}}
    400 {"error":{"message":"1 validation error:\n  {'type': 'missing', 'loc': 'body', 'msg': 'Field required'}","type":"Bad Request","param":"body","code":400}}
    400 {"error":{"message":"1 validation error:\n  {'type': 'json_invalid', 'loc': 'body.0', 'msg': 'JSON decode error: expected value at line 1 column 1'}","type":"Bad Request","param":"body.0","code":400}}
    404 {"error":{"message":"there is nothing at POST /v1/wibble; GET /docs lists what there is","type":"Not Found","param":null,"code":404}}
    405 {"error":{"message":"/v1/models does not answer POST; GET /docs lists what it does","type":"Method Not Allowed","param":null,"code":405}}
    413 {"error":{"message":"the body is larger than the 33554432 bytes that this service takes","type":"Payload Too Large","param":null,"code":413}}
    "#);
}
