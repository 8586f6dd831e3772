//! Telling the five shapes apart.

use remora_types::agents::Shape;
use serde_json::{Map, Value};

/// The shape of a file, by the keys that only one shape has; the current one where there are none.
pub(super) fn of(fields: &Map<String, Value>) -> Shape {
    let has = |key: &str| fields.contains_key(key);
    let nested = |key: &str, inner: &str| fields.get(key).is_some_and(|v| v.get(inner).is_some());
    let any_tool =
        |test: fn(&Value) -> bool| fields.get("tools").and_then(Value::as_array).is_some_and(|t| t.iter().any(test));

    if ["externals_version", "system_prompt_extension", "prompts", "tools_dir", "self_reflect"].into_iter().any(has) {
        Shape::Externals
    } else if any_tool(|t| t.get("tool_name").is_some() || t.get("pym").is_some())
        || nested("initial_context", "node_context")
    {
        Shape::Subagent
    } else if has("registries")
        || has("termination_tool")
        || nested("model", "grammar")
        || nested("model", "adapter")
        || nested("initial_context", "user_template")
    {
        Shape::BundleManifest
    } else if has("system_prompt") || fields.get("grammar").is_some_and(Value::is_string) {
        Shape::Flat
    } else {
        Shape::AgentManifest
    }
}
