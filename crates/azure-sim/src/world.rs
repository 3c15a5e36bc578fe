//! The state of simulated Azure and the queue of what will happen in it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use time::OffsetDateTime;

use crate::{
    Endpoints, arm,
    chaos::{self, Chances, Draws, Struck},
    fault::Faults,
    identity,
    latency::Latencies,
    storage,
    work::{Work, WorkKind},
};

/// Something that will happen at its time.
#[derive(Clone, Debug)]
pub enum Event {
    /// In Resource Manager or a provider behind it.
    Arm(arm::Event),
    /// In Blob Storage.
    Storage(storage::Event),
    /// Somebody takes something away.
    Chaos(chaos::Loss),
}

/// How often the simulator was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// GET and HEAD requests, and POSTs that only read, to Resource Manager.
    pub arm_reads: u64,
    /// PUT, PATCH and POST requests to Resource Manager.
    pub arm_writes: u64,
    /// DELETE requests to Resource Manager.
    pub arm_deletes: u64,
    /// Requests to Blob Storage.
    pub blob_calls: u64,
    /// Requests answered with 429.
    pub throttled: u64,
}

/// The state of simulated Azure at [`World::now`].
#[derive(Debug)]
pub struct World {
    now: OffsetDateTime,
    events: BTreeMap<(OffsetDateTime, u64), Event>,
    events_so_far: u64,
    identifiers_so_far: u64,
    seed: u64,
    /// How long things take.
    pub latencies: Latencies,
    /// Where the services are reached.
    pub endpoints: Endpoints,
    /// What shall go wrong.
    pub faults: Faults,
    /// What goes wrong by chance.
    pub chances: Chances,
    /// What went wrong by chance, oldest first.
    pub struck: Vec<Struck>,
    pub(crate) draws: Draws,
    /// Who may have tokens, and for how long.
    pub identity: identity::State,
    /// Resource Manager's state.
    pub arm: arm::State,
    /// Blob Storage's state.
    pub storage: storage::State,
    /// What took time, oldest first.
    pub work: VecDeque<Work>,
    /// How often the simulator was called.
    pub counts: Counts,
}

impl World {
    /// An empty world that stands at `now`.
    pub fn new(now: OffsetDateTime, seed: u64, latencies: Latencies, endpoints: Endpoints) -> Self {
        Self {
            now,
            events: BTreeMap::new(),
            events_so_far: 0,
            identifiers_so_far: 0,
            seed,
            latencies,
            endpoints,
            faults: Faults::default(),
            chances: Chances::default(),
            struck: Vec::new(),
            draws: Draws::default(),
            identity: identity::State::new(seed),
            arm: arm::State::default(),
            storage: storage::State::default(),
            work: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// The moment at which the world stands: that of the event or the request being handled.
    pub fn now(&self) -> OffsetDateTime {
        self.now
    }

    /// Lets `event` happen `after` this moment. Events of one moment happen in the order in which they were scheduled.
    pub fn schedule(&mut self, after: Duration, event: Event) {
        self.events_so_far += 1;
        self.events.insert((self.now + after, self.events_so_far), event);
    }

    /// When the next event is due.
    pub fn next_event(&self) -> Option<OffsetDateTime> {
        self.events.first_key_value().map(|((due, _), _)| *due)
    }

    /// Lets happen what is due until `now`, in order. A `now` in the past changes nothing.
    pub fn advance_to(&mut self, now: OffsetDateTime) {
        while let Some(entry) = self.events.first_entry()
            && entry.key().0 <= now
        {
            let ((due, _), event) = entry.remove_entry();
            self.now = self.now.max(due);
            match event {
                Event::Arm(event) => arm::apply(self, event),
                Event::Storage(event) => storage::apply(self, event),
                Event::Chaos(loss) => chaos::apply(self, loss),
            }
        }
        self.now = self.now.max(now);
    }

    /// A new GUID, from the seed.
    pub fn new_guid(&mut self) -> uuid::Uuid {
        self.identifiers_so_far += 1;
        let name = format!("{}/{}", self.seed, self.identifiers_so_far);
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes())
    }

    /// Writes down that `subject` was worked on from `started` until now.
    pub fn worked(&mut self, kind: WorkKind, subject: &str, started: OffsetDateTime, succeeded: bool) {
        self.work.push_back(Work { kind, subject: subject.to_owned(), started, ended: self.now, succeeded });
    }
}
