//! Writing to the terminal. A reader that went away (`remora … | head`) ends the command quietly.

use std::io::{ErrorKind, Write};

use serde::Serialize;

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
