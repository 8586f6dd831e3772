//! Every key in memory, read again when the file has changed.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::Timestamp;
use remora_types::identity::{CallerInfo, KeyInfo, Role, Who};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use subtle::ConstantTimeEq;

use super::{Allowance, KeyRow, read};
use crate::access::{Caller, Roles};
use crate::error::ApiError;

/// How soon a revoked key is refused, at the latest.
const REFRESH: Duration = Duration::from_secs(1);

/// Where SQLite counts the changes of a file that has no WAL, in bytes from its start.
const CHANGE_COUNTER: u64 = 24;

/// The keys of one process.
#[derive(Debug)]
pub(crate) struct KeyTable {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keys: HashMap<String, Arc<Key>>,
    /// What the file's change counter was; `None` without a file.
    counter: Option<u32>,
    looked_at: Option<Instant>,
    /// Why the file could not be read.
    fault: Option<String>,
}

/// A key, ready to be compared.
#[derive(Debug)]
struct Key {
    info: KeyInfo,
    hash: [u8; 32],
    caller: Caller,
    allowance: Option<Arc<Allowance>>,
    used: AtomicBool,
}

impl KeyTable {
    pub(crate) fn new(path: &Path) -> Self {
        let state = State { keys: HashMap::new(), counter: None, looked_at: None, fault: None };
        Self { path: path.to_owned(), state: Mutex::new(state) }
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The verdict on a key as it was sent, where the table is fresh; `None` asks for [`Self::refresh`] first.
    pub(crate) fn known(&self, key: &str) -> Option<Result<Caller, ApiError>> {
        let state = self.state();
        let fresh = state.looked_at.is_some_and(|at| at.elapsed() < REFRESH);
        fresh.then(|| state.verdict(key))
    }

    /// The verdict on a key after a look at the file.
    pub(crate) async fn check(&self, key: &str) -> Result<Caller, ApiError> {
        self.refresh().await;
        self.state().verdict(key)
    }

    /// Looks at the file now, whenever that was last done: the next request sees what was just changed.
    pub(crate) fn expire(&self) {
        self.state().looked_at = None;
    }

    /// The ids of the keys that were used since this was last asked.
    pub(crate) fn take_used(&self) -> Vec<String> {
        let state = self.state();
        let used = state.keys.values().filter(|key| key.used.swap(false, Ordering::Relaxed));
        used.map(|key| key.info.id.clone()).collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file again if it has changed.
    async fn refresh(&self) {
        let read = match change_counter(&self.path) {
            Ok(counter) if counter == self.state().counter && self.state().fault.is_none() => None,
            Ok(None) => Some(Ok((None, Vec::new()))),
            Ok(counter) => Some(rows(&self.path).await.map(|rows| (counter, rows)).map_err(|e| e.to_string())),
            Err(error) => Some(Err(error.to_string())),
        };
        let mut state = self.state();
        state.looked_at = Some(Instant::now());
        match read {
            None => {}
            Some(Ok((counter, rows))) => {
                state.counter = counter;
                state.fault = None;
                state.replace(rows);
            }
            Some(Err(fault)) => {
                if state.fault.as_ref() != Some(&fault) {
                    tracing::error!(path = %self.path.display(), fault, "cannot read the keys; none is accepted");
                }
                state.fault = Some(fault);
            }
        }
    }
}

impl State {
    fn verdict(&self, key: &str) -> Result<Caller, ApiError> {
        if self.fault.is_some() {
            let message = "keys cannot be checked just now; the log of this service has the cause";
            return Err(ApiError::unavailable("keys_unavailable", message, REFRESH));
        }
        // One answer, and one comparison, for a wrong secret and for an id that nobody has.
        let unknown = || ApiError::new(StatusCode::UNAUTHORIZED, "invalid_key", "this key is not known");
        let (id, hash) = read(key).ok_or_else(unknown)?;
        let known = self.keys.get(id);
        let right = hash.ct_eq(known.map_or(&[0; 32], |key| &key.hash));
        let key = known.filter(|_| bool::from(right)).ok_or_else(unknown)?;
        let ended = |what: &str| {
            let message = format!("the key {} {what}; its maker can make another: remora key create", key.info.name);
            Err(ApiError::new(StatusCode::UNAUTHORIZED, "key_ended", message))
        };
        if key.info.revoked_at.is_some() {
            return ended("was revoked");
        }
        if key.info.expires_at.is_some_and(|end| end <= Timestamp::now()) {
            return ended("has expired");
        }
        key.used.store(true, Ordering::Relaxed);
        if let Some(Err(wait)) = key.allowance.as_ref().map(|allowance| allowance.take_request()) {
            let message = format!("the key {} has used up its requests of this minute", key.info.name);
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message);
            return Err(error.with_retry_after(wait));
        }
        Ok(key.caller.clone())
    }

    fn replace(&mut self, rows: Vec<KeyRow>) {
        let mut keys = HashMap::with_capacity(rows.len());
        for row in rows {
            let (id, hash) = (row.id.clone(), row.hash.clone());
            let parsed = hash.try_into().ok().zip(KeyInfo::try_from(row).ok());
            let Some((hash, info)) = parsed else {
                tracing::error!(id, "a key in the file cannot be read; it is not accepted");
                continue;
            };
            // What is used up stays used up when another key is made.
            let old = self.keys.get(&id).filter(|old| {
                old.info.requests_per_minute == info.requests_per_minute
                    && old.info.tokens_per_minute == info.tokens_per_minute
            });
            let allowance = match old {
                Some(old) => old.allowance.clone(),
                None => Allowance::new(info.requests_per_minute, info.tokens_per_minute).map(Arc::new),
            };
            let used = AtomicBool::new(old.is_some_and(|old| old.used.load(Ordering::Relaxed)));
            keys.insert(id, Arc::new(Key { caller: caller(&info, allowance.clone()), info, hash, allowance, used }));
        }
        self.keys = keys;
    }
}

/// The caller that holds a key.
fn caller(info: &KeyInfo, allowance: Option<Arc<Allowance>>) -> Caller {
    let caller = CallerInfo {
        who: Who::Key { id: info.id.clone(), name: info.name.to_string() },
        roles: Roles::up_to(info.role).iter().collect::<Vec<Role>>(),
        models: info.models.clone(),
        because: vec![format!("the key {} has the role {}", info.name, info.role)],
    };
    Caller::from_info(caller, None, allowance)
}

/// How often the file has changed; `None` without a file.
fn change_counter(path: &Path) -> io::Result<Option<u32>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut counter = [0; 4];
    match file.read_exact_at(&mut counter, CHANGE_COUNTER) {
        Ok(()) => Ok(Some(u32::from_be_bytes(counter))),
        // SQLite makes the file before its first page.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

async fn rows(path: &Path) -> sqlx::Result<Vec<KeyRow>> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = options.disable_statement_logging().connect().await?;
    let rows = sqlx::query_as("SELECT * FROM keys").fetch_all(&mut connection).await;
    connection.close().await?;
    rows
}
