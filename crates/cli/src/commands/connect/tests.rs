//! What is printed, what the pages in `docs/` say, and what `--write` makes of files.

use std::path::Path;

use clap::ValueEnum;

use super::clients::ClientName;
use super::facts::{Facts, Key, Model};
use super::settings::Settings;

/// What the pages speak of.
fn facts(key: Key) -> Facts {
    let model = |id: &str, context| Model { id: id.to_owned(), context };
    Facts {
        server: "http://remora-server:8000".into(),
        models: vec![model("Qwen/Qwen3-8B", Some(40_960))],
        key,
        responses: true,
    }
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/connect").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The page of each client, and the marks around its settings there.
const PAGES: [(ClientName, &str, &str); 7] = [
    (ClientName::ClaudeCode, "claude-code.md", "json"),
    (ClientName::Continue, "continue.md", "yaml"),
    (ClientName::Cline, "cline.md", "text"),
    (ClientName::Codex, "codex.md", "toml"),
    (ClientName::Opencode, "opencode.md", "json"),
    (ClientName::Openai, "openai.md", "sh"),
    (ClientName::Anthropic, "anthropic.md", "sh"),
];

#[test]
fn the_pages_say_what_the_command_prints() {
    assert_eq!(PAGES.len(), ClientName::value_variants().len(), "every client has a page");
    for (client, name, language) in PAGES {
        let page = page(name);
        let text = client.settings(&facts(Key::Variable)).text();
        let block = format!("```{language}\n{text}```\n");
        assert!(page.contains(&block), "docs/connect/{name} lacks\n{block}");
        let word = client.to_possible_value().unwrap().get_name().to_owned();
        assert!(page.contains(&format!("remora connect {word}")), "docs/connect/{name} names its command");
    }
}

#[test]
fn a_gateway_without_a_key_is_given_any() {
    for (client, ..) in PAGES {
        let text = client.settings(&facts(Key::None)).text();
        assert!(text.contains("unused") || client == ClientName::Codex, "{client:?}: {text}");
        assert!(!text.contains("REMORA_KEY"), "{client:?}: {text}");
    }
}

#[test]
fn a_key_in_a_file_is_named_by_its_path() {
    let facts = facts(Key::File("/run/my key".into()));
    let text = |client: ClientName| client.settings(&facts).text();
    assert!(text(ClientName::ClaudeCode).contains(r#""apiKeyHelper": "cat '/run/my key'""#));
    assert!(text(ClientName::Opencode).contains(r#""apiKey": "{file:/run/my key}""#));
    assert!(text(ClientName::Openai).contains("export OPENAI_API_KEY=\"$(cat '/run/my key')\""));
    assert!(ClientName::Codex.notes(&facts).iter().any(|note| note.contains("'/run/my key'")));
    assert!(ClientName::Continue.notes(&facts).iter().any(|note| note.contains("~/.continue/.env")));
}

#[test]
fn sizes_that_are_not_known_are_left_out_and_small_ones_are_told() {
    let mut facts = facts(Key::None);
    facts.models[0].context = None;
    for (client, ..) in PAGES {
        let text = client.settings(&facts).text().to_lowercase();
        assert!(!text.contains("context") && !text.contains("max"), "{client:?}: {text}");
    }
    facts.models[0].context = Some(2048);
    assert_eq!(ClientName::ClaudeCode.notes(&facts).len(), 1);
    assert!(ClientName::Opencode.notes(&facts).is_empty());
    facts.models[0].context = Some(200_000);
    assert!(ClientName::ClaudeCode.settings(&facts).text().contains("\"CLAUDE_CODE_AUTO_COMPACT_WINDOW\": \"200000\""));
    facts.responses = false;
    assert!(ClientName::Codex.notes(&facts)[0].contains("Responses API"));
}

#[test]
fn several_models_are_all_offered_where_the_client_lets_its_user_choose() {
    let mut facts = facts(Key::None);
    facts.models.push(Model { id: "lint".into(), context: None });
    for (client, both) in [(ClientName::Continue, true), (ClientName::Opencode, true), (ClientName::Codex, false)] {
        assert_eq!(client.settings(&facts).text().contains("lint"), both, "{client:?}");
    }
}

#[test]
fn a_second_gateway_replaces_the_first_and_nothing_else() {
    let mut moved = facts(Key::None);
    moved.server = "http://other:9000".into();
    for (client, ..) in PAGES {
        let (first, second) = (client.settings(&facts(Key::Variable)), client.settings(&moved));
        let Some(merged) = second.merge(&first.text()) else { continue };
        let merged = merged.unwrap();
        assert!(merged.contains("http://other:9000") && !merged.contains("remora-server:8000"), "{merged}");
        assert_eq!(merged.lines().count() - first.text().lines().count(), 0, "{client:?}: {merged}");
        assert_eq!(second.merge(&merged).unwrap().unwrap(), merged);
    }
}

#[test]
fn what_scripts_get_is_what_people_see() {
    for (client, ..) in PAGES {
        let settings = client.settings(&facts(Key::Variable));
        let shown = settings.to_json();
        match &settings {
            Settings::Shell(_) | Settings::Steps(_) => assert!(shown.is_object()),
            merged => {
                let data = merged.data(&merged.text()).unwrap();
                for (name, _) in shown.as_object().unwrap() {
                    assert!(data.get(name).is_some(), "{client:?}: {name}");
                }
            }
        }
    }
}
