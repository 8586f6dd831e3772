//! `remora key create | list | revoke`: the gateway's keys.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use remora_types::identity::{CreatedKey, KeyInfo, NewKey, Role};
use remora_types::{KeyName, ModelId};

use crate::output;
use crate::servers::Servers;

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key and print it, this once
    Create(CreateArgs),
    /// List every key, the newest first, ended ones included
    List,
    /// End a key; it is refused everywhere within a second
    Revoke {
        /// Its name or id
        #[arg(value_name = "NAME_OR_ID")]
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What it is for, in one word
    #[arg(long)]
    name: KeyName,
    /// What its holder may do; each role brings those before it
    #[arg(long, value_parser = role_parser())]
    role: Role,
    /// When it ends: a span like 90d, 12h or 2w, or a time like 2027-01-01T00:00:00Z [default: never]
    #[arg(long, value_name = "WHEN", value_parser = parse_expiry)]
    expires: Option<Timestamp>,
    /// The only models that it may ask, with commas between [default: all]
    #[arg(long, value_name = "MODEL,…", value_delimiter = ',')]
    models: Vec<ModelId>,
    /// Most requests a minute [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    requests_per_minute: Option<u32>,
    /// Most tokens a minute, prompts and answers together [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    tokens_per_minute: Option<u32>,
}

impl From<CreateArgs> for NewKey {
    fn from(args: CreateArgs) -> Self {
        Self {
            name: args.name,
            role: args.role,
            expires_at: args.expires,
            models: Some(args.models).filter(|models| !models.is_empty()),
            requests_per_minute: args.requests_per_minute,
            tokens_per_minute: args.tokens_per_minute,
        }
    }
}

fn role_parser() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|role| role.parse::<Role>())
}

fn parse_expiry(text: &str) -> Result<Timestamp, String> {
    expiry(text, Timestamp::now())
}

/// The end that a text names. Days, weeks and months are those of the calendar in UTC.
fn expiry(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let end = match (text.parse::<Span>(), text.parse::<Timestamp>()) {
        (Ok(span), _) => now.to_zoned(TimeZone::UTC).checked_add(span).map_err(|error| error.to_string())?.timestamp(),
        (_, Ok(time)) => time,
        _ => return Err("write a span like 90d, 12h or 2w, or a time like 2027-01-01T00:00:00Z".into()),
    };
    if end > now { Ok(end) } else { Err("that is not in the future".into()) }
}

pub(crate) async fn run(command: KeyCommand, server: &str, servers: &Servers, json: bool) -> anyhow::Result<()> {
    let gateway = servers.client(server)?;
    match command {
        KeyCommand::Create(args) => {
            let created = gateway.create_key(&args.into()).await?;
            if json {
                return output::json(&created);
            }
            show_created(&created);
        }
        KeyCommand::List => {
            let list = gateway.keys().await?;
            if json {
                return output::json(&list);
            }
            show(&list.keys);
        }
        KeyCommand::Revoke { key } => {
            let info = gateway.revoke_key(&key).await?;
            if json {
                return output::json(&info);
            }
            let since = info.revoked_at.map(|at| format!(" since {}", output::time(at))).unwrap_or_default();
            output::note(&format!("the key {} ({}) is revoked{since}", info.name, info.id));
        }
    }
    Ok(())
}

/// The key alone on stdout, so that it can go straight into a file or another program.
fn show_created(created: &CreatedKey) {
    let info = &created.info;
    let end = info.expires_at.map_or_else(|| "never ends".to_owned(), |at| format!("ends {}", output::time(at)));
    output::note(&format!(
        "the key {} ({}): role {}, {end}; it is shown only this once",
        info.name, info.id, info.role
    ));
    output::line(&created.key);
}

fn show(keys: &[KeyInfo]) {
    let now = Timestamp::now();
    let rows = keys.iter().map(|key| {
        let models = key.models.as_ref().map(|models| models.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "));
        vec![
            key.name.to_string(),
            key.id.clone(),
            key.role.to_string(),
            models.unwrap_or_else(|| "all".into()),
            limits(key),
            key.expires_at.map_or_else(|| "never".into(), output::time),
            key.last_used_at.map_or_else(|| "never".into(), output::time),
            state(key, now).to_owned(),
        ]
    });
    output::table(&["name", "id", "role", "models", "limits", "expires", "last used", "state"], rows);
}

/// `60 requests, 10000 tokens` a minute.
fn limits(key: &KeyInfo) -> String {
    let limits = [(key.requests_per_minute, "requests"), (key.tokens_per_minute, "tokens")];
    let limits = limits.into_iter().filter_map(|(limit, what)| Some(format!("{} {what}/min", limit?)));
    let limits: Vec<_> = limits.collect();
    if limits.is_empty() { "-".into() } else { limits.join(", ") }
}

fn state(key: &KeyInfo, now: Timestamp) -> &'static str {
    match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= now => "expired",
        (None, _) => "living",
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn now() -> Timestamp {
        "2026-02-27T12:00:00Z".parse().unwrap()
    }

    fn created(options: &str) -> Result<NewKey, String> {
        let line = format!("remora key create --name ci {options}");
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        let Command::Key { command: KeyCommand::Create(args), .. } = cli.command else { panic!("not `key create`") };
        Ok(args.into())
    }

    #[test]
    fn an_end_is_a_span_or_a_time() {
        let end = |text| expiry(text, now()).map(|at| at.to_string());
        assert_eq!(end("90d"), Ok("2026-05-28T12:00:00Z".into()));
        assert_eq!(end("12h"), Ok("2026-02-28T00:00:00Z".into()));
        assert_eq!(end("2w"), Ok("2026-03-13T12:00:00Z".into()));
        assert_eq!(end("1 month"), Ok("2026-03-27T12:00:00Z".into()));
        assert_eq!(end("P1D"), Ok("2026-02-28T12:00:00Z".into()));
        assert_eq!(end("2027-01-01T00:00:00+01:00"), Ok("2026-12-31T23:00:00Z".into()));
    }

    #[test]
    fn ends_that_are_past_or_unclear_are_refused() {
        for past in ["0d", "-5d", "5d ago", "2026-02-27T12:00:00Z", "2020-01-01T00:00:00Z"] {
            assert_eq!(expiry(past, now()), Err("that is not in the future".into()), "{past}");
        }
        for unclear in ["", "90", "soon", "d", "2027-01-01", "2027-01-01T00:00:00"] {
            assert!(expiry(unclear, now()).unwrap_err().starts_with("write a span"), "{unclear}");
        }
        assert!(expiry("15000y", now()).is_err());
    }

    #[test]
    fn options_become_a_request() {
        let key = created("--role operate --models a/b,c --requests-per-minute 60 --tokens-per-minute 9000").unwrap();
        assert_eq!((key.name.as_str(), key.role, key.expires_at), ("ci", Role::Operate, None));
        assert_eq!(key.models.unwrap().iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["a/b", "c"]);
        assert_eq!((key.requests_per_minute, key.tokens_per_minute), (Some(60), Some(9000)));
        assert_eq!(created("--role use").unwrap().models, None);
    }

    #[test]
    fn bad_options_are_wrong_usage() {
        for (options, named) in [
            ("", "--role"),
            ("--role root", "operate"),
            ("--role use --expires 90", "90d"),
            ("--role use --requests-per-minute 0", "--requests-per-minute"),
            ("--role use --models a,,b", "model id"),
            ("--role use --name a/b", "--name"),
        ] {
            let message = created(options).unwrap_err();
            assert!(message.contains(named), "{options}: {message}");
        }
    }

    #[test]
    fn a_key_lives_until_it_expires_or_is_revoked() {
        let info = |end: Option<Timestamp>, revoked: Option<Timestamp>| KeyInfo {
            id: "0a1b2c3d".into(),
            name: "ci".parse().unwrap(),
            role: Role::Use,
            models: None,
            requests_per_minute: Some(60),
            tokens_per_minute: None,
            created_at: Timestamp::UNIX_EPOCH,
            created_by: "local".into(),
            expires_at: end,
            revoked_at: revoked,
            last_used_at: None,
        };
        let state = |end, revoked| state(&info(end, revoked), now());
        assert_eq!((state(None, None), state(Some(Timestamp::MAX), None)), ("living", "living"));
        assert_eq!((state(Some(now()), None), state(Some(now()), Some(now()))), ("expired", "revoked"));
        assert_eq!(limits(&info(None, None)), "60 requests/min");
    }
}
