//! From the keys of any shape to the one model.

use std::collections::BTreeMap;

use remora_types::agents::{Grammar, Manifest};
use serde_json::{Map, Value};

use super::fields::Fields;
use super::findings::{Findings, quoted};
use super::tools::{self, Lookup};
use super::yaml::Document;
use super::{Contents, path, shape};

/// Turns of one run where the file says nothing.
const DEFAULT_MAX_TURNS: u32 = 20;

/// Known keys that only client-side runners act on; kept as written.
const RUNNER_KEYS: [&str; 7] =
    ["limits", "node_types", "priority", "requires_context", "registries", "externals_version", "self_reflect"];

/// Reads a whole document.
pub(super) fn read(folder: &str, document: Document, contents: &Contents<'_>, findings: &mut Findings) -> Manifest {
    let shape = shape::of(&document.fields);
    let mut fields = Fields::new(document.fields, "");

    let name = name(&mut fields, folder, findings);
    let version = fields.text("version", findings).map(|parsed| document.version.unwrap_or(parsed));
    let description = fields.filled_text("description", findings);
    let model = model(&mut fields, findings);
    let prompt = prompt(&mut fields, findings);
    let grammar = fields.any("grammar").and_then(|value| grammar(value, "grammar", findings)).or(model.grammar);
    let max_turns = fields.count("max_turns", findings).unwrap_or(DEFAULT_MAX_TURNS);
    let termination = either(&mut fields, "termination", "termination_tool", findings);
    let declared_dir = either(&mut fields, "tools_dir", "agents_dir", findings);
    let tools_dir = tools_dir(declared_dir.as_deref(), contents, findings);
    let listed = fields.list("tools", findings);
    let tools = tools::read(listed, &Lookup { folder, tools_dir: &tools_dir, contents }, findings);
    let runner = runner_keys(&mut fields);
    fields.finish(findings);

    Manifest {
        shape,
        name,
        version,
        description,
        model: model.name,
        adapter: model.adapter,
        system_prompt: prompt.system,
        system_prompt_extension: prompt.extension,
        user_template: prompt.user_template,
        prompts: prompt.by_occasion,
        tools,
        tools_dir,
        grammar,
        max_turns,
        termination,
        runner,
    }
}

fn name(fields: &mut Fields, folder: &str, findings: &mut Findings) -> String {
    let Some(name) = fields.filled_text("name", findings) else {
        findings.fault("no_name", format!("the bundle has no name; add a line `name: {}`", quoted(folder)));
        return String::new();
    };
    if name != folder {
        let message =
            format!("the bundle calls itself {:?}, but its address is its folder's name, {folder:?}", quoted(&name));
        findings.warn("name_differs", message);
    }
    name
}

/// What the file says about the model.
#[derive(Default)]
struct Model {
    name: Option<String>,
    adapter: Option<String>,
    grammar: Option<Grammar>,
}

/// `model` is a name, or a mapping with one of `id`, `model`, `name`, `plugin`; the most specific one counts.
fn model(fields: &mut Fields, findings: &mut Findings) -> Model {
    let adapter = fields.filled_text("adapter", findings);
    let mut found = match fields.any("model") {
        None => Model::default(),
        Some(Value::Object(inner)) => {
            let mut inner = Fields::new(inner, "model.");
            let names = ["id", "model", "name", "plugin"].map(|key| inner.filled_text(key, findings));
            let adapter = inner.filled_text("adapter", findings);
            let grammar = inner.any("grammar").and_then(|value| grammar(value, "model.grammar", findings));
            inner.finish(findings);
            Model { name: names.into_iter().flatten().next(), adapter, grammar }
        }
        Some(scalar) => {
            let mut alone = Fields::new(Map::from_iter([("model".to_owned(), scalar)]), "");
            Model { name: alone.filled_text("model", findings), ..Model::default() }
        }
    };
    found.adapter = adapter.or(found.adapter);
    found
}

/// What the file says to the model.
#[derive(Default)]
struct Prompt {
    system: Option<String>,
    extension: Option<String>,
    user_template: Option<String>,
    by_occasion: BTreeMap<String, String>,
}

fn prompt(fields: &mut Fields, findings: &mut Findings) -> Prompt {
    let flat = fields.filled_text("system_prompt", findings);
    let extension = fields.filled_text("system_prompt_extension", findings);
    let mut prompt = Prompt { extension, ..Prompt::default() };
    let mut nested = None;
    if let Some(mut context) = fields.nested("initial_context", findings) {
        nested = context.filled_text("system_prompt", findings);
        prompt.user_template = either(&mut context, "user_template", "node_context", findings);
        context.finish(findings);
    }
    if flat.is_some() && nested.is_some() {
        let message = "system_prompt and initial_context.system_prompt are both given; the first one is used";
        findings.warn("two_prompts", message);
    }
    prompt.system = flat.or(nested);
    if let Some(mut prompts) = fields.nested("prompts", findings) {
        for occasion in prompts.keys() {
            if let Some(text) = prompts.filled_text(&occasion, findings) {
                prompt.by_occasion.insert(occasion, text);
            }
        }
    }
    if prompt.system.is_none() && prompt.extension.is_none() && prompt.by_occasion.is_empty() {
        let message = "the bundle has no prompt; add a text under initial_context.system_prompt";
        findings.warn("no_prompt", message);
    }
    prompt
}

/// `grammar` is a strategy, or a mapping.
fn grammar(value: Value, place: &str, findings: &mut Findings) -> Option<Grammar> {
    match value {
        Value::String(strategy) => Some(Grammar { strategy: Some(strategy), ..Grammar::default() }),
        Value::Object(inner) => {
            let mut inner = Fields::new(inner, format!("{place}."));
            let grammar = Grammar {
                strategy: either(&mut inner, "strategy", "mode", findings),
                allow_parallel_calls: inner.flag("allow_parallel_calls", findings),
                send_tools_to_api: inner.flag("send_tools_to_api", findings),
                args_format: inner.filled_text("args_format", findings),
            };
            inner.finish(findings);
            Some(grammar)
        }
        other => {
            let message = format!("{place} must be text or a mapping, not {}", super::yaml::kind(&other));
            findings.fault("wrong_type", message);
            None
        }
    }
}

/// A text that shapes call by different names; the first name wins.
fn either(fields: &mut Fields, key: &str, other: &str, findings: &mut Findings) -> Option<String> {
    let (first, second) = (fields.filled_text(key, findings), fields.filled_text(other, findings));
    if first.is_some() && second.is_some() {
        findings.warn("two_names", format!("{key} and {other} say the same thing; {key} is used"));
    }
    first.or(second)
}

/// The folder of the tools: as declared, else `tools`, else the original default `agents` where only that exists.
fn tools_dir(declared: Option<&str>, contents: &Contents<'_>, findings: &mut Findings) -> String {
    let exists = |dir: &str| contents.keys().any(|p| p.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')));
    let Some(declared) = declared else {
        return if !exists("tools") && exists("agents") { "agents" } else { "tools" }.to_owned();
    };
    match path::inside(declared) {
        Ok(dir) => {
            if !exists(&dir) {
                findings.warn("no_tools_dir", format!("the tools folder {:?} has no files", quoted(declared)));
            }
            dir
        }
        Err(outside) => {
            findings.fault("tools_dir_outside", format!("the tools folder {:?}: {outside}", quoted(declared)));
            "tools".to_owned()
        }
    }
}

fn runner_keys(fields: &mut Fields) -> Map<String, Value> {
    RUNNER_KEYS.iter().filter_map(|key| Some(((*key).to_owned(), fields.any(key)?))).collect()
}
