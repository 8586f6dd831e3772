//! `remora connect` and `remora test` against a running stack.

use std::path::Path;
use std::process::Output;

use remora_e2e::{Up, program, repository};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// A home of its own, so that nobody's settings are touched.
async fn remora(home: &TempDir, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(program("remora"));
    for inherited in ["REMORA_SERVER", "REMORA_KEY", "CLAUDE_CONFIG_DIR", "CODEX_HOME", "OPENCODE_CONFIG"] {
        command.env_remove(inherited);
    }
    command.env_remove("XDG_CONFIG_HOME").env_remove("CONTINUE_GLOBAL_DIR").env("HOME", home.path());
    command.envs(variables.iter().copied()).args(arguments).current_dir(repository());
    command.stdin(std::process::Stdio::null()).output().await.unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

const WRITTEN: [(&str, &str); 4] = [
    ("claude-code", ".claude/settings.json"),
    ("continue", ".continue/config.yaml"),
    ("codex", ".codex/config.toml"),
    ("opencode", ".config/opencode/opencode.json"),
];

#[tokio::test]
async fn settings_name_the_gateways_own_model_and_its_size() {
    let (up, home) = (Up::ready().await, tempfile::tempdir().unwrap());
    for client in ["claude-code", "continue", "cline", "codex", "opencode", "openai", "anthropic"] {
        let printed = remora(&home, &[], &["connect", client, "--server", up.gateway()]).await;
        assert!(printed.status.success(), "{printed:?}");
        let text = stdout(&printed);
        assert!(text.contains("remora-demo") && text.contains(up.gateway()), "{client}: {text}");
        assert_eq!(text.contains("2048"), !["openai", "anthropic"].contains(&client), "{client}: {text}");
        let summary = json(&remora(&home, &[], &["--json", "connect", client, "--server", up.gateway()]).await);
        assert_eq!((&summary["model"], &summary["context"]), (&"remora-demo".into(), &2048.into()));
        assert_eq!(summary["text"].as_str().unwrap().trim_end(), text.trim_end());
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "printing writes nothing");
}

#[tokio::test]
async fn written_settings_are_there_once_and_the_old_ones_beside_them() {
    let (up, home) = (Up::ready().await, tempfile::tempdir().unwrap());
    for (client, file) in WRITTEN {
        let path = home.path().join(file);
        let arguments = ["connect", client, "--server", up.gateway(), "--write", "--yes"];
        let first = remora(&home, &[], &arguments).await;
        assert!(first.status.success(), "{first:?}");
        let text = std::fs::read_to_string(&path).unwrap();
        let printed = stdout(&remora(&home, &[], &arguments[..4]).await);
        assert_eq!(text.trim_end(), printed.trim_end(), "{client}");
        assert!(stderr(&first).contains("+++ "), "what changes is shown: {first:?}");

        let again = remora(&home, &[], &arguments).await;
        assert!(again.status.success() && stderr(&again).contains("already"), "{again:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

        let key = ("REMORA_KEY", "rmr_0a1b2c3d_secret");
        let with_key = remora(&home, &[key], &["connect", client, "--server", up.gateway(), "--write", "--yes"]).await;
        // The gateway does not know this key, and nothing is written on its word.
        assert_eq!(with_key.status.code(), Some(4), "{with_key:?}");
        assert!(!format!("{with_key:?}").contains("secret"), "{with_key:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[tokio::test]
async fn a_key_is_named_and_never_written_nor_shown() {
    let (up, home) = (Up::ready().await, tempfile::tempdir().unwrap());
    let create = ["key", "create", "--name", "laptop", "--role", "use", "--server", up.gateway()];
    let created = stdout(&remora(&home, &[], &create).await);
    let key = created.trim();
    assert!(key.starts_with("rmr_"), "{created}");
    // Somebody put one in by hand.
    std::fs::create_dir_all(home.path().join(".claude")).unwrap();
    let settings = home.path().join(".claude/settings.json");
    let old = format!("{{\n  \"apiKeyHelper\": \"echo {key}\",\n  \"model\": \"opus\"\n}}\n");
    std::fs::write(&settings, &old).unwrap();
    for (client, file) in WRITTEN {
        let arguments = ["connect", client, "--server", up.gateway(), "--write", "--yes"];
        let written = remora(&home, &[("REMORA_KEY", key)], &arguments).await;
        assert!(written.status.success(), "{written:?}");
        assert!(!stdout(&written).contains(key) && !stderr(&written).contains(key), "{client} shows the key");
        let text = std::fs::read_to_string(home.path().join(file)).unwrap();
        assert!(text.contains("REMORA_KEY") && !text.contains(key), "{client}: {text}");
    }
    let merged: Value = serde_json::from_slice(&std::fs::read(&settings).unwrap()).unwrap();
    assert_eq!((&merged["apiKeyHelper"], &merged["model"]), (&"printenv REMORA_KEY".into(), &"opus".into()));
    assert_eq!(std::fs::read_to_string(settings.with_extension("json.bak")).unwrap(), old);
}

#[tokio::test]
async fn nothing_is_written_without_a_yes_nor_into_what_cannot_be_read() {
    let (up, home) = (Up::ready().await, tempfile::tempdir().unwrap());
    let asked = remora(&home, &[], &["connect", "codex", "--server", up.gateway(), "--write"]).await;
    assert_eq!(asked.status.code(), Some(2), "{asked:?}");
    assert!(stderr(&asked).contains("--yes") && !home.path().join(".codex").exists(), "{asked:?}");
    for (client, file) in WRITTEN {
        let path = home.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "{ [ broken: \"\n").unwrap();
        let refused = remora(&home, &[], &["connect", client, "--server", up.gateway(), "--write", "--yes"]).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(
            stderr(&refused).contains("was left as it is") && stderr(&refused).contains("not valid"),
            "{refused:?}"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{ [ broken: \"\n");
    }
    for client in ["cline", "openai", "anthropic"] {
        let refused = remora(&home, &[], &["connect", client, "--server", up.gateway(), "--write"]).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    }
}

#[tokio::test]
async fn a_gateway_or_a_model_that_is_not_there_is_told() {
    let (up, home) = (Up::ready().await, tempfile::tempdir().unwrap());
    let nowhere = format!("http://127.0.0.1:{}", remora_testing::free_port());
    for verb in [&["connect", "codex"][..], &["test"]] {
        let to = |more: &[&str]| [verb, more].concat().iter().map(ToString::to_string).collect::<Vec<_>>();
        let ask = async |arguments: Vec<String>| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            remora(&home, &[], &arguments).await
        };
        let unreachable = ask(to(&["--server", &nowhere])).await;
        assert_eq!(unreachable.status.code(), Some(5), "{unreachable:?}");
        let unknown = ask(to(&["--server", up.gateway(), "--model", "nobody"])).await;
        assert_eq!(unknown.status.code(), Some(3), "{unknown:?}");
        let said = stdout(&unknown) + &stderr(&unknown);
        assert!(said.contains("nobody") && said.contains("remora-demo"), "{said}");
    }
}

#[tokio::test]
async fn a_working_gateway_passes_every_step() {
    let (up, home) = (Up::ready().await, tempfile::tempdir().unwrap());
    let passed = remora(&home, &[], &["test", "--server", &format!("{}/v1/", up.gateway())]).await;
    let text = stdout(&passed);
    assert!(passed.status.success(), "{passed:?}");
    assert_eq!(text.lines().filter(|line| line.starts_with('✓')).count(), 6, "{text}");
    assert!(text.contains("tokens/s") && text.contains(r#"read({"path": "notes.txt"})"#), "{text}");

    let report = json(&remora(&home, &[], &["--json", "test", "--server", up.gateway()]).await);
    assert_eq!((&report["ok"], &report["model"]), (&true.into(), &"remora-demo".into()), "{report}");
    let step = |name: &str| report["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap();
    assert!(step("stream")["ttft_ms"].as_f64().unwrap() > 0.0 && step("stream")["tokens_per_s"].is_number());
    assert!(step("count_tokens")["input_tokens"].as_u64().unwrap() > 0);
    assert_eq!(step("tool call")["called"], true);
}

#[tokio::test]
async fn what_fails_is_told_with_what_to_do() {
    let (up, home) =
        (Up::launch().arguments(&["--", "--tool-parser", "none"]).ready().await, tempfile::tempdir().unwrap());
    let failed = remora(&home, &[], &["test", "--server", up.gateway()]).await;
    let text = stdout(&failed);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(text.contains("✗ tool call") && text.contains("--tool-parser"), "{text}");
    let report = remora(&home, &[], &["--json", "test", "--server", up.gateway()]).await;
    assert_eq!((report.status.code(), &json(&report)["ok"]), (Some(1), &false.into()));

    let stranger = ("REMORA_KEY", "rmr_0a1b2c3d_22");
    let refused = remora(&home, &[stranger], &["test", "--server", up.gateway()]).await;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(stdout(&refused).contains("REMORA_KEY"), "{refused:?}");
}

#[tokio::test]
async fn an_engine_that_still_loads_is_told_with_how_far_it_is() {
    use remora_testing::FakeEngine;
    use remora_testing::fake_engine::Health;

    let (engine, home) = (FakeEngine::start().await, tempfile::tempdir().unwrap());
    engine.set(|behaviour| behaviour.health = Health::Loading("the model is being loaded (40 %)".into()));
    let up = Up::start(&["--engine", &engine.address().to_string()]).await;
    remora_testing::wait_until(std::time::Duration::from_secs(30), async || {
        let tested = remora(&home, &[], &["test", "--server", up.gateway()]).await;
        tested.status.code() == Some(5) && stdout(&tested).contains("the model is being loaded (40 %)")
    })
    .await;
}

#[tokio::test]
async fn the_script_takes_the_same_steps() {
    let up = Up::ready().await;
    let script = Command::new(remora_e2e::python())
        .arg(Path::new(&repository()).join("scripts/test_connection.py"))
        .args(["--server", up.gateway()])
        .env_remove("REMORA_KEY")
        .output()
        .await
        .unwrap();
    assert!(script.status.success(), "{script:?}");
    let steps = |text: &str| -> Vec<String> {
        let steps = ["models", "answer", "stream", "tool call", "count_tokens", "messages"];
        let lines = text.lines().filter_map(|line| {
            let line = line.trim_start_matches(['✓', ' ']);
            steps.iter().find(|step| line.starts_with(*step)).map(ToString::to_string)
        });
        lines.collect()
    };
    let home = tempfile::tempdir().unwrap();
    let verb = remora(&home, &[], &["test", "--server", up.gateway()]).await;
    assert_eq!(steps(&stdout(&script)), steps(&stdout(&verb)), "{script:?}");
}
