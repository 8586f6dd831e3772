//! The servers that a verb asks: one by its address, or every service of a machine; each is shown the caller's key.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use futures::future::join_all;
use http::uri::Authority;
use remora_api_client::control::Control;
use remora_api_client::{Client, ClientError};
use remora_service::SOCKET_FOLDERS;
use remora_types::identity::ServiceName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::commands::status::nothing_runs;
use crate::failure::{Exit, Failure};
use crate::{key, output};

/// Longest time a program on another machine may take to say that it is a service of Remora.
const GREETING_LIMIT: Duration = Duration::from_secs(5);

/// How servers are reached.
#[derive(Debug)]
pub(crate) struct Servers {
    key_file: Option<PathBuf>,
    variable: Option<OsString>,
}

/// What services answered, and which did not.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    /// One or more.
    pub(crate) answers: Vec<T>,
    pub(crate) silent: Vec<Silent>,
}

/// A service that gave no answer.
#[derive(Debug)]
pub(crate) struct Silent {
    pub(crate) service: ServiceName,
    /// Whether it is there at all.
    pub(crate) there: bool,
    pub(crate) error: anyhow::Error,
}

/// Where a service is, or may be.
#[derive(Debug)]
struct Place {
    service: ServiceName,
    /// Without the key.
    client: Client,
    /// Whether a process of this user says that it is there.
    certain: bool,
}

impl Servers {
    /// With the key in `key_file`, else the one in the environment.
    pub(crate) fn new(key_file: Option<PathBuf>) -> Self {
        Self { key_file, variable: std::env::var_os(key::VARIABLE) }
    }

    /// A client of one server.
    pub(crate) fn client(&self, server: &str) -> anyhow::Result<Client> {
        Ok(with(self.key()?.as_ref(), Client::new(server)?))
    }

    /// Asks every service on the host of `server`, or where there is none every service that runs on this machine; of
    /// those only the `wanted`, where any are named. Fails if none answers.
    pub(crate) async fn ask_each<T>(
        &self,
        server: Option<&str>,
        wanted: &[ServiceName],
        question: impl AsyncFn(Client) -> Result<T, ClientError>,
    ) -> anyhow::Result<Asked<T>> {
        let (key, question) = (self.key()?, &question);
        let mut places = match server {
            Some(server) => on_host(server)?,
            None => on_this_machine().await?,
        };
        places.retain(|place| wanted.is_empty() || wanted.contains(&place.service));
        let missing = wanted.iter().filter(|service| !places.iter().any(|place| place.service == **service));
        let silent = missing.map(|service| Silent::absent(*service, anyhow!("no {service} runs on this machine")));
        let mut asked = Asked { answers: Vec::new(), silent: silent.collect() };
        let answers = places.into_iter().map(async |place| {
            place.greet().await?;
            let answer = question(with(key.as_ref(), place.client)).await;
            answer.map_err(|error| Silent { service: place.service, there: true, error: error.into() })
        });
        for answer in join_all(answers).await {
            match answer {
                Ok(answer) => asked.answers.push(answer),
                Err(silent) => asked.silent.push(silent),
            }
        }
        if asked.answers.is_empty() { Err(failure(asked.silent, server)) } else { Ok(asked) }
    }

    /// The file with the key, where one was named.
    pub(crate) fn key_file(&self) -> Option<&Path> {
        self.key_file.as_deref()
    }

    fn key(&self) -> anyhow::Result<Option<SecretString>> {
        key::load(self.key_file.as_deref(), self.variable.clone())
    }
}

impl Place {
    /// Makes sure that what listens there is a service of Remora: other programs are not shown the key.
    async fn greet(&self) -> Result<(), Silent> {
        if self.certain {
            return Ok(());
        }
        let server = self.client.server();
        match tokio::time::timeout(GREETING_LIMIT, self.client.ready()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Silent::absent(self.service, error.into())),
            Err(_) => Err(Silent::absent(self.service, ClientError::Timeout { server }.into())),
        }
    }
}

impl Silent {
    fn absent(service: ServiceName, error: anyhow::Error) -> Self {
        Self { service, there: false, error }
    }

    /// For scripts.
    pub(crate) fn to_json(&self) -> Value {
        json!({"service": self.service, "message": self.error.to_string()})
    }

    /// For people, to stderr.
    pub(crate) fn tell(silent: &[Self]) {
        for silent in silent.iter().filter(|silent| silent.there) {
            output::note(&format!("{} gave no answer: {}", silent.service, silent.error));
        }
        let absent: Vec<_> = silent.iter().filter(|s| !s.there).map(|s| s.service.as_str()).collect();
        if !absent.is_empty() {
            output::note(&format!("not running: {}", absent.join(", ")));
        }
    }
}

/// Where a service is reached from this machine that listens on every address.
pub(crate) fn reachable(listen: &str) -> String {
    listen.replace("0.0.0.0:", "127.0.0.1:").replace("[::]:", "[::1]:")
}

/// The service of that name.
pub(crate) fn service_named(name: &str) -> Option<ServiceName> {
    ServiceName::ALL.into_iter().find(|service| service.as_str() == name)
}

fn with(key: Option<&SecretString>, client: Client) -> Client {
    match key {
        Some(key) => client.with_key(key.expose_secret()),
        None => client,
    }
}

/// The services of this user's processes, as their control sockets tell.
async fn on_this_machine() -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for control in Control::find(&SOCKET_FOLDERS) {
        // A socket that nobody answers was left behind by a kill -9.
        for status in control.status().await.into_iter().flat_map(|process| process.services) {
            if let Some(service) = service_named(&status.name) {
                places.push(Place { service, client: Client::new(&reachable(&status.listen))?, certain: true });
            }
        }
    }
    if places.is_empty() {
        let hint = "`remora up` starts one; --server http://HOST asks those of a machine or a container";
        return Err(nothing_runs().hint(hint).into());
    }
    Ok(places)
}

/// Every service of a host, on its usual port; a port that is no service's is the gateway's.
fn on_host(server: &str) -> anyhow::Result<Vec<Place>> {
    let address = server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/');
    let authority = address.parse::<Authority>().ok().filter(is_plain).ok_or_else(|| {
        let failure = Failure::new(Exit::Usage, format!("{server:?} does not name a machine"));
        failure.hint("write http://HOST, or http://HOST:PORT with the port of its gateway")
    })?;
    let gateway = authority.port_u16().filter(|port| ServiceName::ALL.iter().all(|service| service.port() != *port));
    let place = |service: ServiceName| {
        let port = gateway.filter(|_| service == ServiceName::Gateway).unwrap_or(service.port());
        let client = Client::new(&format!("http://{}:{port}", authority.host()))?;
        Ok(Place { service, client, certain: false })
    };
    ServiceName::ALL.into_iter().map(place).collect()
}

/// Whether it is `host` or `host:port` and nothing else.
fn is_plain(authority: &Authority) -> bool {
    let port = authority.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    authority.as_str() == format!("{}{port}", authority.host())
}

/// Why nobody answered: the word of a service that is there, if one is.
fn failure(silent: Vec<Silent>, server: Option<&str>) -> anyhow::Error {
    if let Some(refused) = silent.into_iter().find(|silent| silent.there) {
        return refused.error;
    }
    let place = server.map_or_else(|| "on this machine".to_owned(), |server| format!("at {server}"));
    Failure::new(Exit::NotRunning, format!("no service of Remora that was asked for answers {place}")).into()
}
