use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use remora_service::{ControlSocket, Listener, Process, RunError, Service, Stop};
use remora_types::status::ProcessStatus;
use tokio::time::timeout;

use crate::support::{get, routes, start};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_open_event_stream_ends_and_lets_the_process_go() {
    let (url, running) = start(|s| s).await;
    let mut events = reqwest::get(format!("{url}/events")).await.unwrap().bytes_stream();
    assert!(String::from_utf8_lossy(&events.next().await.unwrap().unwrap()).contains("hello"));
    running.stop().request();
    timeout(LIMIT, running.wait()).await.expect("stops").unwrap();
    assert!(events.next().await.is_none(), "the stream ends cleanly");
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_after_the_grace_period() {
    let (url, running) = start(|s| s).await;
    let mut body = reqwest::get(format!("{url}/endless")).await.unwrap().bytes_stream();
    assert_eq!(body.next().await.unwrap().unwrap(), "first");
    running.stop().request();
    timeout(LIMIT, running.wait()).await.expect("stops").unwrap();
    assert!(body.next().await.unwrap().is_err(), "a cut answer must not look whole");
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_the_process() {
    let (url, running) = start(|s| s).await;
    let client = reqwest::Client::new();
    client.get(format!("{url}/health")).send().await.unwrap().bytes().await.unwrap();
    let before = std::time::Instant::now();
    running.stop().request();
    timeout(LIMIT, running.wait()).await.expect("stops").unwrap();
    assert!(before.elapsed() < Duration::from_millis(300), "within the grace period");
}

#[tokio::test]
async fn background_work_outlives_the_answers() {
    let closed_while_streaming = Arc::new(AtomicBool::new(false));
    let seen = closed_while_streaming.clone();
    let (url, running) = start(|s| {
        s.task("watcher", move |stop| async move {
            stop.closing().await;
            seen.store(true, Ordering::SeqCst);
            Ok(())
        })
    })
    .await;
    let mut body = reqwest::get(format!("{url}/endless")).await.unwrap().bytes_stream();
    body.next().await.unwrap().unwrap();
    running.stop().request();
    running.stop().draining().await;
    assert!(!closed_while_streaming.load(Ordering::SeqCst), "work goes on while answers are on their way");
    timeout(LIMIT, running.wait()).await.expect("stops").unwrap();
    assert!(closed_while_streaming.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_dead_task_stops_the_process_with_a_failure() {
    for panics in [false, true] {
        let (_, running) = start(|s| {
            s.task("doomed", move |_| async move {
                assert!(!panics, "as planned");
                Err("out of luck".into())
            })
        })
        .await;
        let outcome = timeout(LIMIT, running.wait()).await.expect("stops");
        assert!(matches!(&outcome, Err(RunError::TaskDied(why)) if why.starts_with("doomed")), "{outcome:?}");
    }
}

#[tokio::test]
async fn several_services_share_one_control_socket_and_one_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("remora-pair-1.sock");
    let stop = Stop::new();
    let mut process =
        Process::new("pair").control_socket(ControlSocket::bind_at(&path).await.unwrap()).stop(stop.clone());
    let mut urls = Vec::new();
    for name in ["left", "right"] {
        let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
        urls.push(listener.url());
        process = process.add(Service::new(name, listener, routes(stop.clone())));
    }
    let running = process.start().await.unwrap();
    for url in &urls {
        assert!(get(url, "/health").await.status.is_success());
    }

    let client = reqwest::Client::builder().unix_socket(path.clone()).build().unwrap();
    let status: ProcessStatus = client.get("http://x/status").send().await.unwrap().json().await.unwrap();
    let names: Vec<_> = status.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!((status.name.as_str(), names), ("pair", vec!["left", "right"]));

    assert_eq!(client.post("http://x/shutdown").send().await.unwrap().status(), 202);
    timeout(LIMIT, running.wait()).await.expect("stops").unwrap();
    assert!(!path.exists(), "the socket's file is gone");
    for url in &urls {
        assert!(reqwest::get(format!("{url}/health")).await.is_err());
    }
}
