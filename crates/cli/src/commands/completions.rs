//! `remora completions SHELL`

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::args::Cli;
use crate::output;

pub(crate) fn run(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "remora", &mut script);
    output::line(std::str::from_utf8(&script)?);
    Ok(())
}
