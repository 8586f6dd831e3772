//! A request's claim on an engine.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use remora_service::RequestId;
use remora_types::ModelId;
use remora_types::engines::Capability;

use super::error::DrawError;
use super::table::{Offer, Table};
use crate::limits::Admission;
use crate::metrics::{Outcome, Pace};
use crate::upstream::{Track, Upstream};

/// Counts a request as one that its engine is busy with, from the choice to the answer's last byte or the loss of the
/// client, and then how it ended.
pub(crate) struct Ticket {
    offer: Arc<Offer>,
    place: Admission,
    request: RequestId,
    drawn: Instant,
    outcome: Outcome,
    when_whole: Outcome,
}

impl Table {
    /// Chooses an engine for a request that has just come; see [`DrawError`] for why not.
    ///
    /// `beginning` is what the request's beginning hashes to, and asked only where there is a choice.
    pub(crate) fn draw(
        &self,
        model: Option<&str>,
        capability: Capability,
        beginning: impl FnOnce(&ModelId) -> Option<u64>,
        request: &RequestId,
    ) -> Result<Ticket, DrawError> {
        let (offer, place) = self.choose(model, capability, beginning)?;
        Ok(Ticket::new(offer, place, request))
    }
}

impl Ticket {
    /// A claim by a place that was got.
    pub(crate) fn new(offer: Arc<Offer>, place: Admission, request: &RequestId) -> Self {
        let request = request.clone();
        // Whatever drops a ticket without a word is a client that went away.
        Self { offer, place, request, drawn: Instant::now(), outcome: Outcome::Cancelled, when_whole: Outcome::Ok }
    }

    /// The model's own name.
    pub(crate) fn model(&self) -> &ModelId {
        &self.offer.model
    }

    /// How fast the model's streamed answers come.
    pub(crate) fn pace(&self) -> Pace {
        self.offer.meter.pace.clone()
    }

    /// The engine's id.
    pub(crate) fn engine(&self) -> String {
        self.offer.engine.facts.id.to_string()
    }

    /// The way to the engine.
    pub(crate) fn upstream(&self) -> &Upstream {
        &self.offer.engine.upstream
    }

    /// The engine began to answer.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.offer.meter.first_byte.observe(self.drawn.elapsed().as_secs_f64());
        self.when_whole = Outcome::of(status);
        if status.is_server_error() { self.place.failed() } else { self.place.succeeded() }
    }
}

impl Track for Ticket {
    fn complete(&mut self) {
        self.outcome = self.when_whole;
    }

    fn settle(&mut self, outcome: Outcome) {
        self.outcome = outcome;
        if matches!(outcome, Outcome::Unreachable | Outcome::Broken | Outcome::Timeout) {
            self.place.failed();
        }
    }

    fn report(&self, why: &(dyn Error + 'static)) {
        let (engine, model, id) = (&self.offer.engine.facts.id, &self.offer.model, self.request.as_str());
        tracing::warn!(%engine, %model, id, error = why, "an answer broke off");
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.offer.meter.count(self.outcome);
    }
}
