//! The tools a bundle names, and whether they are there.

use std::collections::BTreeSet;

use remora_types::agents::{BUILT_IN_TOOLS, Tool, ToolSource};
use serde_json::Value;

use super::fields::Fields;
use super::findings::{Findings, quoted};
use super::yaml::kind;
use super::{Contents, path};

/// Where tools are looked for.
pub(super) struct Lookup<'a> {
    pub(super) folder: &'a str,
    pub(super) tools_dir: &'a str,
    pub(super) contents: &'a Contents<'a>,
}

/// The tools of a `tools` list; without one, every tool in the tools folder.
pub(super) fn read(listed: Option<Vec<Value>>, lookup: &Lookup<'_>, findings: &mut Findings) -> Vec<Tool> {
    let mut tools: Vec<Tool> = Vec::new();
    let mut names = BTreeSet::new();
    let found: Vec<Option<Tool>> = match listed {
        Some(list) => list.into_iter().enumerate().map(|(i, entry)| lookup.entry(i, entry, findings)).collect(),
        None => lookup.discover().iter().map(|reference| lookup.resolve(reference, findings)).collect(),
    };
    for tool in found.into_iter().flatten() {
        if !names.insert(tool.name.clone()) {
            let message = format!("two tools are called {:?}; give one of them another `name`", quoted(&tool.name));
            findings.fault("duplicate_tool", message);
        } else if !callable(&tool.name) {
            let message = format!(
                "models may not be able to call a tool named {:?}: use 1 to 64 letters, digits, '_' and '-'",
                quoted(&tool.name)
            );
            findings.warn("odd_tool_name", message);
        }
        tools.push(tool);
    }
    tools
}

/// Whether every model API takes this as a function's name.
fn callable(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&name.len()) && name.chars().all(legal)
}

impl Lookup<'_> {
    /// One entry of the list: a name, a path, or a mapping in one of the shapes.
    fn entry(&self, index: usize, entry: Value, findings: &mut Findings) -> Option<Tool> {
        match entry {
            Value::String(reference) => self.resolve(&reference, findings),
            Value::Object(fields) => self.described(Fields::new(fields, format!("tools[{index}].")), index, findings),
            other => {
                let message = format!("tools[{index}] must be a name, a path or a mapping, not {}", kind(&other));
                findings.fault("wrong_type", message);
                None
            }
        }
    }

    fn described(&self, mut fields: Fields, index: usize, findings: &mut Findings) -> Option<Tool> {
        let name = fields.filled_text("name", findings).or(fields.filled_text("tool_name", findings));
        let description =
            fields.filled_text("description", findings).or(fields.filled_text("tool_description", findings));
        let file = fields.filled_text("path", findings).or(fields.filled_text("pym", findings));
        let schema = fields.filled_text("schema", findings);
        let registry = fields.filled_text("registry", findings);
        let mcp = fields.mapping("mcp", findings);
        let timeout = fields.count("timeout_s", findings);
        let inputs_override = fields.any("inputs_override");
        let context_providers = fields.any("context_providers");
        fields.finish(findings);

        let mut tool = match (file, mcp, registry, &name) {
            (Some(file), ..) => self.file(&file, schema.as_deref(), findings)?,
            (None, Some(server), ..) => named(name.as_deref().unwrap_or("mcp"), ToolSource::Mcp { server }),
            (None, None, Some(registry), Some(name)) => named(name, ToolSource::Registry { registry }),
            (None, None, None, Some(name)) => self.resolve(name, findings)?,
            (None, None, _, None) => {
                findings.fault("tool_without_name", format!("tools[{index}] has neither a name nor a path"));
                return None;
            }
        };
        if let Some(name) = name {
            tool.name = name;
        }
        if let ToolSource::Executable { timeout_s, .. } = &mut tool.source {
            *timeout_s = timeout;
        }
        tool.description = description.or(tool.description);
        tool.inputs_override = inputs_override;
        tool.context_providers = context_providers;
        Some(tool)
    }

    /// A tool by its bare name, or by a path.
    fn resolve(&self, reference: &str, findings: &mut Findings) -> Option<Tool> {
        if BUILT_IN_TOOLS.contains(&reference) {
            return Some(named(reference, ToolSource::BuiltIn));
        }
        if reference.contains('/') || has_extension(reference, "pym") {
            return self.file(reference, None, findings);
        }
        self.file(&format!("{}/{reference}", self.tools_dir), None, findings)
    }

    /// A tool that is a file of the bundle: a `.pym` script, or an executable with its schema beside it.
    fn file(&self, reference: &str, schema: Option<&str>, findings: &mut Findings) -> Option<Tool> {
        let Ok(plain) = path::inside(reference) else {
            let message = format!("the tool {:?} leads outside of the bundle", quoted(reference));
            findings.fault("tool_outside", message);
            return None;
        };
        let Some(file) = self.find(&plain) else {
            let message = format!(
                "the tool {:?} is neither built in ({}) nor a file of the bundle",
                quoted(reference),
                BUILT_IN_TOOLS.join(", ")
            );
            findings.fault("tool_missing", message).at(&plain);
            return None;
        };
        let name = stem(&file);
        if has_extension(&file, "pym") {
            return Some(named(name, ToolSource::Pym { path: file.clone() }));
        }
        if !self.contents.get(file.as_str()).is_some_and(|content| content.executable) {
            let message = format!("{file} cannot be run; make it executable (chmod +x) and begin it with #!");
            findings.fault("tool_not_executable", message).at(&file);
        }
        let schema = match schema.map(path::inside) {
            Some(Ok(schema)) => schema,
            Some(Err(outside)) => {
                findings.fault("tool_outside", format!("the schema of {file}: {outside}"));
                return None;
            }
            None => format!("{}.json", file.strip_suffix(extension(&file)).unwrap_or(&file)),
        };
        let parameters = self.parameters(&file, &schema, findings);
        let description = parameters.as_ref().and_then(|p| p.get("description")?.as_str()).map(str::to_owned);
        let source = ToolSource::Executable { path: file.clone(), schema, parameters, timeout_s: None };
        Some(Tool { description, ..named(name, source) })
    }

    /// The file that a path means: itself, with `.pym` added, or without the bundle's own name in front, since old
    /// bundles write paths relative to the agents folder.
    fn find(&self, plain: &str) -> Option<String> {
        let own = plain.strip_prefix(self.folder).and_then(|rest| rest.strip_prefix('/'));
        let candidates = [Some(plain), own].into_iter().flatten().flat_map(|p| [p.to_owned(), format!("{p}.pym")]);
        candidates.into_iter().find(|candidate| self.contents.contains_key(candidate.as_str()))
    }

    /// An executable's JSON schema.
    fn parameters(&self, file: &str, schema: &str, findings: &mut Findings) -> Option<Value> {
        let Some(content) = self.contents.get(schema) else {
            let message = format!("{file} has no JSON schema; describe its arguments in {schema}");
            findings.fault("schema_missing", message).at(schema);
            return None;
        };
        let wrong = match content.bytes.map(serde_json::from_slice::<Value>) {
            Some(Ok(parameters @ Value::Object(_))) => return Some(parameters),
            Some(Ok(other)) => format!("it is {}, not an object", kind(&other)),
            Some(Err(error)) => error.to_string(),
            None => "it is too large".to_owned(),
        };
        findings.fault("bad_schema", format!("{schema} is not a JSON schema: {wrong}")).at(schema);
        None
    }

    /// Every tool directly in the tools folder: `.pym` scripts, and files with a schema beside them.
    fn discover(&self) -> Vec<String> {
        let directly = |path: &&str| {
            let rest = path.strip_prefix(self.tools_dir).and_then(|rest| rest.strip_prefix('/'));
            rest.is_some_and(|rest| !rest.contains('/'))
        };
        let is_tool = |path: &&str| {
            let schema = format!("{}.json", path.strip_suffix(extension(path)).unwrap_or(path));
            has_extension(path, "pym") || (schema != *path && self.contents.contains_key(schema.as_str()))
        };
        self.contents.keys().copied().filter(directly).filter(is_tool).map(str::to_owned).collect()
    }
}

fn named(name: &str, source: ToolSource) -> Tool {
    Tool { name: name.to_owned(), description: None, source, inputs_override: None, context_providers: None }
}

/// A file's extension with its dot; nothing where it has none.
fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').filter(|at| *at > 0).map_or("", |at| &name[at..])
}

fn has_extension(path: &str, wanted: &str) -> bool {
    extension(path).strip_prefix('.') == Some(wanted)
}

fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.strip_suffix(extension(name)).unwrap_or(name)
}
