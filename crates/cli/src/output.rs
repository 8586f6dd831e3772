//! Writing to the terminal. A reader that went away (`remora … | head`) ends the command quietly.

use std::io::{ErrorKind, Write};

use jiff::Timestamp;
use serde::Serialize;

/// Longest text in a table's cell for prose, in characters.
const SHORT: usize = 60;

/// Data, to stdout.
pub(crate) fn line(text: &str) {
    if let Err(error) = writeln!(anstream::stdout(), "{text}")
        && error.kind() == ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// Data as JSON, to stdout.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Everything that is not data, to stderr.
pub(crate) fn note(text: &str) {
    // Where even stderr is gone there is nobody left to tell.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// A table without lines, for people.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.iter().map(|h| h.to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for row in table.to_string().lines() {
        line(row.trim_end());
    }
}

/// The first line of a text, cut where it is too long for a table.
pub(crate) fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= SHORT {
        return line.to_owned();
    }
    let cut: String = line.chars().take(SHORT - 1).collect();
    format!("{}…", cut.trim_end())
}

/// A time to the second, UTC.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
