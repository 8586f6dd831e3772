//! What stands beside each route: the check of its caller, and the request's span.
//!
//! Written as a plain service rather than with axum's `from_fn`, which costs two boxed futures and a clone of the boxed
//! route per request; a busy gateway feels that.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use futures::future::{BoxFuture, Either};
use tower::{Layer, Service};
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use crate::access::{Access, Caller};
use crate::error::ApiError;
use crate::frame::RequestId;
use crate::identity::{Connection, Identity};

/// What the frame lends to the routes for one request, and learns from the one that takes it.
pub(crate) struct Loan {
    pub(crate) connection: Arc<Connection>,
    pub(crate) identity: Identity,
    /// Whether spans are for debugging only.
    pub(crate) quiet: bool,
    /// The template of the route that took the request.
    pub(crate) route: OnceLock<Arc<str>>,
}

/// Puts a [`Guarded`] around a route.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    access: Access,
    template: Arc<str>,
}

impl Guard {
    /// The guard of the routes under one path.
    pub(crate) fn new(access: Access, template: &str) -> Self {
        Self { access, template: template.into() }
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, route: S) -> Guarded<S> {
        Guarded { guard: self.clone(), route }
    }
}

/// A route with its guard.
#[derive(Debug, Clone)]
pub(crate) struct Guarded<S> {
    guard: Guard,
    route: S,
}

type Verdict = Ready<Result<Response, Infallible>>;
type Asking = BoxFuture<'static, Result<Response, Infallible>>;

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Instrumented<S::Future>, Either<Verdict, Asking>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let Some(loan) = request.extensions().get::<Arc<Loan>>().cloned() else {
            return refuse(ApiError::internal("a route was served without the service's frame"));
        };
        // A request meets one route; a second guard could only repeat the first one's word.
        let _ = loan.route.set(self.guard.template.clone());
        let span = self.span(&loan, &request);
        let access = self.guard.access;
        if access.is_public() {
            return Either::Left(self.route.call(request).instrument(span));
        }
        if let Some(verdict) = loan.identity.known(&loan.connection, request.headers()) {
            return match admit(verdict, access, &mut request) {
                Ok(()) => Either::Left(self.route.call(request).instrument(span)),
                Err(error) => refuse(error),
            };
        }
        let mut route = self.route.clone();
        let asking = async move {
            let verdict = loan.identity.identify(&loan.connection, request.headers()).await;
            match admit(verdict, access, &mut request) {
                Ok(()) => route.call(request).await,
                Err(error) => Ok(error.into_response()),
            }
        };
        Either::Right(Either::Right(Box::pin(asking.instrument(span))))
    }
}

impl<S> Guarded<S> {
    fn span(&self, loan: &Loan, request: &Request) -> Span {
        let (method, route) = (request.method(), &*self.guard.template);
        let id = request.extensions().get::<RequestId>().map(RequestId::as_str).unwrap_or_default();
        if loan.quiet {
            tracing::debug_span!("request", %method, route, id)
        } else {
            tracing::info_span!("request", %method, route, id)
        }
    }
}

fn refuse<F>(error: ApiError) -> Either<F, Either<Verdict, Asking>> {
    Either::Right(Either::Left(ready(Ok(error.into_response()))))
}

/// Lets a caller in whom the route takes.
fn admit(verdict: Result<Caller, ApiError>, access: Access, request: &mut Request) -> Result<(), ApiError> {
    let caller = verdict?;
    access.admit(&caller)?;
    request.extensions_mut().insert(caller);
    Ok(())
}
