//! Bundles, for people.

use remora_types::agents::{Bundle, BundleDetail, BundleList, Finding, Tool, ToolSource};

use crate::output;

pub(super) fn list(list: &BundleList) {
    let rows = list.bundles.iter().map(|bundle| {
        vec![
            bundle.name.to_string(),
            bundle.version.clone().unwrap_or_else(|| "-".into()),
            wanted(bundle),
            bundle.tools.len().to_string(),
            state(bundle),
            bundle.description.as_deref().map(output::short).unwrap_or_default(),
        ]
    });
    output::table(&["name", "version", "model", "tools", "state", "description"], rows);
    for warning in &list.warnings {
        output::note(&format!("warning: {}", warning.message));
    }
}

pub(super) fn bundle(detail: &BundleDetail) {
    let bundle = &detail.bundle;
    let or_none = |text: Option<&str>| text.unwrap_or("-").to_owned();
    let facts = [
        ("name", bundle.name.to_string()),
        ("version", or_none(bundle.version.as_deref())),
        ("description", or_none(bundle.description.as_deref())),
        ("model", wanted(bundle)),
        ("turns", detail.manifest.as_ref().map_or_else(|| "-".into(), |m| m.max_turns.to_string())),
        ("digest", bundle.digest.to_string()),
        ("changed", bundle.changed_at.to_string()),
        ("state", state(bundle)),
    ];
    for (key, value) in facts {
        output::line(&format!("{key:<12} {value}"));
    }
    if !bundle.tools.is_empty() {
        output::line("");
        let rows = bundle.tools.iter().map(|tool| {
            vec![tool.name.clone(), source(tool), tool.description.as_deref().map(output::short).unwrap_or_default()]
        });
        output::table(&["tool", "source", "description"], rows);
    }
    output::line("");
    let rows = bundle.files.iter().map(|file| {
        let path = format!("{}{}", file.path, if file.executable { " *" } else { "" });
        vec![path, file.size_bytes.to_string(), file.sha256.to_string()[..12].to_owned()]
    });
    output::table(&["file", "bytes", "sha256"], rows);
    findings(&bundle.faults, &bundle.warnings);
}

/// Faults and warnings, to stderr.
pub(super) fn findings(faults: &[Finding], warnings: &[Finding]) {
    for (kind, list) in [("fault", faults), ("warning", warnings)] {
        for finding in list {
            let path = finding.path.as_deref().unwrap_or_default();
            let place = match finding.line {
                Some(line) => format!("{path}:{line}: "),
                None if path.is_empty() => String::new(),
                None => format!("{path}: "),
            };
            output::note(&format!("{kind}: {place}{} [{}]", finding.message, finding.code));
        }
    }
}

fn wanted(bundle: &Bundle) -> String {
    let model = bundle.model.as_deref().unwrap_or("-");
    bundle.adapter.as_ref().map_or_else(|| model.to_owned(), |adapter| format!("{model} + {adapter}"))
}

fn state(bundle: &Bundle) -> String {
    match (bundle.faults.len(), bundle.warnings.len()) {
        (0, 0) => "ok".into(),
        (0, warnings) => format!("ok, {}", counted(warnings, "warning")),
        (faults, _) => counted(faults, "fault"),
    }
}

/// `1 fault`, `2 faults`.
pub(super) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn source(tool: &Tool) -> String {
    match &tool.source {
        ToolSource::BuiltIn => "built in".into(),
        ToolSource::Executable { path, .. } => path.clone(),
        ToolSource::Pym { path } => format!("{path} (client-side)"),
        ToolSource::Registry { registry } => format!("registry {registry}"),
        ToolSource::Mcp { .. } => "MCP server".into(),
    }
}
