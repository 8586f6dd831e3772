//! How long a conversation is, where no tokenizer says it.

use serde::Serialize;
use serde_json::Value;

/// Bytes of text to a token: what English takes in common vocabularies.
const BYTES_PER_TOKEN: u64 = 4;

/// What a template writes around a message, in tokens.
const AROUND_MESSAGE: u64 = 4;

/// What a picture takes, in tokens: most models cut them to about this size.
const PER_IMAGE: u64 = 1_000;

/// About how many tokens a `/tokenize` request's conversation has, its tools included.
pub(crate) fn estimate(request: &impl Serialize) -> u64 {
    let request = serde_json::to_value(request).unwrap_or_default();
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    let around = AROUND_MESSAGE * messages.len() as u64;
    let tools = request["tools"].as_array().map_or(0, |tools| tools.iter().map(|tool| tool.to_string().len()).sum());
    let (bytes, images) = messages.iter().map(weight).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1));
    (bytes + tools as u64).div_ceil(BYTES_PER_TOKEN) + around + images * PER_IMAGE
}

/// Bytes of text and number of pictures.
fn weight(value: &Value) -> (u64, u64) {
    match value {
        Value::String(text) if text.starts_with("data:image/") => (0, 1),
        Value::String(text) => (text.len() as u64, 0),
        Value::Array(items) => items.iter().map(weight).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1)),
        Value::Object(fields) => fields.values().map(weight).fold((0, 0), |sum, own| (sum.0 + own.0, sum.1 + own.1)),
        _ => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_tools_and_pictures_weigh_something() {
        let of = |request: Value| estimate(&request);
        assert_eq!(of(json!({"messages": [{"role": "user", "content": "x".repeat(396)}]})), 104);
        let image = json!([{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{}", "A".repeat(9_999))}}]);
        let with_image = of(json!({"messages": [{"role": "user", "content": image}]}));
        assert!((1_000..1_050).contains(&with_image), "{with_image}");
        assert!(of(json!({"messages": [], "tools": [{"name": "n".repeat(400)}]})) > 100);
        assert_eq!(of(json!({})), 0);
    }
}
