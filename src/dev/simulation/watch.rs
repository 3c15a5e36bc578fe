//! The laws that are judged at every call, the numbered I/O points, and the trace.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use azure_core::http::{Body, Method, Request};
use azure_sim::{
    Sim,
    chaos::Struck,
    control::{self, CustomImageState, LabState},
    storage,
};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::{
    dice::Dice,
    faults::{FaultRates, HostFault},
    law::{Broken, Law},
};
use crate::{
    dev::world,
    domain::{IGNORE_TAG, IMAGE_PATH_TAG, ImagePath, KEEP_TAG, Message, Queue, RUN_TAG},
    ledger::Key,
};

/// ARM's documented budgets for a principal in a subscription: "token bucket", its size and its refill a second.
const READS: (f64, f64) = (250.0, 25.0);
const WRITES: (f64, f64) = (200.0, 10.0);
const DELETES: (f64, f64) = (200.0, 10.0);
/// No operation is asked about more often than this in a minute.
const MOST_POLLS: usize = 15;
/// No VHD is asked about more often than this in a minute. Azure has no such limit: a storage account answers 20,000 requests a
/// second. Every turn looks at its VHD, and a turn whose invocation dies comes again at once.
const MOST_LOOKS: usize = 30;
/// Somebody who takes hold of an image this shortly before its deletion was too late.
const GRACE: Duration = Duration::minutes(1);
/// Shorter texts are no secrets, and would be found everywhere.
const SHORTEST_SECRET: usize = 12;

/// Whether an I/O point is before a call or after its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The call has not left yet.
    Before,
    /// It had its effect, and its answer is not known yet.
    After,
}

/// What watches a story from the inside.
pub struct Watch {
    sim: Sim,
    dice: Dice,
    rates: FaultRates,
    faults_until: OffsetDateTime,
    crash_at: BTreeSet<u64>,
    faults_over: AtomicBool,
    keep_trace: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    points: u64,
    struck: BTreeMap<HostFault, u64>,
    events: u64,
    trace_hash: u64,
    trace: Vec<String>,
    broken: Vec<Broken>,
    judged: BTreeMap<Law, u64>,
    buckets: BTreeMap<(String, &'static str), (f64, Option<OffsetDateTime>)>,
    polls: HashMap<String, VecDeque<OffsetDateTime>>,
    secrets: BTreeSet<String>,
    /// What people took hold of, by its id, and since when.
    held: BTreeMap<String, OffsetDateTime>,
    messages: Vec<(Queue, Vec<u8>)>,
}

/// What a watch saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many I/O points were reached.
    pub points: u64,
    /// How often the host's faults struck.
    pub struck: BTreeMap<HostFault, u64>,
    /// How many events there were.
    pub events: u64,
    /// A hash over all of them, in their order.
    pub trace_hash: u64,
    /// The events, if they were to be kept.
    pub trace: Vec<String>,
    /// The laws that were broken.
    pub broken: Vec<Broken>,
    /// How much was judged by each.
    pub judged: BTreeMap<Law, u64>,
    /// Texts that must be nowhere.
    pub secrets: BTreeSet<String>,
    /// Every message that was sent.
    pub messages: Vec<(Queue, Vec<u8>)>,
}

impl Watch {
    /// A watch over a story in `sim`. At the I/O points of `crash_at` the instance that reaches them dies.
    pub fn new(
        sim: Sim,
        seed: u64,
        rates: FaultRates,
        faults_until: OffsetDateTime,
        crash_at: BTreeSet<u64>,
        keep_trace: bool,
    ) -> Self {
        let dice = Dice::new(seed);
        let faults_over = AtomicBool::new(false);
        Self { sim, dice, rates, faults_until, crash_at, faults_over, keep_trace, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time.
    pub fn now(&self) -> OffsetDateTime {
        self.sim.clock().now()
    }

    /// Waits for so much of the story's time.
    pub async fn sleep(&self, time: std::time::Duration) {
        self.sim.clock().sleep(time).await;
    }

    /// Azure as it stands now.
    pub fn azure(&self) -> control::State {
        control::state(&self.sim)
    }

    /// The queues as they stand now.
    pub fn queues(&self) -> BTreeMap<String, control::QueueState> {
        control::queues(&self.sim)
    }

    /// What struck in Azure so far.
    pub fn struck(&self) -> Vec<Struck> {
        self.sim.world().struck.clone()
    }

    /// From now on nothing fails.
    pub fn end_faults(&self) {
        self.faults_over.store(true, Ordering::Relaxed);
        let now = self.now();
        let mut world = self.sim.world();
        // The one for what strikes by chance, the other for what was drawn before and strikes later.
        world.chances.rates.clear();
        world.chances.until = Some(now);
    }

    /// Writes an event into the trace.
    pub fn note(&self, event: impl FnOnce() -> String) {
        let now = self.now();
        let mut line = format!("{:>10.3} ", (now - super::scenario::ORIGIN).as_seconds_f64());
        line.push_str(&event());
        let mut state = self.state();
        let mut hasher = DefaultHasher::new();
        (state.trace_hash, &line).hash(&mut hasher);
        state.trace_hash = hasher.finish();
        state.events += 1;
        if self.keep_trace {
            state.trace.push(line);
        }
    }

    /// A law was broken.
    pub fn broken(&self, law: Law, what: impl Into<String>) {
        let broken = Broken { law, what: what.into() };
        self.note(|| format!("BROKEN: {broken}"));
        self.state().broken.push(broken);
    }

    /// So much was judged by a law.
    pub fn judged(&self, law: Law, number: usize) {
        *self.state().judged.entry(law).or_default() += number as u64;
    }

    /// Whether one of the host's faults strikes this subject now.
    pub fn strikes(&self, fault: HostFault, subject: &str) -> bool {
        let rate = self.rates.of(fault);
        if rate == 0.0 || self.faults_over.load(Ordering::Relaxed) || self.now() > self.faults_until {
            return false;
        }
        let strikes = self.dice.strikes(rate, fault.name(), subject);
        if strikes {
            *self.state().struck.entry(fault).or_default() += 1;
            self.note(|| format!("{} strikes {subject}", fault.name()));
        }
        strikes
    }

    /// A number from 0 to 1 about this subject.
    pub fn draw(&self, what: &str, subject: &str) -> f64 {
        self.dice.fraction(what, subject)
    }

    /// Numbers an I/O point; whether the instance dies there.
    pub fn dies_at(&self, moment: Moment, subject: &str, life: u32) -> bool {
        let point = {
            let mut state = self.state();
            state.points += 1;
            state.points
        };
        let fault = match moment {
            Moment::Before => HostFault::CrashBefore,
            Moment::After => HostFault::CrashAfter,
        };
        let dies = self.crash_at.contains(&point) || self.strikes(fault, subject);
        if dies {
            self.note(|| format!("instance {life} dies at point {point}: {moment:?} {subject}"));
        }
        dies
    }

    /// Somebody took hold of what has this id.
    pub fn held(&self, id: String) {
        let now = self.now();
        self.state().held.entry(id).or_insert(now);
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        let state = self.state();
        Seen {
            points: state.points,
            struck: state.struck.clone(),
            events: state.events,
            trace_hash: state.trace_hash,
            trace: state.trace.clone(),
            broken: state.broken.clone(),
            judged: state.judged.clone(),
            secrets: state.secrets.clone(),
            messages: state.messages.clone(),
        }
    }

    /// Notes a message that is about to be sent.
    pub fn judge_message(&self, message: &Message) {
        self.state().messages.push((message.queue(), message.to_bytes()));
    }

    /// Whether the ledger knows the run of a message. Until it does, Service Bus alone remembers what was asked for: that a
    /// message is lost then is as if nobody had asked.
    pub fn remembers(&self, message: &Message) -> bool {
        let world = self.sim.world();
        let account = world.endpoints.blob(world::LEDGER_ACCOUNT);
        let url = format!("{account}/{}/{}", world::LEDGER_CONTAINER, Key::run(&message.run));
        storage::blob(&world, &url).is_some()
    }

    /// Judges a call that is about to leave.
    pub fn judge_call(&self, request: &Request) {
        self.note_secrets(request);
        let url = request.url();
        if url.host_str() != Some("management.azure.com") {
            if url.path().ends_with(".vhd") && matches!(request.method(), Method::Head | Method::Get) {
                self.judge_poll(&format!("{}{}", url.host_str().unwrap_or_default(), url.path()), MOST_LOOKS);
            }
            return;
        }
        self.judge_budget(request);
        let path = url.path().to_lowercase();
        if path.contains("/operation") {
            self.judge_poll(&path, MOST_POLLS);
        }
        if request.method() == Method::Delete {
            let parts: Vec<&str> = path.rsplitn(3, '/').collect();
            match parts[..] {
                [name, "customimages", lab] => self.judge_retirement(lab, name),
                [name, "virtualmachines", lab] => self.judge_vm_deletion(lab, name),
                _ => {}
            }
        }
    }

    /// Law: calls stay under ARM's documented budgets.
    fn judge_budget(&self, request: &Request) {
        let subscription = request.url().path().split('/').nth(2).unwrap_or_default().to_lowercase();
        let (kind, (size, refill)) = match request.method() {
            Method::Get | Method::Head => ("reads", READS),
            Method::Delete => ("deletes", DELETES),
            _ => ("writes", WRITES),
        };
        let now = self.now();
        self.judged(Law::Budget, 1);
        let left = {
            let mut state = self.state();
            let (tokens, at) = state.buckets.entry((subscription.clone(), kind)).or_insert((size, None));
            let gained = at.map_or(0.0, |at| (now - at).as_seconds_f64() * refill);
            *tokens = (*tokens + gained).min(size) - 1.0;
            *at = Some(now);
            *tokens
        };
        if left < 0.0 {
            self.broken(
                Law::Budget,
                format!("more than {refill} {kind} a second in subscription {subscription}"),
            );
        }
    }

    /// Law: no operation is polled more than 15 times a minute, and no VHD is looked at in a hot loop.
    fn judge_poll(&self, operation: &str, most: usize) {
        let now = self.now();
        self.judged(Law::Polls, 1);
        let many = {
            let mut state = self.state();
            let polls = state.polls.entry(operation.to_owned()).or_default();
            polls.push_back(now);
            while polls.front().is_some_and(|at| now - *at > Duration::MINUTE) {
                polls.pop_front();
            }
            polls.len()
        };
        if many == most + 1 {
            self.broken(Law::Polls, format!("{operation} was asked about {many} times in a minute"));
        }
    }

    /// Law: what retires is ours, not pinned, not in use, and not the newest good one of its path.
    fn judge_retirement(&self, lab: &str, name: &str) {
        let Some(lab) = control::lab_state(&self.sim, lab) else { return };
        let Some(image) = lab.custom_images.iter().find(|image| image.name.eq_ignore_ascii_case(name)) else {
            return;
        };
        self.judged(Law::Retirement, 1);
        if let Some(reason) = self.reason_to_keep(&lab, image) {
            self.broken(Law::Retirement, format!("{name} of {} is deleted, but {reason}", lab.name));
        }
    }

    fn reason_to_keep(&self, lab: &LabState, image: &CustomImageState) -> Option<String> {
        let path = path_of(image)?;
        if !image.tags.contains_key(RUN_TAG) {
            return Some("is not the factory's".to_owned());
        }
        let id = format!("{}/customimages/{}", lab.id, image.name.to_lowercase());
        let since = self.state().held.get(&id).copied();
        if since.is_none_or(|since| self.now() - since > GRACE) {
            if image.tags.contains_key(KEEP_TAG) {
                return Some("it is pinned".to_owned());
            }
            if let Some(user) = user_of(lab, &id) {
                return Some(format!("{user} uses it"));
            }
        }
        if image.provisioning_state != "Succeeded" {
            return None;
        }
        let others = lab.custom_images.iter().filter(|other| {
            other.name != image.name
                && other.provisioning_state == "Succeeded"
                && path_of(other) == Some(path.clone())
        });
        let ours = others.filter(|other| other.tags.contains_key(RUN_TAG)).count();
        (ours == 0).then(|| "it is the last good one of its path".to_owned())
    }

    /// Law: the factory deletes only VMs with its own tags, and none with `FactoryIgnore`.
    fn judge_vm_deletion(&self, lab: &str, name: &str) {
        let Some(state) = control::lab_state(&self.sim, lab) else { return };
        let Some(vm) = state.virtual_machines.iter().find(|vm| vm.name.eq_ignore_ascii_case(name)) else {
            return;
        };
        self.judged(Law::Ownership, 1);
        if !vm.tags.contains_key(RUN_TAG) {
            self.broken(
                Law::Ownership,
                format!("VM {name} of {} is deleted, but is not the factory's", state.name),
            );
        }
        let id = format!("{lab}/virtualmachines/{}", name.to_lowercase());
        let late = self.state().held.get(&id).is_some_and(|since| self.now() - *since <= GRACE);
        if vm.tags.contains_key(IGNORE_TAG) && !late {
            self.broken(
                Law::Ownership,
                format!("VM {name} of {} is deleted in spite of FactoryIgnore", state.name),
            );
        }
    }

    /// Notes what must be in no log, message, error or document.
    fn note_secrets(&self, request: &Request) {
        let mut found = Vec::new();
        let mut signature = |url: &str| {
            if let Some((_, rest)) = url.split_once("sig=") {
                let signature = rest.split('&').next().unwrap_or_default();
                found.push(signature.to_owned());
                found.push(percent_encoding::percent_decode_str(signature).decode_utf8_lossy().into_owned());
            }
        };
        signature(request.url().as_str());
        for (_, value) in request.headers().iter() {
            signature(value.as_str());
        }
        let authorization = request.headers().iter().find(|(name, _)| name.as_str() == "authorization");
        if let Some(token) = authorization.and_then(|(_, value)| value.as_str().strip_prefix("Bearer ")) {
            found.push(token.to_owned());
        }
        if request.method() == Method::Put
            && request.url().path().contains("/deployments/")
            && let Body::Bytes(body) = request.body()
            && let Ok(body) = serde_json::from_slice::<Value>(body)
        {
            found.extend(password(&body));
        }
        let mut state = self.state();
        state.secrets.extend(found.into_iter().filter(|secret| secret.len() >= SHORTEST_SECRET));
    }
}

/// The value of the deployment's parameter `password`.
fn password(deployment: &Value) -> Option<String> {
    let parameters = deployment["properties"]["parameters"].as_object()?;
    let (_, value) = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("password"))?;
    value["value"].as_str().map(str::to_owned)
}

/// The golden image that a custom image says it is of.
pub fn path_of(image: &CustomImageState) -> Option<ImagePath> {
    ImagePath::parse(image.tags.get(IMAGE_PATH_TAG)?.as_str()?).ok()
}

/// The formula or VM of a lab that uses an image, with its kind.
pub fn user_of(lab: &LabState, image_id: &str) -> Option<String> {
    // Ids inside a formula may be relative to the lab.
    let names = |id: &Option<String>| {
        id.as_ref().is_some_and(|id| !id.is_empty() && image_id.ends_with(&id.to_lowercase()))
    };
    let formula = lab.formulas.iter().find(|formula| names(&formula.custom_image_id));
    let vm = lab.virtual_machines.iter().find(|vm| names(&vm.custom_image_id));
    formula
        .map(|formula| format!("formula {}", formula.name))
        .or_else(|| vm.map(|vm| format!("VM {}", vm.name)))
}
