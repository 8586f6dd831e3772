//! Keys that lie in other programs' files, kept out of what is shown of them.

use serde_json::Value;

/// What the names of secrets hold.
const TELLING: [&str; 7] = ["key", "token", "secret", "passw", "auth", "header", "credential"];

/// How known keys begin, wherever they stand.
const PREFIXES: [&str; 3] = ["rmr_", "sk-", "ghp_"];

/// Shorter texts are words, and would be found everywhere.
const SHORTEST: usize = 8;

/// Every secret in a file's data. Numbers, and ways of naming a secret's place, are none.
pub(super) fn secrets(data: &Value) -> Vec<String> {
    fn collect(value: &Value, telling: bool, found: &mut Vec<String>) {
        match value {
            Value::String(text) if telling && is_secret(text) => found.push(text.clone()),
            Value::String(text) => {
                let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'));
                let known = |word: &&str| word.len() >= SHORTEST && PREFIXES.iter().any(|p| word.starts_with(p));
                found.extend(words.filter(known).map(str::to_owned));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, telling, found)),
            Value::Object(fields) => {
                for (name, value) in fields {
                    let name = name.to_lowercase();
                    collect(value, telling || TELLING.iter().any(|word| name.contains(word)), found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut found = Vec::new();
    collect(data, false, &mut found);
    // A secret that holds another one is covered first.
    found.sort_by_key(|text| std::cmp::Reverse(text.len()));
    found.dedup();
    found
}

fn is_secret(text: &str) -> bool {
    let place = ["${", "{env:", "{file:", "printenv ", "cat ", "echo "].iter().any(|start| text.starts_with(start));
    let name = text.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    text.len() >= SHORTEST && !place && !name && !text.chars().all(|c| c.is_ascii_digit())
}

/// The text without them.
pub(super) fn without(text: &str, secrets: &[String]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "…"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_found_by_their_names_and_by_their_beginnings() {
        let data = json!({
            "env": {"ANTHROPIC_AUTH_TOKEN": "abcdefgh-1", "MAX_TOKENS": "123456789", "MODEL": "rather-long-name"},
            "apiKeyHelper": "printenv REMORA_KEY", "env_key": "REMORA_KEY",
            "mcp": [{"headers": {"X-Api": "zyxwvuts1"}, "args": ["--with", "Bearer rmr_0a1b_2222"]}],
            "apiKey": "{env:REMORA_KEY}", "short_key": "unused",
        });
        assert_eq!(secrets(&data), ["rmr_0a1b_2222", "abcdefgh-1", "zyxwvuts1"]);
        let shown = without("-  \"TOKEN\": \"abcdefgh-1\"\n+ rmr_0a1b_2222", &secrets(&data));
        assert_eq!(shown, "-  \"TOKEN\": \"…\"\n+ …");
    }
}
