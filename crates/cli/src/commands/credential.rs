//! `remora credential rotate`: new keys for the services to sign with.

use anyhow::Context;
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use remora_types::identity::ServiceName;
use serde_json::json;

use crate::output;
use crate::servers::{Servers, Silent, service_named};

#[derive(Debug, Subcommand)]
pub(crate) enum CredentialCommand {
    /// Give services a new key to sign with; the old one is believed for two more minutes
    Rotate {
        /// Which [default: all that run]
        #[arg(value_name = "SERVICE", value_parser = service_parser())]
        services: Vec<ServiceName>,
        /// The machine they run on, or its gateway [default: this machine, as `remora status` shows it]
        #[arg(long, value_name = "URL", env = "REMORA_SERVER")]
        server: Option<String>,
    },
}

fn service_parser() -> impl TypedValueParser<Value = ServiceName> {
    PossibleValuesParser::new(ServiceName::ALL.map(ServiceName::as_str))
        .map(|name| service_named(&name).expect("one of the possible values"))
}

pub(crate) async fn run(command: CredentialCommand, servers: &Servers, json: bool) -> anyhow::Result<()> {
    let CredentialCommand::Rotate { services, server } = command;
    let asked =
        servers.ask_each(server.as_deref(), &services, async |service| service.rotate_credential().await).await?;
    if json {
        let missing: Vec<_> = asked.silent.iter().map(Silent::to_json).collect();
        output::json(&json!({"rotated": asked.answers, "missing": missing}))?;
    } else {
        let rows = asked.answers.iter().map(|rotated| vec![rotated.service.to_string(), rotated.key_id.clone()]);
        output::table(&["service", "key"], rows);
        Silent::tell(&asked.silent);
    }
    // What does not run has nothing to rotate, unless it was asked for by name.
    match asked.silent.into_iter().find(|silent| silent.there || !services.is_empty()) {
        Some(silent) => Err(silent.error).with_context(|| format!("{} still signs with its old key", silent.service)),
        None => Ok(()),
    }
}
