//! The programs that can be connected: where each keeps its settings, and what they have to say.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::facts::{Facts, Key, Model};
use super::settings::Settings;
use crate::key::VARIABLE;

/// For programs that insist on a key where none is needed.
const ANY_KEY: &str = "unused";

/// Below this Claude Code's and Codex's own instructions leave no room for work.
const AGENTS_NEED: u32 = 32_768;

/// Claude Code takes no smaller window for its own compaction.
const SMALLEST_WINDOW: u32 = 100_000;

/// A program that talks to models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ClientName {
    /// Claude Code: ~/.claude/settings.json
    ClaudeCode,
    /// Continue in VS Code and `JetBrains`: ~/.continue/config.yaml
    Continue,
    /// Cline in VS Code: steps to take there
    Cline,
    /// Codex: ~/.codex/config.toml
    Codex,
    /// opencode: ~/.config/opencode/opencode.json
    Opencode,
    /// OpenAI's SDKs and what is built on them: environment variables
    Openai,
    /// Anthropic's SDKs: environment variables
    Anthropic,
}

impl ClientName {
    /// The file with its settings, where it has one that others may write.
    pub(super) fn file(self) -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = |below: &str| std::env::home_dir().map(|home| home.join(below));
        match self {
            Self::ClaudeCode => Some(variable("CLAUDE_CONFIG_DIR").or_else(|| home(".claude"))?.join("settings.json")),
            Self::Continue => Some(variable("CONTINUE_GLOBAL_DIR").or_else(|| home(".continue"))?.join("config.yaml")),
            Self::Codex => Some(variable("CODEX_HOME").or_else(|| home(".codex"))?.join("config.toml")),
            Self::Opencode => variable("OPENCODE_CONFIG").or_else(|| {
                let folder = variable("XDG_CONFIG_HOME").or_else(|| home(".config"))?.join("opencode");
                let commented = folder.join("opencode.jsonc");
                Some(if commented.exists() { commented } else { folder.join("opencode.json") })
            }),
            Self::Cline | Self::Openai | Self::Anthropic => None,
        }
    }

    /// What has to be set.
    pub(super) fn settings(self, facts: &Facts) -> Settings {
        match self {
            Self::ClaudeCode => Settings::Json(claude_code(facts)),
            Self::Continue => Settings::Yaml {
                head: "name: Remora\nversion: 1.0.0\nschema: v1\n",
                entries: facts.models.iter().map(|model| continue_model(facts, model)).collect(),
            },
            Self::Cline => Settings::Steps(cline(facts)),
            Self::Codex => Settings::Toml(codex(facts)),
            Self::Opencode => Settings::Json(opencode(facts)),
            Self::Openai => Settings::Shell(shell(facts, "OPENAI", "/v1")),
            Self::Anthropic => Settings::Shell(shell(facts, "ANTHROPIC", "")),
        }
    }

    /// What else its user should know.
    pub(super) fn notes(self, facts: &Facts) -> Vec<String> {
        let mut notes = Vec::new();
        let model = facts.model();
        let agent = matches!(self, Self::ClaudeCode | Self::Codex);
        if let Some(context) = model.context.filter(|context| agent && *context < AGENTS_NEED) {
            notes.push(format!(
                "{} reads {context} tokens; this program's own instructions need {AGENTS_NEED} or more to be of use",
                model.id
            ));
        }
        if self == Self::Codex && !facts.responses {
            notes.push(format!("the engine of {} has no Responses API, which Codex needs; vLLM has it", model.id));
        }
        match (&facts.key, self) {
            (Key::Variable, Self::Continue) => {
                notes.push(format!("put the key into ~/.continue/.env, as {VARIABLE}=…"));
            }
            (Key::Variable, _) => notes.push(format!("{VARIABLE} has to be set where the program is started")),
            (Key::File(path), Self::Continue) => {
                notes.push(format!("put the key of {} into ~/.continue/.env, as {VARIABLE}=…", path.display()));
            }
            (Key::File(path), Self::Codex) => notes
                .push(format!("start it with the key in its environment: {VARIABLE}=\"$(cat {})\" codex", word(path))),
            (Key::None | Key::File(_), _) => {}
        }
        notes
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn claude_code(facts: &Facts) -> Map<String, Value> {
    let model = facts.model();
    let mut env = fields(json!({
        "ANTHROPIC_BASE_URL": facts.server,
        "ANTHROPIC_MODEL": model.id,
        // The names by which it asks for small and large models all mean this one.
        "ANTHROPIC_DEFAULT_OPUS_MODEL": model.id,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": model.id,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model.id,
        "API_TIMEOUT_MS": "3000000",
    }));
    // It takes a model that it does not know for one of 200,000 tokens.
    if let (Some(context), Some(answer)) = (model.context, model.answer()) {
        env.insert("CLAUDE_CODE_MAX_CONTEXT_TOKENS".into(), context.to_string().into());
        env.insert("CLAUDE_CODE_MAX_OUTPUT_TOKENS".into(), answer.to_string().into());
        if context >= SMALLEST_WINDOW {
            env.insert("CLAUDE_CODE_AUTO_COMPACT_WINDOW".into(), context.to_string().into());
        }
    }
    // Always the same field, so that a gateway which comes to need a key leaves no old answer behind.
    let helper = match &facts.key {
        Key::None => format!("echo {ANY_KEY}"),
        Key::Variable => format!("printenv {VARIABLE}"),
        Key::File(path) => format!("cat {}", word(path)),
    };
    fields(json!({"apiKeyHelper": helper, "env": env}))
}

fn continue_model(facts: &Facts, model: &Model) -> Map<String, Value> {
    let key = match facts.key {
        Key::None => ANY_KEY.to_owned(),
        Key::Variable | Key::File(_) => format!("${{{{ secrets.{VARIABLE} }}}}"),
    };
    let mut entry = fields(json!({
        "name": format!("Remora {}", model.id),
        "provider": "openai",
        "model": model.id,
        // It puts the rest of the path right behind this.
        "apiBase": format!("{}/v1/", facts.server),
        "apiKey": key,
        // It knows of well-known names only whether they can.
        "capabilities": ["tool_use"],
    }));
    if let (Some(context), Some(answer)) = (model.context, model.answer()) {
        entry.insert("defaultCompletionOptions".into(), json!({"contextLength": context, "maxTokens": answer}));
    }
    entry
}

fn codex(facts: &Facts) -> Map<String, Value> {
    let model = facts.model();
    let mut settings = fields(json!({"model": model.id, "model_provider": "remora"}));
    if let Some(context) = model.context {
        settings.insert("model_context_window".into(), context.into());
    }
    let mut provider = fields(json!({"name": "Remora", "base_url": format!("{}/v1", facts.server)}));
    if facts.key != Key::None {
        provider.insert("env_key".into(), VARIABLE.into());
    }
    provider.extend(fields(json!({
        "wire_api": "responses", "supports_websockets": false, "stream_idle_timeout_ms": 300_000,
    })));
    settings.insert("model_providers".into(), json!({"remora": provider}));
    settings
}

fn opencode(facts: &Facts) -> Map<String, Value> {
    let key = match &facts.key {
        Key::None => ANY_KEY.to_owned(),
        Key::Variable => format!("{{env:{VARIABLE}}}"),
        Key::File(path) => format!("{{file:{}}}", path.display()),
    };
    let model = |model: &Model| {
        let mut about = fields(json!({"name": model.id, "tool_call": true}));
        if let (Some(context), Some(answer)) = (model.context, model.answer()) {
            about.insert("limit".into(), json!({"context": context, "output": answer}));
        }
        (model.id.clone(), Value::from(about))
    };
    fields(json!({
        "$schema": "https://opencode.ai/config.json",
        "model": format!("remora/{}", facts.model().id),
        "provider": {"remora": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Remora",
            "options": {"baseURL": format!("{}/v1", facts.server), "apiKey": key},
            "models": facts.models.iter().map(model).collect::<Map<_, _>>(),
        }},
    }))
}

/// Label and value of each field, in the order of Cline's page.
fn cline(facts: &Facts) -> Vec<(&'static str, String)> {
    let model = facts.model();
    let key = match &facts.key {
        Key::None => format!("any text, for example {ANY_KEY}"),
        Key::Variable => format!("the key that {VARIABLE} holds"),
        Key::File(path) => format!("the key in {}", path.display()),
    };
    let mut steps = vec![
        ("API Provider", "OpenAI Compatible".to_owned()),
        ("Base URL", format!("{}/v1", facts.server)),
        ("API Key", key),
        ("Model ID", model.id.clone()),
    ];
    if let (Some(context), Some(answer)) = (model.context, model.answer()) {
        steps.push(("Context Window Size", context.to_string()));
        steps.push(("Max Output Tokens", answer.to_string()));
    }
    steps
}

fn shell(facts: &Facts, prefix: &str, suffix: &str) -> Vec<(String, String)> {
    let key = match &facts.key {
        Key::None => ANY_KEY.to_owned(),
        Key::Variable => format!("\"${VARIABLE}\""),
        Key::File(path) => format!("\"$(cat {})\"", word(path)),
    };
    vec![
        (format!("{prefix}_BASE_URL"), format!("{}{suffix}", facts.server)),
        (format!("{prefix}_API_KEY"), key),
        (format!("{prefix}_MODEL"), quoted(&facts.model().id)),
    ]
}

/// A path as one word of a shell.
fn word(path: &Path) -> String {
    quoted(&path.display().to_string())
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell_hold_anything() {
        assert_eq!(quoted("/run/key"), "/run/key");
        assert_eq!(quoted("/my files/it's"), r"'/my files/it'\''s'");
        assert_eq!(quoted("$(rm)"), "'$(rm)'");
        assert_eq!(quoted(""), "''");
    }
}
