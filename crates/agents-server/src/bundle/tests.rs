//! Every shape read into the one model, and every fault told.

use proptest::prelude::*;
use remora_types::agents::{Shape, ToolSource};

use super::*;

/// A bundle of text files; paths that end with `*` can be run.
fn read_files(folder: &str, files: &[(&str, &str)]) -> Reading {
    let content = |(path, text): &(&'static str, &'static str)| -> (&'static str, Content<'static>) {
        let executable = path.ends_with('*');
        (path.trim_end_matches('*'), Content { bytes: Some(text.as_bytes()), executable })
    };
    let leaked: Vec<(&'static str, &'static str)> =
        files.iter().map(|(p, t)| (&*p.to_string().leak(), &*t.to_string().leak())).collect();
    read(folder, &leaked.iter().map(content).collect())
}

fn codes(findings: &[Finding]) -> Vec<&str> {
    findings.iter().map(|f| f.code.as_ref()).collect()
}

/// Reads without a fault or a warning.
fn sound(folder: &str, files: &[(&str, &str)]) -> Manifest {
    let reading = read_files(folder, files);
    assert_eq!((codes(&reading.faults), codes(&reading.warnings)), (vec![], vec![]), "{reading:?}");
    reading.manifest.unwrap()
}

#[test]
fn shape_1_subagent() {
    let yaml = "
name: lint
max_turns: 15
initial_context:
  system_prompt: You lint.
  node_context: |
    {{ node_text }}
tools:
  - tool_name: run_linter
    pym: lint/tools/run_linter.pym
    tool_description: Runs the linter.
    inputs_override: {check_only: true}
    context_providers: [lint/context/ruff_config.pym]
  - tool_name: submit
    pym: tools/submit_result.pym
";
    let files = [("bundle.yaml", yaml), ("tools/run_linter.pym", ""), ("tools/submit_result.pym", "")];
    let manifest = sound("lint", &files);
    assert_eq!((manifest.shape, manifest.max_turns), (Shape::Subagent, 15));
    assert_eq!(manifest.user_template.as_deref(), Some("{{ node_text }}\n"));
    let tool = &manifest.tools[0];
    assert_eq!((tool.name.as_str(), tool.description.as_deref()), ("run_linter", Some("Runs the linter.")));
    assert_eq!(tool.source, ToolSource::Pym { path: "tools/run_linter.pym".into() });
    assert_eq!(tool.inputs_override, Some(serde_json::json!({"check_only": true})));
    assert_eq!(manifest.tools[1].name, "submit");
}

#[test]
fn shape_2_bundle_manifest() {
    let yaml = "
name: docs
version: '1.0'
model:
  plugin: function_gemma
  adapter: docs-lora
  grammar: {mode: ebnf, allow_parallel_calls: true, args_format: permissive}
initial_context: {system_prompt: You document., user_template: '{{ input }}'}
max_turns: 20
termination_tool: submit_result
tools:
  - {name: submit_result, registry: grail, description: Ends the run., context_providers: []}
registries:
  - {type: grail, config: {agents_dir: tools}}
";
    let manifest = sound("docs", &[("bundle.yaml", yaml)]);
    assert_eq!(manifest.shape, Shape::BundleManifest);
    assert_eq!(manifest.version.as_deref(), Some("1.0"));
    assert_eq!((manifest.model.as_deref(), manifest.adapter.as_deref()), (Some("function_gemma"), Some("docs-lora")));
    assert_eq!(manifest.termination.as_deref(), Some("submit_result"));
    assert_eq!(manifest.tools[0].source, ToolSource::Registry { registry: "grail".into() });
    let grammar = manifest.grammar.unwrap();
    assert_eq!((grammar.strategy.as_deref(), grammar.allow_parallel_calls), (Some("ebnf"), Some(true)));
    assert_eq!(grammar.args_format.as_deref(), Some("permissive"));
    assert!(manifest.runner.contains_key("registries"));
}

#[test]
fn shape_3_flat() {
    let yaml = "
name: test
model: qwen
grammar: ebnf
limits: default
system_prompt: You test.
tools: [tools/run_tests.pym, test/tools/write_test]
termination: submit
max_turns: 8
";
    let files = [("bundle.yaml", yaml), ("tools/run_tests.pym", ""), ("tools/write_test.pym", "")];
    let manifest = sound("test", &files);
    assert_eq!(manifest.shape, Shape::Flat);
    assert_eq!(manifest.system_prompt.as_deref(), Some("You test."));
    assert_eq!(manifest.grammar.unwrap().strategy.as_deref(), Some("ebnf"));
    let paths: Vec<_> = manifest.tools.iter().map(|t| t.source.clone()).collect();
    let pym = |path: &str| ToolSource::Pym { path: path.into() };
    assert_eq!(paths, [pym("tools/run_tests.pym"), pym("tools/write_test.pym")]);
    assert_eq!(manifest.runner["limits"], "default");
}

#[test]
fn shape_4_agent_manifest() {
    let yaml = "
name: lint
version: 1.10
description: Lints.
model: {id: Qwen/Qwen3-4B, plugin: qwen}
agents_dir: tools
initial_context: {system_prompt: You lint.}
grammar: {strategy: structural_tag, allow_parallel_calls: false, send_tools_to_api: true}
limits: {max_memory_mb: 64}
max_turns: 20
termination: submit_result
node_types: [function, class]
priority: 10
requires_context: true
";
    // Without a list, every tool in the folder counts; compiled artefacts and helpers do not.
    let files = [
        ("bundle.yaml", yaml),
        ("tools/a.pym", ""),
        ("tools/b*", "#!/bin/sh"),
        ("tools/b.json", r#"{"type": "object", "description": "Does b."}"#),
        ("tools/helper.py*", ""),
        ("tools/a/check.json", "{}"),
    ];
    let manifest = sound("lint", &files);
    assert_eq!(manifest.shape, Shape::AgentManifest);
    assert_eq!(manifest.version.as_deref(), Some("1.10"));
    assert_eq!(manifest.model.as_deref(), Some("Qwen/Qwen3-4B"));
    let names: Vec<_> = manifest.tools.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(manifest.tools[1].description.as_deref(), Some("Does b."));
    assert_eq!(manifest.runner.keys().collect::<Vec<_>>(), ["limits", "node_types", "priority", "requires_context"]);
}

#[test]
fn shape_5_externals() {
    let yaml = "
name: code-agent
externals_version: 2
system_prompt_extension: Mind the tests.
prompts: {chat: Talk., reactive: React.}
model: '${MODEL}'
max_turns: 4
tools_dir: scripts
self_reflect: {enabled: true, model: small, max_turns: 1, prompt: Think.}
";
    let manifest = sound("code-agent", &[("bundle.yaml", yaml), ("scripts/x.pym", "")]);
    assert_eq!((manifest.shape, manifest.tools_dir.as_str()), (Shape::Externals, "scripts"));
    assert_eq!(manifest.system_prompt_extension.as_deref(), Some("Mind the tests."));
    assert_eq!(manifest.prompts["reactive"], "React.");
    assert_eq!(manifest.tools[0].name, "x");
    assert_eq!(manifest.runner["self_reflect"]["max_turns"], 1);
}

#[test]
fn tools_of_every_kind_in_one_list() {
    let yaml = "
name: mixed
initial_context: {system_prompt: Work.}
tools:
  - read
  - run
  - {name: renamed, path: tools/run, schema: schemas/other.json, description: Better., timeout_s: 30}
  - {name: github, mcp: {command: [github-mcp, --stdio]}}
";
    let files = [
        ("bundle.yaml", yaml),
        ("tools/run*", "#!/bin/sh"),
        ("tools/run.json", r#"{"description": "Runs."}"#),
        ("schemas/other.json", "{}"),
    ];
    let manifest = sound("mixed", &files);
    let [read, run, renamed, github] = &manifest.tools[..] else { panic!("{:?}", manifest.tools) };
    assert_eq!(read.source, ToolSource::BuiltIn);
    assert!(matches!(&run.source, ToolSource::Executable { schema, .. } if schema == "tools/run.json"));
    assert_eq!(run.description.as_deref(), Some("Runs."));
    assert_eq!((renamed.name.as_str(), renamed.description.as_deref()), ("renamed", Some("Better.")));
    assert!(matches!(&renamed.source, ToolSource::Executable { timeout_s: Some(30), .. }));
    assert!(matches!(&github.source, ToolSource::Mcp { server } if server["command"][0] == "github-mcp"));
}

#[test]
fn unknown_keys_are_warnings_with_their_place() {
    let yaml = "name: x\nsystem_prompt: p\nflavour: sweet\nmodel: {id: m, size: 3}\ntools: [{name: read, colour: red}]";
    let reading = read_files("x", &[("bundle.yaml", yaml)]);
    assert!(reading.faults.is_empty(), "{:?}", reading.faults);
    let messages: Vec<_> = reading.warnings.iter().map(|w| w.message.as_str()).collect();
    for place in ["model.size", "tools[0].colour", "flavour"] {
        assert!(messages.iter().any(|m| m.contains(&format!("unknown key {place}"))), "{place}: {messages:?}");
    }
    assert_eq!(codes(&reading.warnings), ["unknown_key"; 3]);
}

#[test]
fn every_fault_is_told_and_the_rest_is_read_all_the_same() {
    let faults = |yaml: &str, more: &[(&str, &str)]| {
        let files: Vec<_> = [("bundle.yaml", yaml)].iter().chain(more).copied().collect();
        let reading = read_files("x", &files);
        reading.faults.iter().map(|f| f.code.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(faults("name: [", &[]), ["bad_yaml"]);
    assert_eq!(faults("- a", &[]), ["bad_yaml"]);
    assert_eq!(faults("system_prompt: p", &[]), ["no_name"]);
    assert_eq!(faults("name: ' '", &[]), ["no_name"]);
    assert_eq!(faults("name: x\ntools: [read, {name: read}]", &[]), ["duplicate_tool"]);
    assert_eq!(faults("name: x\ntools: [nothing]", &[]), ["tool_missing"]);
    assert_eq!(faults("name: x\ntools: [{tool_name: t, pym: tools/t.pym}]", &[]), ["tool_missing"]);
    assert_eq!(faults("name: x\ntools: [../y/tools/t.pym]", &[]), ["tool_outside"]);
    assert_eq!(faults("name: x\ntools: [/bin/sh]", &[]), ["tool_outside"]);
    assert_eq!(faults("name: x\nagents_dir: ../..", &[]), ["tools_dir_outside"]);
    assert_eq!(faults("name: x\nmax_turns: many\ntools: 3", &[]), ["wrong_type", "wrong_type"]);
    assert_eq!(faults("name: x\ntools: [{description: d}]", &[]), ["tool_without_name"]);
    assert_eq!(faults("name: x\ntools: [t]", &[("tools/t*", "")]), ["schema_missing"]);
    assert_eq!(faults("name: x\ntools: [t]", &[("tools/t*", ""), ("tools/t.json", "[")]), ["bad_schema"]);
    assert_eq!(faults("name: x\ntools: [t]", &[("tools/t", ""), ("tools/t.json", "{}")]), ["tool_not_executable"]);
    assert_eq!(read_files("x", &[]).faults[0].code, "no_bundle_file");

    let reading = read_files("x", &[("bundle.yaml", "name: x\ntools: [nothing, read]\nsystem_prompt: p")]);
    assert_eq!(reading.manifest.unwrap().tools.len(), 1);
    let names = codes(&read_files("y", &[("bundle.yaml", "name: x")]).warnings).join(" ");
    assert_eq!(names, "name_differs no_prompt");
}

#[test]
fn findings_are_bounded() {
    let keys: Vec<String> = (0..1000).map(|i| format!("key{i}: {}\n", "v".repeat(200))).collect();
    let keys = keys.concat();
    let long = format!("? {}\n: 1\n", "k".repeat(900));
    let reading = read_files("x", &[("bundle.yaml", &format!("name: x\n{keys}{long}"))]);
    assert!(reading.warnings.len() <= 60 && reading.warnings.iter().all(|w| w.message.len() < 400));
}

/// YAML-like text that gets past the parser often enough to reach the rest.
fn yaml_like() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        Just("name"),
        Just("model"),
        Just("tools"),
        Just("initial_context"),
        Just("grammar"),
        Just("agents_dir"),
        Just("prompts"),
        Just("max_turns"),
        Just("registries"),
        Just("pym"),
        Just("path"),
        Just("mcp"),
        Just("<<"),
    ];
    let value = prop_oneof![
        Just("read".to_owned()),
        Just("[read, {name: x, pym: ../x}]".to_owned()),
        Just("{system_prompt: p}".to_owned()),
        Just("&a [*a]".to_owned()),
        Just("!!binary x".to_owned()),
        Just(".nan".to_owned()),
        Just("99999999999999999999".to_owned()),
        "\\PC{0,20}",
    ];
    proptest::collection::vec((key, value), 0..8)
        .prop_map(|pairs| pairs.into_iter().map(|(k, v)| format!("{k}: {v}\n")).collect::<Vec<_>>().concat())
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let contents = Contents::from([(BUNDLE_FILE, Content { bytes: Some(&bytes), executable: false })]);
        let _ = read("x", &contents);
        let _ = read_skill(&bytes);
    }

    #[test]
    fn no_yaml_makes_the_reader_panic(text in yaml_like(), folder in "[a-z]{0,3}") {
        let contents = Contents::from([
            (BUNDLE_FILE, Content { bytes: Some(text.as_bytes()), executable: false }),
            ("tools/x", Content { bytes: None, executable: true }),
        ]);
        let reading = read(&folder, &contents);
        prop_assert!(reading.manifest.is_some() || !reading.faults.is_empty());
        // Whatever is said of a tool's file, it is a file of the bundle.
        for tool in reading.manifest.into_iter().flat_map(|m| m.tools) {
            if let ToolSource::Pym { path } | ToolSource::Executable { path, .. } = tool.source {
                prop_assert!(contents.contains_key(path.as_str()));
            }
        }
    }
}
