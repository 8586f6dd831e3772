//! Where requests wait that no engine has room for.
//!
//! A place that becomes free is handed over, by class, then arrival, so a request that has just come cannot snatch it.
//! Each class counts as having come `aging` later than it did, times its rank: the lowest still goes first in the end.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::class::Class;
use super::gate::{Admission, Gate};

/// Time between two looks at engines whose breakers were open: nobody leaves those.
const LOOK: Duration = Duration::from_millis(250);

/// The requests that wait for room.
#[derive(Debug)]
pub(crate) struct Queue {
    line: Mutex<Line>,
    most: usize,
    aging: Duration,
    gauges: [Gauge; Class::ALL.len()],
}

#[derive(Debug, Default)]
struct Line {
    /// The next to go first.
    waiters: Vec<Waiter>,
    last_id: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    /// Before whom it goes.
    due: Instant,
    gates: Vec<Arc<Gate>>,
    handed: oneshot::Sender<Admission>,
}

/// How a wait ended.
pub(crate) enum Waited {
    /// With a place at one of the gates.
    Admitted(Admission),
    /// The engines have changed.
    Changed,
    /// The time is up.
    TimedOut,
    /// It did not begin: too many wait.
    Full,
}

impl Queue {
    /// Room for so many; `gauges` count them by class.
    pub(crate) fn new(most: usize, aging: Duration, gauges: [Gauge; Class::ALL.len()]) -> Self {
        Self { line: Mutex::default(), most, aging, gauges }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().waiters.len()
    }

    /// Waits for a place at one of these gates. `arrived` decides the order within a class.
    pub(crate) async fn wait(
        &self,
        gates: Vec<Arc<Gate>>,
        class: Class,
        arrived: Instant,
        until: Instant,
        change: impl Future<Output = ()>,
    ) -> Waited {
        let due = arrived + self.aging * class.rank();
        let (handed, mut place) = oneshot::channel();
        let Some(_waiting) = self.line_up(due, &gates, handed, &self.gauges[class as usize]) else {
            return Waited::Full;
        };
        let mut change = std::pin::pin!(change);
        loop {
            // Also for what became free between the first try and the place in the queue.
            for gate in &gates {
                self.let_in(gate);
            }
            tokio::select! {
                biased;
                handed = &mut place => return handed.map_or(Waited::Changed, Waited::Admitted),
                () = &mut change => return Waited::Changed,
                () = tokio::time::sleep_until(until) => return Waited::TimedOut,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn line_up<'a>(
        &'a self,
        due: Instant,
        gates: &[Arc<Gate>],
        handed: oneshot::Sender<Admission>,
        gauge: &'a Gauge,
    ) -> Option<Waiting<'a>> {
        let mut line = self.lock();
        if line.waiters.len() >= self.most {
            return None;
        }
        line.last_id += 1;
        let id = line.last_id;
        for gate in gates {
            gate.waiting.fetch_add(1, Ordering::SeqCst);
        }
        gauge.inc();
        // Behind all that are due as early, so that the first in line goes first.
        let at = line.waiters.partition_point(|other| other.due <= due);
        line.waiters.insert(at, Waiter { id, due, gates: gates.to_vec(), handed });
        Some(Waiting { queue: self, id, gauge })
    }

    /// Hands places at this gate to whoever is first, as long as there are any.
    pub(super) fn let_in(&self, gate: &Arc<Gate>) {
        loop {
            let (first, admission) = {
                let mut line = self.lock();
                let at_gate = |waiter: &Waiter| waiter.gates.iter().any(|other| Arc::ptr_eq(other, gate));
                let Some(at) = line.waiters.iter().position(at_gate) else { return };
                let Some(admission) = gate.admit() else { return };
                (line.take(at), admission)
            };
            // A waiter that has gone meanwhile gives its place back: it is dropped here, where nothing is locked.
            drop(first.handed.send(admission));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn take(&mut self, at: usize) -> Waiter {
        let waiter = self.waiters.remove(at);
        for gate in &waiter.gates {
            gate.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        waiter
    }
}

/// One request in the line; it leaves the line when this is dropped.
struct Waiting<'a> {
    queue: &'a Queue,
    id: u64,
    gauge: &'a Gauge,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gauge.dec();
        let mut line = self.queue.lock();
        if let Some(at) = line.waiters.iter().position(|waiter| waiter.id == self.id) {
            line.take(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{join_all, pending};
    use prometheus_client::metrics::counter::Counter;

    use super::super::{Breaker, LimitsConfig};
    use super::*;

    const AGING: Duration = Duration::from_secs(10);

    fn queue(most: usize) -> Arc<Queue> {
        Arc::new(Queue::new(most, AGING, std::array::from_fn(|_| Gauge::default())))
    }

    fn gate(queue: &Arc<Queue>, limit: u32) -> Arc<Gate> {
        let breaker = Breaker::new("e".to_owned(), &LimitsConfig::default(), Gauge::default(), Counter::default());
        let gate = Arc::new(Gate::new(breaker, queue.clone(), Gauge::default()));
        gate.set_limit(Some(limit));
        gate
    }

    async fn wait(queue: &Queue, gate: &Arc<Gate>, class: Class, after: u64) -> Waited {
        tokio::time::sleep(Duration::from_secs(after)).await;
        let now = Instant::now();
        queue.wait(vec![gate.clone()], class, now, now + Duration::from_hours(1), pending()).await
    }

    /// In what order these are let in, one at a time, once all wait: class and arrival of each.
    async fn order(of: &[(Class, u64)]) -> Vec<usize> {
        let queue = queue(100);
        let gate = gate(&queue, 1);
        let busy = gate.enter().unwrap();
        let order = Mutex::new(Vec::new());
        let waits = of.iter().enumerate().map(async |(index, (class, after))| {
            let Waited::Admitted(_place) = wait(&queue, &gate, *class, *after).await else { panic!("not admitted") };
            order.lock().unwrap().push(index);
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        let free = async {
            tokio::time::sleep(Duration::from_mins(5)).await;
            assert_eq!(gate.waiting() as usize, of.len());
            drop(busy);
        };
        tokio::join!(join_all(waits), free);
        assert_eq!((gate.inside(), gate.waiting()), (0, 0));
        order.into_inner().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn class_then_arrival_and_nobody_starves() {
        use Class::{Background, Batch, Interactive};
        assert_eq!(order(&[(Background, 0), (Batch, 1), (Interactive, 3), (Interactive, 2)]).await, [3, 2, 1, 0]);
        // The ranks are 0, 1 and 2, ten seconds each.
        assert_eq!(order(&[(Background, 0), (Interactive, 19), (Interactive, 21)]).await, [1, 0, 2]);
        assert_eq!(order(&[(Batch, 0), (Interactive, 9), (Interactive, 11), (Background, 0)]).await, [1, 0, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_line_or_a_place_makes_room() {
        let queue = queue(2);
        let gate = gate(&queue, 1);
        let busy = gate.enter().unwrap();
        let mut first = Box::pin(wait(&queue, &gate, Class::Interactive, 0));
        let mut second = Box::pin(wait(&queue, &gate, Class::Interactive, 0));
        assert!(futures::poll!(&mut first).is_pending() && futures::poll!(&mut second).is_pending());
        assert!(matches!(wait(&queue, &gate, Class::Interactive, 0).await, Waited::Full));
        drop(busy);
        // The place was handed to the first, which goes before it takes it.
        assert!(gate.enter().is_none());
        drop(first);
        assert!(matches!(second.await, Waited::Admitted(_)));
        assert_eq!((gate.inside(), gate.waiting()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_time_a_change_or_a_higher_limit() {
        let queue = queue(2);
        let gate = gate(&queue, 0);
        let (now, gates) = (Instant::now(), || vec![gate.clone()]);
        let soon = now + Duration::from_secs(1);
        assert!(matches!(queue.wait(gates(), Class::Batch, now, soon, pending()).await, Waited::TimedOut));
        let changed = queue.wait(gates(), Class::Batch, now, soon + AGING, async {}).await;
        assert!(matches!(changed, Waited::Changed));
        let mut waiting = Box::pin(wait(&queue, &gate, Class::Interactive, 0));
        assert!(futures::poll!(&mut waiting).is_pending());
        gate.set_limit(Some(1));
        assert!(matches!(waiting.await, Waited::Admitted(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_engine_with_room_is_taken() {
        let queue = queue(9);
        let (one, two) = (gate(&queue, 1), gate(&queue, 1));
        let (busy_one, busy_two) = (one.enter().unwrap(), two.enter().unwrap());
        let now = Instant::now();
        let gates = vec![one.clone(), two.clone()];
        let mut waiting = Box::pin(queue.wait(gates, Class::Batch, now, now + AGING, pending()));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(busy_two);
        let Waited::Admitted(place) = waiting.await else { panic!("not admitted") };
        assert!(place.is_at(&two) && one.waiting() == 0);
        drop(busy_one);
    }
}
