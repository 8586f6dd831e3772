//! Checking bundles in a folder with the server's own reader.

use std::path::{Path, PathBuf};

use anyhow::Context;
use remora_agents_server::Limits;
use remora_agents_server::bundle::{BUNDLE_FILE, Reading};
use remora_agents_server::folder::read_bundle;
use serde_json::json;

use super::show::{counted, findings};
use crate::failure::{Exit, Failure};
use crate::output;

pub(super) fn run(dir: &Path, json: bool) -> anyhow::Result<()> {
    let mut readings = Vec::new();
    for folder in bundles(dir)? {
        let reading = read_bundle(&folder, Limits::default());
        let reading = reading.with_context(|| format!("cannot read {}", folder.display()))?;
        readings.push((folder, reading));
    }
    let faulty = readings.iter().filter(|(_, reading)| !reading.faults.is_empty()).count();
    if json {
        let bundle = |(folder, reading): &(PathBuf, Reading)| {
            json!({
                "path": folder,
                "manifest": reading.manifest,
                "faults": reading.faults,
                "warnings": reading.warnings,
            })
        };
        output::json(&json!({"bundles": readings.iter().map(bundle).collect::<Vec<_>>()}))?;
    } else {
        for (folder, reading) in &readings {
            let (faults, warnings) = (reading.faults.len(), reading.warnings.len());
            let verdict = if faults == 0 { "ok".to_owned() } else { counted(faults, "fault") };
            let warned = if warnings == 0 { String::new() } else { format!(", {}", counted(warnings, "warning")) };
            output::line(&format!("{}: {verdict}{warned}", folder.display()));
            findings(&reading.faults, &reading.warnings);
        }
    }
    if faulty == 0 {
        return Ok(());
    }
    let message = format!("{} of {} cannot be used", faulty, counted(readings.len(), "bundle"));
    Err(Failure::new(Exit::Verification, message).hint("the faults above say what to mend").into())
}

/// The folder itself, or the bundles in it.
fn bundles(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Err(Failure::new(Exit::NotFound, format!("there is no folder {}", dir.display())).into());
    }
    if dir.join(BUNDLE_FILE).exists() {
        return Ok(vec![dir.to_owned()]);
    }
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut inside: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join(BUNDLE_FILE).exists()).collect();
    inside.sort();
    if inside.is_empty() {
        let failure = Failure::new(Exit::NotFound, format!("there is no {BUNDLE_FILE} in {}", dir.display()));
        return Err(failure.hint("name a bundle's folder, or the folder that holds bundles").into());
    }
    Ok(inside)
}
