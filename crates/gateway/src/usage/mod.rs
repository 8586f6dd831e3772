//! Who used how much of what.
//!
//! Sums of each hour by caller and model, in SQLite. Not a row for each request: writing one costs more than forwarding
//! the request, and what people ask of it are sums. They are counted in memory and added to the file every two seconds,
//! which is what a power cut may take. Requests and answers themselves are never kept.

mod account;
mod store;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use remora_service::Stop;
use remora_types::ModelId;
use remora_types::gateway::UsageRow;
use remora_types::identity::Who;
use tokio::sync::Mutex;

pub(crate) use account::{Account, Counters, Ending, Tokens};
pub(crate) use store::Selection;
pub use store::UsageError;
use store::{Entry, UsageStore};

use crate::metrics::GatewayMetrics;

/// Between two writes.
const FLUSH: Duration = Duration::from_secs(2);

/// Every account. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    accounts: RwLock<HashMap<String, HashMap<ModelId, Arc<Account>>>>,
    metrics: GatewayMetrics,
    store: Option<UsageStore>,
    keep_days: u32,
    /// Taken out of the accounts and not in the file yet. Who writes holds it for the whole write, so that nothing is
    /// written twice.
    unwritten: Mutex<Vec<Entry>>,
}

impl Usage {
    /// Accounts that are kept in this file; without one they are counted for `/metrics` alone.
    pub(crate) async fn open(file: Option<&Path>, keep_days: u32, metrics: GatewayMetrics) -> Result<Self, UsageError> {
        let store = match file {
            Some(path) => Some(UsageStore::open(path).await?),
            None => None,
        };
        let (accounts, unwritten) = (RwLock::default(), Mutex::default());
        Ok(Self { shared: Arc::new(Shared { accounts, metrics, store, keep_days, unwritten }) })
    }

    /// The account of a caller for a model.
    pub(crate) fn account(&self, who: &Who, model: &ModelId) -> Arc<Account> {
        let caller = who.to_string();
        let known = self.shared.accounts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.get(&caller).and_then(|models| models.get(model)) {
            return account.clone();
        }
        drop(known);
        let mut accounts = self.shared.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let open = || {
            let counters = self.shared.metrics.counters(&caller, model);
            Arc::new(Account::new(caller.clone(), model.to_string(), counters))
        };
        accounts.entry(caller.clone()).or_default().entry(model.clone()).or_insert_with(open).clone()
    }

    /// Sums; `None` where nothing is kept. What was counted until now is among them.
    pub(crate) async fn rows(&self, selection: &Selection) -> Option<Result<Vec<UsageRow>, UsageError>> {
        let store = self.shared.store.as_ref()?;
        // A failure to write is told by the task, and what is in the file can be read all the same.
        let _ = self.flush().await;
        Some(store.rows(selection).await)
    }

    /// Writes every two seconds until all answers are out, then once more.
    pub(crate) async fn keep(self, stop: Stop) {
        let Some(store) = self.shared.store.clone() else { return stop.closing().await };
        let mut failing = false;
        let mut forgotten = String::new();
        loop {
            let last = tokio::select! {
                () = stop.closing() => true,
                () = tokio::time::sleep(FLUSH) => false,
            };
            let mut written = self.flush().await;
            let today = hour_of(Timestamp::now())[..10].to_owned();
            if written.is_ok() && forgotten != today {
                let oldest = Timestamp::now() - Duration::from_hours(24 * u64::from(self.shared.keep_days));
                written = store.forget(&hour_of(oldest)[..10]).await;
                forgotten = today;
            }
            match &written {
                Ok(()) if failing => tracing::info!("usage is written again"),
                Err(error) if !failing => {
                    let error = error as &dyn std::error::Error;
                    tracing::warn!(error, "usage cannot be written; it is kept in memory and tried again");
                }
                _ => {}
            }
            failing = written.is_err();
            if last {
                return;
            }
        }
    }

    /// Moves what was counted into the file; what cannot be written stays in `unwritten`.
    async fn flush(&self) -> Result<(), UsageError> {
        let Some(store) = &self.shared.store else { return Ok(()) };
        let mut unwritten = self.shared.unwritten.lock().await;
        let hour = hour_of(Timestamp::now());
        let accounts: Vec<_> = {
            let accounts = self.shared.accounts.read().unwrap_or_else(PoisonError::into_inner);
            accounts.values().flat_map(HashMap::values).cloned().collect()
        };
        for account in accounts {
            let sums = account.take();
            if sums.requests > 0 {
                let (caller, model) = (account.caller.clone(), account.model.clone());
                let entry = Entry { hour: hour.clone(), caller, model, sums };
                merge(&mut unwritten, entry);
            }
        }
        if !unwritten.is_empty() {
            store.add(&unwritten).await?;
            unwritten.clear();
        }
        Ok(())
    }
}

/// Keeps a list that cannot be written from growing with time.
fn merge(entries: &mut Vec<Entry>, new: Entry) {
    let same = |old: &&mut Entry| (&old.hour, &old.caller, &old.model) == (&new.hour, &new.caller, &new.model);
    match entries.iter_mut().find(same) {
        Some(old) => old.sums += new.sums,
        None => entries.push(new),
    }
}

/// `2026-11-20T14`
fn hour_of(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H").to_string()
}

#[cfg(test)]
mod tests {
    use remora_service::Metrics;
    use remora_types::gateway::UsageGroup;

    use super::*;

    fn everything(by: &[UsageGroup]) -> Selection {
        let (from, to) = ("2000-01-01".to_owned(), "2999-01-01".to_owned());
        Selection { by: by.to_vec(), from, to, caller: None, model: None, limit: 100 }
    }

    fn ann() -> Who {
        Who::User { login: "ann@example.com".into(), node: "laptop".into() }
    }

    async fn open(file: &Path) -> Usage {
        Usage::open(Some(file), 400, GatewayMetrics::register(&Metrics::new())).await.unwrap()
    }

    fn use_some(usage: &Usage, who: &Who, model: &str, prompt: u64, completion: u64) {
        let tokens = Tokens { prompt, cached: 1, completion, estimated: false };
        usage.account(who, &model.parse().unwrap()).add(tokens, Ending::Whole, Duration::from_millis(5));
    }

    #[tokio::test]
    async fn sums_survive_and_go_on_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/usage.sqlite");
        for _ in 0..2 {
            let usage = open(&file).await;
            use_some(&usage, &ann(), "m", 10, 3);
            use_some(&usage, &Who::Local, "m", 1, 1);
            use_some(&usage, &Who::Local, "n", 1, 1);
            usage.flush().await.unwrap();
            usage.flush().await.unwrap();
        }
        let usage = open(&file).await;
        let rows = usage.rows(&everything(&[UsageGroup::Caller])).await.unwrap().unwrap();
        let told: Vec<_> = rows.iter().map(|row| (row.caller.as_deref().unwrap(), row.sums.prompt_tokens)).collect();
        assert_eq!(told, [("ann@example.com", 20), ("local", 4)]);
        let rows = usage.rows(&Selection { model: Some("n".into()), ..everything(&[]) }).await.unwrap().unwrap();
        assert_eq!((rows.len(), rows[0].sums.requests, rows[0].sums.duration_ms), (1, 2, 10));
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_kept_until_it_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("usage.sqlite");
        let usage = open(&file).await;
        let other = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        sqlx::query("ALTER TABLE usage RENAME TO gone").execute(&other).await.unwrap();
        use_some(&usage, &ann(), "m", 10, 3);
        usage.flush().await.unwrap_err();
        use_some(&usage, &ann(), "m", 10, 3);
        usage.flush().await.unwrap_err();
        assert_eq!(usage.shared.unwritten.lock().await.len(), 1);
        sqlx::query("ALTER TABLE gone RENAME TO usage").execute(&other).await.unwrap();
        let rows = usage.rows(&everything(&[UsageGroup::Day, UsageGroup::Model])).await.unwrap().unwrap();
        assert_eq!((rows[0].sums.requests, rows[0].sums.completion_tokens), (2, 6));
    }

    #[tokio::test]
    async fn old_days_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let usage = open(&folder.path().join("usage.sqlite")).await;
        let store = usage.shared.store.as_ref().unwrap();
        let entry = |hour: &str| Entry {
            hour: hour.into(),
            caller: "c".into(),
            model: "m".into(),
            sums: remora_types::gateway::UsageSums { requests: 1, ..Default::default() },
        };
        store.add(&[entry("2026-01-31T23"), entry("2026-02-01T00")]).await.unwrap();
        store.forget("2026-02-01").await.unwrap();
        let rows = usage.rows(&everything(&[UsageGroup::Day])).await.unwrap().unwrap();
        assert_eq!(rows.iter().map(|row| row.day.as_deref().unwrap()).collect::<Vec<_>>(), ["2026-02-01"]);
    }
}
