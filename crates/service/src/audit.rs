//! Who did what: a row for each change that somebody made, kept for good.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use remora_types::identity::{AuditRow, ServiceName, Who};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{FromRow, SqlitePool};

use crate::access::Caller;
use crate::error::ApiError;
use crate::lifecycle::BoxError;

/// One service's record of changes; cheap to clone. Without a file behind it (tests, engines) it keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct Audit {
    file: Option<Arc<AuditFile>>,
}

#[derive(Debug)]
struct AuditFile {
    service: ServiceName,
    pool: SqlitePool,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    at: String,
    who: String,
    via: Option<String>,
    action: String,
    subject: String,
    details: String,
}

impl Audit {
    /// Opens the file of a service, or makes it.
    pub(crate) async fn open(path: &Path, service: ServiceName) -> Result<Self, BoxError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
        sqlx::migrate!("migrations/audit").run(&pool).await?;
        Ok(Self { file: Some(Arc::new(AuditFile { service, pool })) })
    }

    /// Records what a caller did. `action` is `thing.verb`; `details` never hold a secret.
    ///
    /// What was done stays done if the row cannot be written; the log then has it.
    pub async fn record(&self, caller: &Caller, action: &str, subject: &str, details: Value) {
        self.record_of(caller.who(), caller.via(), action, subject, details).await;
    }

    pub(crate) async fn record_of(
        &self,
        who: &Who,
        via: Option<ServiceName>,
        action: &str,
        subject: &str,
        details: Value,
    ) {
        tracing::info!(%who, action, subject, "audit");
        let Some(file) = &self.file else { return };
        let written =
            sqlx::query("INSERT INTO audit (at, who, via, action, subject, details) VALUES (?, ?, ?, ?, ?, ?)")
                .bind(Timestamp::now().to_string())
                .bind(serde_json::to_string(who).expect("a caller is plain data"))
                .bind(via.map(ServiceName::as_str))
                .bind(action)
                .bind(subject)
                .bind(details.to_string())
                .execute(&file.pool)
                .await;
        if let Err(error) = written {
            tracing::error!(%error, %who, action, subject, %details, "cannot write to the audit record");
        }
    }

    /// The newest rows, those older than `before` where it is given.
    pub(crate) async fn rows(&self, before: Option<i64>, limit: u32) -> Result<Vec<AuditRow>, ApiError> {
        let Some(file) = &self.file else { return Ok(Vec::new()) };
        let rows: Vec<Row> = sqlx::query_as("SELECT * FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?")
            .bind(before.unwrap_or(i64::MAX))
            .bind(limit)
            .fetch_all(&file.pool)
            .await
            .map_err(ApiError::internal)?;
        rows.into_iter().map(|row| row.read(file.service).map_err(ApiError::internal)).collect()
    }

    /// The details of the newest row of an action.
    pub(crate) async fn last(&self, action: &str) -> Option<Value> {
        let file = self.file.as_ref()?;
        let found: Option<(String,)> =
            sqlx::query_as("SELECT details FROM audit WHERE action = ? ORDER BY id DESC LIMIT 1")
                .bind(action)
                .fetch_optional(&file.pool)
                .await
                .ok()?;
        serde_json::from_str(&found?.0).ok()
    }
}

impl Row {
    fn read(self, service: ServiceName) -> Result<AuditRow, BoxError> {
        let via = self.via.map(|via| serde_json::from_value(via.into())).transpose()?;
        Ok(AuditRow {
            id: self.id,
            at: self.at.parse()?,
            service: service.to_string(),
            who: serde_json::from_str(&self.who)?,
            via,
            action: self.action,
            subject: self.subject,
            details: serde_json::from_str(&self.details)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn rows_are_kept_across_restarts_the_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit/gateway.sqlite");
        let open = || async { Audit::open(&path, ServiceName::Gateway).await.unwrap() };
        let audit = open().await;
        audit.record(&Caller::local(), "key.create", "cline", json!({"role": "use"})).await;
        drop(audit);
        let audit = open().await;
        audit.record(&Caller::local(), "key.revoke", "cline", json!({})).await;
        let rows = audit.rows(None, 10).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.action.as_str()).collect::<Vec<_>>(), ["key.revoke", "key.create"]);
        assert_eq!((rows[1].who.clone(), rows[1].service.as_str()), (Who::Local, "gateway"));
        assert_eq!(audit.rows(Some(rows[0].id), 10).await.unwrap(), rows[1..]);
        assert_eq!(audit.last("key.create").await, Some(json!({"role": "use"})));
    }
}
