//! `remora audit`: who changed what, over all services.

use clap::Args;
use remora_types::identity::AuditRow;
use serde_json::{Value, json};

use crate::output;
use crate::servers::{Servers, Silent};

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// A machine, or its gateway; every service on it is asked [default: the services that run on this machine]
    #[arg(long, value_name = "URL", env = "REMORA_SERVER")]
    server: Option<String>,
    /// Most rows to show, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

pub(crate) async fn run(args: AuditArgs, servers: &Servers, json: bool) -> anyhow::Result<()> {
    let limit = args.limit;
    let asked = servers.ask_each(args.server.as_deref(), &[], async |service| service.audit(limit).await).await?;
    let rows = merge(asked.answers.into_iter().flat_map(|list| list.rows), limit);
    if json {
        let missing: Vec<_> = asked.silent.iter().map(Silent::to_json).collect();
        return output::json(&json!({"rows": rows, "missing": missing}));
    }
    show(&rows);
    Silent::tell(&asked.silent);
    Ok(())
}

/// The newest rows of all, the newest first.
fn merge(rows: impl Iterator<Item = AuditRow>, limit: u32) -> Vec<AuditRow> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|a, b| (b.at, &a.service, b.id).cmp(&(a.at, &b.service, a.id)));
    // Two processes of one service keep one record.
    rows.dedup();
    rows.truncate(limit as usize);
    rows
}

fn show(rows: &[AuditRow]) {
    let rows = rows.iter().map(|row| {
        let who = row.via.map_or_else(|| row.who.to_string(), |via| format!("{} via {via}", row.who));
        let (action, subject) = (row.action.clone(), row.subject.clone());
        vec![output::time(row.at), row.service.clone(), who, action, subject, output::short(&summary(&row.details))]
    });
    output::table(&["time", "service", "who", "action", "subject", "details"], rows);
}

/// `role=use id=0a1b2c3d`: what is set, without what is not.
fn summary(details: &Value) -> String {
    let Value::Object(fields) = details else { return details.to_string() };
    let set = fields.iter().filter(|(_, value)| !matches!(value, Value::Null));
    let words = set.map(|(name, value)| match value {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use remora_types::identity::Who;

    use super::*;

    fn row(service: &str, id: i64, second: i64) -> AuditRow {
        let at = jiff::Timestamp::from_second(second).unwrap();
        let (action, subject) = ("key.create".to_owned(), id.to_string());
        AuditRow { id, at, service: service.into(), who: Who::Local, via: None, action, subject, details: json!({}) }
    }

    #[test]
    fn rows_of_several_services_are_one_list() {
        let rows = [
            row("gateway", 2, 30),
            row("gateway", 1, 10),
            row("model-manager", 2, 20),
            row("model-manager", 1, 10),
            // A second process with the same record, and two rows of one moment.
            row("gateway", 2, 30),
            row("gateway", 3, 30),
        ];
        let merged = |limit| merge(rows.clone().into_iter(), limit);
        let places: Vec<_> = merged(10).iter().map(|row| (row.service.clone(), row.id)).collect();
        let expected = [("gateway", 3), ("gateway", 2), ("model-manager", 2), ("gateway", 1), ("model-manager", 1)];
        assert_eq!(places, expected.map(|(service, id)| (service.to_owned(), id)));
        assert_eq!(merged(2).len(), 2);
    }

    #[test]
    fn details_are_told_in_short() {
        assert_eq!(summary(&json!({"role": "use", "models": null})), "role=use");
        assert_eq!(summary(&json!({"hosts": ["a"]})), "hosts=[\"a\"]");
        assert_eq!(summary(&json!({})), "");
    }
}
