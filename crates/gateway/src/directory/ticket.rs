//! A request's claim on an engine.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use remora_service::RequestId;
use remora_types::ModelId;
use remora_types::engines::Capability;

use super::error::LookupError;
use super::table::{Offer, Table};
use crate::metrics::{Outcome, Pace};
use crate::upstream::Upstream;

/// Counts a request as one that its engine is busy with, from the choice to the answer's last byte or the loss of the
/// client, and then how it ended.
pub(crate) struct Ticket {
    offer: Arc<Offer>,
    request: RequestId,
    drawn: Instant,
    outcome: Outcome,
    when_whole: Outcome,
}

impl Table {
    /// Chooses an engine for a request; see [`LookupError`] for why not.
    ///
    /// A name is looked for among models and adapters, then among aliases. `default`, an empty name and none at all
    /// mean the settings' default model, else the first model of the first engine that can do what is asked.
    pub(crate) fn draw(
        &self,
        model: Option<&str>,
        capability: Capability,
        request: &RequestId,
    ) -> Result<Ticket, LookupError> {
        let offer = self.choose(model, capability)?;
        offer.meter.in_flight.inc();
        let request = request.clone();
        // Whatever drops a ticket without a word is a client that went away.
        Ok(Ticket { offer, request, drawn: Instant::now(), outcome: Outcome::Cancelled, when_whole: Outcome::Ok })
    }
}

impl Ticket {
    /// The model's own name.
    pub(crate) fn model(&self) -> &ModelId {
        &self.offer.model
    }

    /// How fast the model's streamed answers come.
    pub(crate) fn pace(&self) -> Pace {
        self.offer.meter.pace.clone()
    }

    /// When the engine was chosen.
    pub(crate) fn drawn(&self) -> Instant {
        self.drawn
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
    }

    /// The answer is whole.
    pub(crate) fn complete(&mut self) {
        self.outcome = self.when_whole;
    }

    /// It ended like this.
    pub(crate) fn settle(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Logs what happened to an answer that had begun; the service's frame has long let go of it.
    pub(crate) fn report(&self, why: &(dyn Error + 'static)) {
        let (engine, model, id) = (&self.offer.engine.facts.id, &self.offer.model, self.request.as_str());
        tracing::warn!(%engine, %model, id, error = why, "an answer broke off");
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.offer.meter.in_flight.dec();
        self.offer.meter.count(self.outcome);
    }
}
