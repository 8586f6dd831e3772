//! `remora connect CLIENT`: the settings with which another program reaches the gateway, printed, or merged into that
//! program's own file.

mod clients;
pub(crate) mod facts;
mod file;
mod merge;
mod redact;
mod settings;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use remora_types::ModelId;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::output;
use crate::servers::Servers;

use clients::ClientName;
use facts::{Facts, Key};
use file::SettingsFile;
use settings::Settings;

#[derive(Debug, Args)]
pub(crate) struct ConnectArgs {
    /// The program to connect
    client: ClientName,
    /// The gateway, as the program will reach it
    #[arg(long, value_name = "URL", env = "REMORA_SERVER", default_value = crate::args::GATEWAY)]
    server: String,
    /// The model to use [default: the first of the gateway's]
    #[arg(long, value_name = "NAME")]
    model: Option<ModelId>,
    /// Merge the settings into the program's own file, after showing what changes and asking
    #[arg(long)]
    write: bool,
    /// Write without asking
    #[arg(long, short, requires = "write")]
    yes: bool,
}

/// What `--write` did.
struct Written {
    path: PathBuf,
    changed: bool,
    backup: Option<PathBuf>,
}

pub(crate) async fn run(args: ConnectArgs, servers: &Servers, json: bool) -> anyhow::Result<()> {
    let address = args.server.trim_end_matches('/');
    // People copy the address that other programs want.
    let gateway = servers.client(address.strip_suffix("/v1").unwrap_or(address))?;
    if gateway.server().starts_with("unix:") {
        let failure = Failure::new(Exit::Usage, "other programs do not reach a gateway by its Unix socket");
        return Err(failure.hint("give its address: --server http://HOST:PORT").into());
    }
    let key = Key::find(servers.key_file())?;
    let facts = Facts::ask(&gateway, args.model.as_ref().map(AsRef::as_ref), key).await?;
    let settings = args.client.settings(&facts);
    let file = args.client.file();
    let written = match (&file, args.write) {
        (_, false) => None,
        (Some(file), true) => Some(write(file, &settings, args.yes, json)?),
        (None, true) => return Err(no_file(args.client).into()),
    };
    let notes = args.client.notes(&facts);
    if json {
        return output::json(&summary(args.client, &facts, &settings, file.as_deref(), written.as_ref(), &notes));
    }
    match (&written, &file) {
        (Some(written), _) if !written.changed => {
            output::note(&format!("{} has these settings already", written.path.display()));
        }
        (Some(written), _) => {
            output::line(&written.path.display().to_string());
            let before = written.backup.as_ref().map(|path| format!("; as it was: {}", path.display()));
            output::note(&format!("written{}", before.unwrap_or_default()));
        }
        (None, file) => {
            output::note(&heading(args.client, file.as_deref()));
            output::line(settings.text().trim_end());
        }
    }
    for note in &notes {
        output::note(&format!("note: {note}"));
    }
    Ok(())
}

/// Where what is printed belongs.
fn heading(client: ClientName, file: Option<&Path>) -> String {
    match (client, file) {
        (_, Some(file)) => format!("into {} (--write does it for you):", file.display()),
        (ClientName::Cline, None) => "in VS Code, Cline's settings (the gear in its panel):".to_owned(),
        (_, None) => "for the shell, or its profile:".to_owned(),
    }
}

fn no_file(client: ClientName) -> Failure {
    match client {
        ClientName::Cline => Failure::new(Exit::Usage, "Cline keeps its settings inside VS Code, where only it writes")
            .hint("without --write this prints what to fill in"),
        _ => Failure::new(Exit::Usage, "the SDKs have no settings file: they read the environment")
            .hint("without --write this prints lines for the shell; append them to its profile"),
    }
}

/// Shows what would change, asks, and writes.
fn write(path: &Path, settings: &Settings, yes: bool, json: bool) -> anyhow::Result<Written> {
    let file = SettingsFile::read(path)?;
    let merged = settings.merge(file.text()).context("these settings belong into no file")?;
    let merged = merged.with_context(|| {
        let failure = Failure::new(Exit::Failure, format!("{} was left as it is", file.path().display()));
        failure.hint("without --write this prints the settings, to be put in by hand")
    })?;
    let path = file.path().to_owned();
    if merged == file.text() {
        return Ok(Written { path, changed: false, backup: None });
    }
    if !json {
        let mut secrets = settings.data(file.text()).as_ref().map(redact::secrets).unwrap_or_default();
        // What this program wrote is no secret.
        secrets.retain(|secret| !settings.text().contains(secret.as_str()));
        output::note(redact::without(&file.diff(&merged), &secrets).trim_end());
    }
    if !yes {
        confirm(&path)?;
    }
    let backup = file.write(&merged)?;
    Ok(Written { path, changed: true, backup })
}

/// Asks the person at the terminal.
fn confirm(path: &Path) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let failure = Failure::new(Exit::Usage, "nobody is at a terminal to agree; nothing was written");
        return Err(failure.hint("--yes writes without asking").into());
    }
    let mut stderr = anstream::stderr();
    write!(stderr, "Write this to {}? [y/N] ", path.display())?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(Exit::Failure, "nothing was written").into())
}

/// For scripts.
fn summary(
    client: ClientName,
    facts: &Facts,
    settings: &Settings,
    file: Option<&Path>,
    written: Option<&Written>,
    notes: &[String],
) -> Value {
    let model = facts.model();
    json!({
        "client": client,
        "server": facts.server,
        "model": model.id,
        "context": model.context,
        "file": file,
        "settings": settings.to_json(),
        "text": settings.text(),
        "notes": notes,
        "written": written.map(|written| {
            json!({"path": written.path, "changed": written.changed, "backup": written.backup})
        }),
    })
}
