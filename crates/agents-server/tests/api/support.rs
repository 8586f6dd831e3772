//! A running server over a folder of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use remora_agents_server::{Config, WatchMode, service};
use remora_api_client::Client;
use remora_service::{Identity, Listener, Process, Running, Stop};
use reqwest::{Method, Response};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Longest wait for anything that is not being measured.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) url: String,
    pub(crate) http: reqwest::Client,
    running: Running,
}

impl Server {
    /// Serves these files; paths that end with `*` can be run.
    pub(crate) async fn start(files: &[(&str, &str)]) -> Self {
        Self::configured(files, |_| {}).await
    }

    /// The same with other settings than the defaults.
    pub(crate) async fn configured(files: &[(&str, &str)], change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("agents")).unwrap();
        let mut config =
            Config { listen: "127.0.0.1:0".parse().unwrap(), root: folder.path().join("agents"), ..Config::default() };
        // Tests that wait for events must not be saved by the look that happens anyway.
        config.poll_interval_ms = 60_000;
        change(&mut config);
        if config.watch == WatchMode::Poll {
            config.poll_interval_ms = 100;
        }
        for (path, text) in files {
            write_below(&folder.path().join("agents"), path, text.as_bytes());
        }
        let (listener, stop) = (Listener::bind(&config.listen).await.unwrap(), Stop::new());
        let url = listener.url();
        let service = service(&config, listener, &Identity::local(), &stop).await.unwrap();
        let running = Process::new("test").add(service).stop(stop).without_control_socket().start().await.unwrap();
        Self { folder, url, http: reqwest::Client::new(), running }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url).unwrap()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("agents").join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        write_below(&self.folder.path().join("agents"), path, text.as_bytes());
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path, &[]).await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    /// A request whose path is sent exactly as written; the whole answer.
    pub(crate) async fn raw(&self, path: &[u8]) -> Vec<u8> {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = [b"GET ", path, b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"].concat();
        stream.write_all(&request).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }

    pub(crate) async fn stop(self) {
        self.running.stop().request();
        self.running.wait().await.unwrap();
    }
}

fn write_below(root: &std::path::Path, path: &str, bytes: &[u8]) {
    let executable = path.ends_with('*');
    let path = root.join(path.trim_end_matches('*'));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    if executable {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A header as text; empty where it is missing.
pub(crate) fn header<'r>(response: &'r Response, name: &str) -> &'r str {
    response.headers().get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
}
