//! `remora usage`: who used how much of which model.

use clap::Args;
use jiff::civil::Date;
use remora_types::gateway::{UsageGroup, UsageReport, UsageRow, UsageSums};

use crate::args::GATEWAY;
use crate::output;
use crate::servers::Servers;

#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// What to sum by, with commas between: day, caller, model
    #[arg(long, value_name = "WHAT,…", value_delimiter = ',', default_value = "day,model")]
    by: Vec<UsageGroup>,
    /// The first day, as 2026-11-20, in UTC [default: 30 days ago]
    #[arg(long, value_name = "DAY")]
    from: Option<Date>,
    /// The last day [default: today]
    #[arg(long, value_name = "DAY")]
    to: Option<Date>,
    /// Of this caller only
    #[arg(long, value_name = "WHO")]
    caller: Option<String>,
    /// Of this model only
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// The gateway, which keeps the accounts
    #[arg(long, value_name = "URL", env = "REMORA_SERVER", default_value = GATEWAY)]
    server: String,
}

pub(crate) async fn run(args: UsageArgs, servers: &Servers, json: bool) -> anyhow::Result<()> {
    let by: Vec<&str> = args.by.iter().map(|group| group.as_str()).collect();
    let mut query = vec![("by", by.join(","))];
    let optional = [
        ("from", args.from.map(|day| day.to_string())),
        ("to", args.to.map(|day| day.to_string())),
        ("caller", args.caller),
        ("model", args.model),
    ];
    query.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let report = servers.client(&args.server)?.usage(&query).await?;
    if json {
        return output::json(&report);
    }
    show(&report, &args.by);
    Ok(())
}

fn show(report: &UsageReport, by: &[UsageGroup]) {
    let groups: Vec<UsageGroup> = UsageGroup::ALL.into_iter().filter(|group| by.contains(group)).collect();
    let mut header: Vec<&str> = groups.iter().map(|group| group.as_str()).collect();
    header.extend(["requests", "errors", "cut short", "prompt", "cached", "answer", "seconds"]);
    let mut rows: Vec<_> = report.rows.iter().map(|row| cells(&groups, row)).collect();
    let mut total = vec![String::new(); groups.len()];
    if let Some(first) = total.first_mut() {
        "total".clone_into(first);
    }
    total.extend(figures(&report.total));
    rows.push(total);
    output::table(&header, rows);
    if report.truncated {
        output::note("There are more rows; ask for fewer days, or with --caller or --model.");
    }
    if report.total.estimated > 0 {
        output::note(&format!("{} requests are estimated: their engine told no tokens.", report.total.estimated));
    }
}

fn cells(groups: &[UsageGroup], row: &UsageRow) -> Vec<String> {
    let name = |group: &UsageGroup| match group {
        UsageGroup::Day => &row.day,
        UsageGroup::Caller => &row.caller,
        UsageGroup::Model => &row.model,
    };
    let names = groups.iter().map(|group| name(group).clone().unwrap_or_default());
    names.chain(figures(&row.sums)).collect()
}

fn figures(sums: &UsageSums) -> impl Iterator<Item = String> + use<> {
    let UsageSums { requests, errors, cancelled, prompt_tokens, cached_tokens, completion_tokens, duration_ms, .. } =
        *sums;
    [requests, errors, cancelled, prompt_tokens, cached_tokens, completion_tokens, duration_ms / 1000]
        .into_iter()
        .map(|number| number.to_string())
}
