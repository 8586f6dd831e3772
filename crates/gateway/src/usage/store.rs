//! The sums in their file.

use std::path::Path;

use remora_types::gateway::{UsageGroup, UsageRow, UsageSums};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{FromRow, QueryBuilder, Sqlite, SqlitePool};
use thiserror::Error;

/// A file that cannot be opened, read or written.
#[derive(Debug, Error)]
pub enum UsageError {
    /// The folder cannot be made.
    #[error("cannot make the folder {0}")]
    Folder(String, #[source] std::io::Error),
    /// SQLite failed: a full disk, say.
    #[error("the usage file cannot be used")]
    Storage(#[from] sqlx::Error),
    /// The file is another program's, or a later version's.
    #[error("the usage file has another shape than this version knows")]
    Shape(#[from] sqlx::migrate::MigrateError),
}

/// Rows by hour, caller and model.
#[derive(Debug, Clone)]
pub(super) struct UsageStore {
    pool: SqlitePool,
}

/// What was used in an hour.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// As `2026-11-20T14`, in UTC.
    pub(super) hour: String,
    pub(super) caller: String,
    pub(super) model: String,
    pub(super) sums: UsageSums,
}

/// Which rows, and by what they are summed.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) by: Vec<UsageGroup>,
    /// The first day, as `2026-11-20`.
    pub(crate) from: String,
    /// The last day.
    pub(crate) to: String,
    pub(crate) caller: Option<String>,
    pub(crate) model: Option<String>,
    /// Most rows.
    pub(crate) limit: u32,
}

#[derive(FromRow)]
struct Row {
    day: Option<String>,
    caller: Option<String>,
    model: Option<String>,
    #[sqlx(flatten)]
    sums: SumsRow,
}

#[derive(FromRow)]
struct SumsRow {
    requests: i64,
    errors: i64,
    cancelled: i64,
    estimated: i64,
    prompt_tokens: i64,
    cached_tokens: i64,
    completion_tokens: i64,
    duration_ms: i64,
}

impl UsageStore {
    /// Opens the file, or makes it.
    pub(super) async fn open(path: &Path) -> Result<Self, UsageError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| UsageError::Folder(folder.display().to_string(), error))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A power cut may take the last seconds; a sync every two seconds for ever would wear the disk.
            .synchronous(SqliteSynchronous::Normal);
        let pool = SqlitePoolOptions::new().max_connections(2).connect_with(options).await?;
        sqlx::migrate!("migrations/usage").run(&pool).await?;
        Ok(Self { pool })
    }

    /// Adds to the sums: all of it, or nothing.
    pub(super) async fn add(&self, entries: &[Entry]) -> Result<(), UsageError> {
        let mut transaction = self.pool.begin().await?;
        for Entry { hour, caller, model, sums } in entries {
            sqlx::query(
                "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET \
                 requests = requests + excluded.requests, errors = errors + excluded.errors, \
                 cancelled = cancelled + excluded.cancelled, estimated = estimated + excluded.estimated, \
                 prompt_tokens = prompt_tokens + excluded.prompt_tokens, \
                 cached_tokens = cached_tokens + excluded.cached_tokens, \
                 completion_tokens = completion_tokens + excluded.completion_tokens, \
                 duration_ms = duration_ms + excluded.duration_ms",
            )
            .bind(hour)
            .bind(caller)
            .bind(model)
            .bind(signed(sums.requests))
            .bind(signed(sums.errors))
            .bind(signed(sums.cancelled))
            .bind(signed(sums.estimated))
            .bind(signed(sums.prompt_tokens))
            .bind(signed(sums.cached_tokens))
            .bind(signed(sums.completion_tokens))
            .bind(signed(sums.duration_ms))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Forgets what was before a day.
    pub(super) async fn forget(&self, before: &str) -> Result<(), UsageError> {
        sqlx::query("DELETE FROM usage WHERE hour < ?").bind(before).execute(&self.pool).await?;
        Ok(())
    }

    /// Sums, in the order of what they are summed by, the latest day first.
    pub(super) async fn rows(&self, selection: &Selection) -> Result<Vec<UsageRow>, UsageError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        for group in UsageGroup::ALL {
            let column = if selection.by.contains(&group) { expression(group) } else { "NULL" };
            query.push(format_args!("{column} AS {}, ", group.as_str()));
        }
        let sum = |name: &str| format!("COALESCE(SUM({name}), 0) AS {name}");
        let names =
            ["requests", "errors", "cancelled", "estimated", "prompt_tokens", "cached_tokens", "completion_tokens"];
        for name in names {
            query.push(sum(name)).push(", ");
        }
        query.push(sum("duration_ms")).push(" FROM usage WHERE substr(hour, 1, 10) BETWEEN ");
        query.push_bind(&selection.from).push(" AND ").push_bind(&selection.to);
        if let Some(caller) = &selection.caller {
            query.push(" AND caller = ").push_bind(caller);
        }
        if let Some(model) = &selection.model {
            query.push(" AND model = ").push_bind(model);
        }
        let groups: Vec<_> = selection.by.iter().map(|&group| expression(group)).collect();
        if !groups.is_empty() {
            let order = |group: &&str| format!("{group}{}", if *group == DAY { " DESC" } else { "" });
            query.push(format_args!(" GROUP BY {}", groups.join(", ")));
            query.push(format_args!(" ORDER BY {}", groups.iter().map(order).collect::<Vec<_>>().join(", ")));
        }
        query.push(" LIMIT ").push_bind(selection.limit);
        let rows: Vec<Row> = query.build_query_as().fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(Row::told).collect())
    }
}

const DAY: &str = "substr(hour, 1, 10)";

fn expression(group: UsageGroup) -> &'static str {
    match group {
        UsageGroup::Day => DAY,
        UsageGroup::Caller => "caller",
        UsageGroup::Model => "model",
    }
}

impl Row {
    fn told(self) -> UsageRow {
        let sums = self.sums;
        UsageRow {
            day: self.day,
            caller: self.caller,
            model: self.model,
            sums: UsageSums {
                requests: sums.requests.unsigned_abs(),
                errors: sums.errors.unsigned_abs(),
                cancelled: sums.cancelled.unsigned_abs(),
                estimated: sums.estimated.unsigned_abs(),
                prompt_tokens: sums.prompt_tokens.unsigned_abs(),
                cached_tokens: sums.cached_tokens.unsigned_abs(),
                completion_tokens: sums.completion_tokens.unsigned_abs(),
                duration_ms: sums.duration_ms.unsigned_abs(),
            },
        }
    }
}

/// SQLite's integers have a sign.
fn signed(sum: u64) -> i64 {
    i64::try_from(sum).unwrap_or(i64::MAX)
}
