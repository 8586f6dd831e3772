//! Every route of every service, asked by every kind of caller.

use std::fmt::Write;

use remora_e2e::repository;
use remora_types::identity::{Role, ServiceName};
use reqwest::{Client, Method};
use serde_json::Value;

use crate::routes::{Needs, Route, committed, of_document};
use crate::stack::{ADMIN, GUEST, OPERATOR, SERVICES, STRANGER, Stack, USER, code_of, from};
use crate::token::{Credential, HEADER, person};
use crate::wire::Wire;

/// A kind of caller.
struct Caller {
    name: String,
    client: Client,
    kind: Kind,
}

enum Kind {
    Nobody,
    /// Known, with the roles up to this one.
    Known(Option<Role>),
    Key(Role, String),
    /// A service, on its own account or for a caller with the role `use`.
    Service(ServiceName, Option<Value>),
}

impl Kind {
    /// The statuses that a refusal may have; `None` where the caller is to be let in.
    fn refusal(&self, route: &Route) -> Option<u16> {
        let holds = |held: Option<Role>| match route.needs {
            Needs::Nothing | Needs::Identity => true,
            Needs::Role(role) => held.is_some_and(|held| held >= role),
        };
        let (allowed, status) = match self {
            _ if route.needs == Needs::Nothing => (true, 0),
            Self::Nobody => (false, 401),
            Self::Known(role) => (holds(*role), 403),
            Self::Key(role, _) => (holds(Some(*role)), 403),
            Self::Service(name, None) => (route.services.contains(name), 403),
            Self::Service(name, Some(_)) => (route.services.contains(name) && holds(Some(Role::Use)), 403),
        };
        (!allowed).then_some(status)
    }
}

async fn callers(stack: &Stack) -> Vec<Caller> {
    let from_tailnet =
        [(GUEST, None), (USER, Some(Role::Use)), (OPERATOR, Some(Role::Operate)), (ADMIN, Some(Role::Admin))];
    let caller = |name: String, address, kind| Caller { name, client: from(address), kind };
    let mut callers = vec![caller("a stranger".into(), STRANGER, Kind::Nobody)];
    for service in ServiceName::ALL {
        callers.push(caller(service.to_string(), STRANGER, Kind::Service(service, None)));
        let on_behalf = Kind::Service(service, Some(person(&["use"])));
        callers.push(caller(format!("{service} for a caller with use"), STRANGER, on_behalf));
    }
    for (address, role) in from_tailnet {
        let name = role.map_or("a tailnet user without a role".into(), |role| format!("a tailnet user with {role}"));
        callers.push(caller(name, address, Kind::Known(role)));
    }
    for role in Role::ALL {
        let key = stack.key(role).await;
        callers.push(caller(format!("a key with {role}"), STRANGER, Kind::Key(role, key)));
    }
    callers
}

#[tokio::test]
async fn every_route_lets_in_whom_it_says_and_nobody_else() {
    let stack = Stack::ready().await;
    let callers = callers(&stack).await;
    let mut wrong = String::new();
    for (service, _) in SERVICES {
        let to = ServiceName::ALL.into_iter().find(|name| name.as_str() == service).unwrap();
        let mut routes = committed(service);
        // Last: what follows it would be about a new credential too.
        routes.sort_by_key(|route| route.path.ends_with("/rotate"));
        for (route, caller) in routes.iter().flat_map(|route| callers.iter().map(move |caller| (route, caller))) {
            let method: Method = route.method.parse().unwrap();
            let request = caller.client.request(method, format!("{}{}", stack.url(service), route.example()));
            let request = match &caller.kind {
                Kind::Nobody | Kind::Known(_) => request,
                Kind::Key(_, key) => request.bearer_auth(key),
                Kind::Service(name, on_behalf) => {
                    let credential = Credential::of(stack.up.state_dir(), *name);
                    request.header(HEADER, credential.token(to, on_behalf.as_ref()))
                }
            };
            // Only the head: event streams have no end.
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            let (expected, right) = match caller.kind.refusal(route) {
                Some(refusal) => (format!("a {refusal}"), status == refusal),
                // Whatever the handler says about an empty body and a thing that does not exist.
                None => ("to be let in".into(), status < 500 && !matches!(status, 401 | 403 | 429)),
            };
            if !right {
                let (_, code) = code_of(answer).await;
                let _ = writeln!(
                    wrong,
                    "{service}: {} {} from {}: {status} {code}, expected {expected}",
                    route.method, route.path, caller.name
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[tokio::test]
async fn what_runs_has_the_routes_of_the_committed_documents() {
    let stack = Stack::ready().await;
    for (service, _) in SERVICES {
        let answer = from(USER).get(format!("{}/openapi.json", stack.url(service))).send().await.unwrap();
        let running = of_document(&answer.json().await.unwrap()).unwrap();
        assert_eq!(running, committed(service), "{service}");
    }
}

/// What does not need a role: told apart from a route that was forgotten.
#[test]
fn only_the_probes_are_public() {
    for (service, _) in SERVICES {
        let public = committed(service).into_iter().filter(|route| route.needs == Needs::Nothing);
        assert_eq!(public.map(|route| route.path).collect::<Vec<_>>(), ["/health", "/ready"], "{service}");
    }
}

/// `docs/access.md` is what the documents say.
#[test]
fn the_page_about_access_is_up_to_date() {
    let mut page = String::from(
        "<!-- Generated by crates/e2e/tests/access/matrix.rs from the services' openapi.json. Do not edit. -->\n\n\
         # Who may call what\n\n\
         A caller needs the role, or one above it: `admin` holds `operate`, and `operate` holds `use`. *Known* asks for \
         an identity with any roles or none; *public* asks for nothing.\n\n\
         Services call each other with credentials of their own. The last column names those that may call a route, on \
         their own account or for a caller who holds the role. Every other service is refused, whoever it speaks for.\n",
    );
    for (service, _) in SERVICES {
        let _ = write!(page, "\n## {service}\n\n| Method | Path | Role | Services |\n| --- | --- | --- | --- |\n");
        for route in committed(service) {
            let needs = match route.needs {
                Needs::Nothing => "*public*".to_owned(),
                Needs::Identity => "*known*".to_owned(),
                Needs::Role(role) => role.to_string(),
            };
            let services = if route.services.len() == ServiceName::ALL.len() {
                "all".to_owned()
            } else {
                route.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            };
            let services = if services.is_empty() { "none".to_owned() } else { services };
            let _ = writeln!(page, "| {} | `{}` | {needs} | {services} |", route.method, route.path);
        }
    }
    let file = repository().join("docs/access.md");
    if std::env::var_os("UPDATE_ACCESS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        committed == page,
        "docs/access.md is out of date: run this test with UPDATE_ACCESS=1, read what changed and commit it"
    );
}

/// Methods that no document lists, and other spellings of a path.
#[tokio::test]
async fn no_other_method_or_spelling_gets_a_stranger_in() {
    let stack = Stack::ready().await;
    let before = stack.tailnet.whois_calls();
    for (service, _) in SERVICES {
        let url = stack.url(service);
        let routes = committed(service);
        for path in routes.iter().filter(|route| route.needs != Needs::Nothing).map(Route::example) {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"] {
                let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n");
                let answer = Wire::open_from(url, STRANGER).await.send(&head, &[]).await;
                assert!(matches!(answer.status, 401 | 404 | 405), "{service}: {method} {path}: {answer:?}");
            }
            let mut letters = path.chars().skip(1);
            // `/` has no letter to be spelt otherwise.
            let coded = letters.next().map(|first| format!("/%{:x}{}", u32::from(first), letters.collect::<String>()));
            for spelling in [
                format!("{path}/"),
                format!("/{path}"),
                format!("/.{path}"),
                format!("/health/..{path}"),
                coded.unwrap_or_else(|| "/%2e".to_owned()),
                path.to_uppercase(),
                format!("{path}?x=/health"),
                format!("{path}%00"),
                format!("{path};/health"),
                format!("http://localhost{path}"),
                format!("http://localhost/health/..{path}"),
            ] {
                let answer = Wire::open_from(url, STRANGER).await.get(&spelling, &[]).await;
                assert!(matches!(answer.status, 400 | 401 | 404 | 405), "{service}: {spelling}: {answer:?}");
            }
        }
    }
    assert!(stack.tailnet.whois_calls() > before);
}
