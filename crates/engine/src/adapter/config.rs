//! PEFT's `adapter_config.json`: which adapters are plain LoRA, and how strong they are.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::AdapterError;

/// Longest file; a real one is a kilobyte.
const MAX_BYTES: u64 = 1 << 20;

/// Ways of initialising that leave the base model as it is; others (`pissa`, `olora`, …) change its weights.
const PLAIN_INITS: [&str; 5] = ["gaussian", "eva", "orthogonal", "mica", "lora_ga"];

/// What of it matters for answers. Whatever would change the meaning of the weights is read to be refused.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PeftConfig {
    peft_type: Option<String>,
    r: Option<i64>,
    lora_alpha: Option<f64>,
    target_modules: Option<Value>,
    bias: Option<String>,
    use_rslora: Option<bool>,
    rank_pattern: Option<Map<String, Value>>,
    alpha_pattern: Option<Map<String, Value>>,
    modules_to_save: Option<Vec<String>>,
    init_lora_weights: Option<Value>,
    use_dora: Option<bool>,
    lora_bias: Option<bool>,
    use_qalora: Option<bool>,
    alora_invocation_tokens: Option<Value>,
    layer_replication: Option<Value>,
    use_bdlora: Option<Value>,
}

impl PeftConfig {
    /// Reads a config that this engine can follow.
    pub(super) fn read(path: &Path, max_rank: u32) -> Result<Self, AdapterError> {
        let broken = |reason: String| AdapterError::unusable(format!("adapter_config.json is not usable: {reason}"));
        let facts = std::fs::metadata(path).map_err(|error| broken(error.to_string()))?;
        if !facts.is_file() || facts.len() > MAX_BYTES {
            return Err(broken("it is not a small file".into()));
        }
        let json = std::fs::read(path).map_err(|error| broken(error.to_string()))?;
        let config: Self = serde_json::from_slice(&json).map_err(|error| broken(error.to_string()))?;
        config.check(max_rank)?;
        Ok(config)
    }

    fn check(&self, max_rank: u32) -> Result<(), AdapterError> {
        if let Some(kind) = self.peft_type.as_ref().filter(|kind| *kind != "LORA") {
            return Err(AdapterError::unusable(format!("peft_type is '{kind}'; only 'LORA' is supported.")));
        }
        let missing: Vec<&str> = [
            (self.r.is_none(), "'r'"),
            (self.lora_alpha.is_none(), "'lora_alpha'"),
            (self.target_modules.is_none(), "'target_modules'"),
        ]
        .into_iter()
        .filter_map(|(missing, name)| missing.then_some(name))
        .collect();
        if !missing.is_empty() {
            let message = format!("Missing required configuration fields: {{{}}}", missing.join(", "));
            return Err(AdapterError::Unusable(message));
        }
        let rank = self.r.unwrap_or(0);
        if rank <= 0 {
            return Err(AdapterError::unusable(format!("LoRA rank `r` must be a positive integer, got {rank}.")));
        }
        let patterns = [&self.rank_pattern, &self.alpha_pattern].into_iter().flatten().flat_map(Map::iter);
        for (key, value) in patterns {
            // PEFT reads keys as regular expressions; those that it writes itself are names.
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
            if !key.bytes().all(plain) || !value.is_number() {
                let message =
                    format!("`{key}` in `rank_pattern` or `alpha_pattern` is not a module's name and number.");
                return Err(AdapterError::Unusable(message));
            }
        }
        let unsupported = self.unsupported(max_rank);
        if unsupported.is_empty() { Ok(()) } else { Err(AdapterError::Unusable(unsupported.join(" "))) }
    }

    /// Everything that is asked for and cannot be done, in vLLM's words, its name included: managers know them.
    fn unsupported(&self, max_rank: u32) -> Vec<String> {
        let mut messages = Vec::new();
        let is_set = |value: &Option<Value>| {
            value.as_ref().is_some_and(|value| match value {
                Value::Null | Value::Bool(false) => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                _ => true,
            })
        };
        if let Some(modules) = self.modules_to_save.as_ref().filter(|modules| !modules.is_empty()) {
            let message = "vLLM only supports modules_to_save being either None or [\"classifier\", \"score\"] for \
                           classification models. Unsupported modules_to_save:";
            let names: Vec<String> = modules.iter().map(|module| format!("'{module}'")).collect();
            messages.push(format!("{message} [{}]", names.join(", ")));
        }
        for (asked, what) in [
            (self.use_dora == Some(true), "vLLM does not yet support DoRA."),
            (self.lora_bias == Some(true), "vLLM does not support LoRA bias (lora_bias)."),
            (is_set(&self.alora_invocation_tokens), "vLLM does not support Activated LoRA (aLoRA)."),
            (is_set(&self.layer_replication), "vLLM does not support layer_replication."),
            (is_set(&self.use_bdlora), "vLLM does not support block-diagonal LoRA (BD-LoRA)."),
            (self.use_qalora == Some(true), "vLLM does not support QALoRA."),
        ] {
            if asked {
                messages.push(what.to_owned());
            }
        }
        if let Some(Value::String(init)) = &self.init_lora_weights
            && !PLAIN_INITS.contains(&init.to_ascii_lowercase().as_str())
        {
            messages.push(format!(
                "vLLM does not support init_lora_weights='{init}'. Inits such as PiSSA, OLoRA, CorDA and LoftQ modify \
                 the base model weights when PEFT loads the adapter. Convert it to a regular LoRA adapter with PEFT's \
                 path_initial_model_for_weight_conversion, or set init_lora_weights to true if the served base model \
                 already contains the modified weights."
            ));
        }
        let ranks = self.rank_pattern.iter().flat_map(Map::values).filter_map(Value::as_i64);
        let rank = ranks.chain(self.r).max().unwrap_or(0);
        if rank > i64::from(max_rank) {
            messages.push(format!("LoRA rank {rank} is greater than max_lora_rank {max_rank}."));
        }
        if self.bias.as_ref().is_some_and(|bias| bias != "none") {
            messages.push("Adapter bias is not supported.".into());
        }
        messages
    }

    /// How strongly the product counts at a module (`model.layers.0.mlp.up_proj`) whose matrices have this rank.
    pub(super) fn scale(&self, module: &str, rank: u64) -> Result<f32, AdapterError> {
        let own = |pattern: &Option<Map<String, Value>>| {
            let values = pattern.iter().flatten();
            values.filter(|(key, _)| names(key, module)).find_map(|(_, value)| value.as_f64())
        };
        #[expect(clippy::cast_precision_loss, reason = "ranks are small")]
        let (own_rank, rank) = (own(&self.rank_pattern).unwrap_or(self.r.unwrap_or(0) as f64), rank as f64);
        if rank.to_bits() != own_rank.to_bits() {
            let message = format!("The weights of {module} have rank {rank}, the configuration says {own_rank}.");
            return Err(AdapterError::Unusable(message));
        }
        let alpha = own(&self.alpha_pattern).or(self.lora_alpha).unwrap_or(0.0);
        let divisor = if self.use_rslora == Some(true) { rank.sqrt() } else { rank };
        #[expect(clippy::cast_possible_truncation, reason = "scales are small numbers")]
        Ok((alpha / divisor) as f32)
    }
}

/// Whether a key of a pattern means this module: it is its name, or the end of it.
fn names(key: &str, module: &str) -> bool {
    module.strip_suffix(key).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(change: &Value) -> PeftConfig {
        let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
        config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        serde_json::from_value(config).unwrap()
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the quotients are exact")]
    fn each_module_has_its_own_scale() {
        let plain = config(&json!({}));
        assert_eq!(plain.scale("model.layers.0.self_attn.q_proj", 4).unwrap(), 2.0);
        assert!(plain.scale("model.layers.0.self_attn.q_proj", 8).is_err());
        assert_eq!(config(&json!({"use_rslora": true})).scale("x.q_proj", 4).unwrap(), 4.0);
        let patterns =
            config(&json!({"rank_pattern": {"layers.1.self_attn.q_proj": 2}, "alpha_pattern": {"k_proj": 1}}));
        assert_eq!(patterns.scale("model.layers.1.self_attn.q_proj", 2).unwrap(), 4.0);
        assert_eq!(patterns.scale("model.layers.11.self_attn.q_proj", 4).unwrap(), 2.0);
        assert_eq!(patterns.scale("model.layers.0.self_attn.k_proj", 4).unwrap(), 0.25);
    }

    #[test]
    fn what_is_not_plain_lora_is_refused() {
        let refusal = |change: Value| config(&change).check(16).unwrap_err().to_string();
        let lines = [
            json!({"peft_type": "IA3"}),
            json!({"r": null, "lora_alpha": null}),
            json!({"r": 0}),
            json!({"r": 64}),
            json!({"rank_pattern": {"q_proj": 32}}),
            json!({"rank_pattern": {"(a|b)": 2}}),
            json!({"use_dora": true, "bias": "all"}),
            json!({"lora_bias": true}),
            json!({"modules_to_save": ["lm_head"]}),
            json!({"init_lora_weights": "pissa"}),
            json!({"alora_invocation_tokens": [1]}),
            json!({"layer_replication": [[0, 1]]}),
        ];
        insta::assert_snapshot!(lines.map(refusal).join("\n"), @r#"
        peft_type is 'IA3'; only 'LORA' is supported.
        Missing required configuration fields: {'r', 'lora_alpha'}
        LoRA rank `r` must be a positive integer, got 0.
        LoRA rank 64 is greater than max_lora_rank 16.
        LoRA rank 32 is greater than max_lora_rank 16.
        `(a|b)` in `rank_pattern` or `alpha_pattern` is not a module's name and number.
        vLLM does not yet support DoRA. Adapter bias is not supported.
        vLLM does not support LoRA bias (lora_bias).
        vLLM only supports modules_to_save being either None or ["classifier", "score"] for classification models. Unsupported modules_to_save: ['lm_head']
        vLLM does not support init_lora_weights='pissa'. Inits such as PiSSA, OLoRA, CorDA and LoftQ modify the base model weights when PEFT loads the adapter. Convert it to a regular LoRA adapter with PEFT's path_initial_model_for_weight_conversion, or set init_lora_weights to true if the served base model already contains the modified weights.
        vLLM does not support Activated LoRA (aLoRA).
        vLLM does not support layer_replication.
        "#);
        for fine in [json!({}), json!({"init_lora_weights": "gaussian"}), json!({"layer_replication": null})] {
            config(&fine).check(16).unwrap();
        }
    }
}
