//! `/v1/models` as the various servers write it.

use remora_types::engines::EngineModel;
use serde_json::Value;

/// The models of a list; `None` where the body is no list of models.
///
/// Only `data[].id` is certain. Ollama sends `"data": null` for an empty list, and most servers lack vLLM's `root`,
/// `parent` and `max_model_len`. A model whose id breaks our rule for ids is left out: nobody could ask for it.
pub(super) fn parse(body: &[u8]) -> Option<Vec<EngineModel>> {
    of(&serde_json::from_slice(body).ok()?)
}

/// The same of a body that has been read.
pub(crate) fn of(body: &Value) -> Option<Vec<EngineModel>> {
    match body.get("data")? {
        Value::Null => Some(Vec::new()),
        Value::Array(listed) => Some(listed.iter().filter_map(model).collect()),
        _ => None,
    }
}

fn model(listed: &Value) -> Option<EngineModel> {
    let text = |key: &str| listed.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    let length = listed.get("max_model_len").and_then(Value::as_u64);
    Some(EngineModel {
        id: text("id")?.parse().ok()?,
        root: text("root"),
        parent: text("parent"),
        max_model_len: length.and_then(|n| u32::try_from(n).ok()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &str) -> Option<Vec<String>> {
        Some(parse(body.as_bytes())?.into_iter().map(|m| m.id.to_string()).collect())
    }

    #[test]
    fn vllm_says_everything() {
        let body = r#"{"object":"list","data":[
            {"id":"tiny","object":"model","created":1,"owned_by":"vllm","root":"/models/tiny","parent":null,"max_model_len":512,"permission":[{}]},
            {"id":"lint","object":"model","created":1,"owned_by":"vllm","root":"/store/lint/ab","parent":"tiny","max_model_len":null}]}"#;
        let models = parse(body.as_bytes()).unwrap();
        assert_eq!(models[0].max_model_len, Some(512));
        assert_eq!((models[0].root.as_deref(), models[0].parent.as_deref()), (Some("/models/tiny"), None));
        assert_eq!((models[1].root.as_deref(), models[1].parent.as_deref()), (Some("/store/lint/ab"), Some("tiny")));
        assert_eq!(models[1].max_model_len, None);
    }

    #[test]
    fn other_servers_say_less() {
        let ollama =
            r#"{"object":"list","data":[{"id":"llama3.2:1b","object":"model","created":1,"owned_by":"library"}]}"#;
        assert_eq!(ids(ollama).unwrap(), ["llama3.2:1b"]);
        assert_eq!(ids(r#"{"object":"list","data":null}"#).unwrap(), Vec::<String>::new());
        let llama_server = r#"{"models":[{"name":"m.gguf"}],"object":"list","data":[{"id":"m.gguf","object":"model","meta":{"n_ctx_train":2048}}]}"#;
        assert_eq!(ids(llama_server).unwrap(), ["m.gguf"]);
        assert_eq!(ids(r#"{"data":[{"id":" bad "},{"name":"no id"},7,{"id":"good"}]}"#).unwrap(), ["good"]);
    }

    #[test]
    fn what_is_no_list_of_models_is_not_taken_for_one() {
        for body in ["", "<html>", "[]", "{}", r#"{"data":"x"}"#] {
            assert_eq!(ids(body), None, "{body}");
        }
    }
}
