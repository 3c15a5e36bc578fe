//! The simulator as its users see it: one request in, one answer out, in the clock's time.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use factory_clock::Clock;
use time::OffsetDateTime;

use crate::{
    Endpoints, Service, World, arm,
    broker::Broker,
    chaos,
    fault::HttpEffect,
    identity,
    latency::{Latencies, Profile, Span},
    storage,
};

/// Where a request comes from: an extension of requests that came over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// A request with its absolute URL and its whole body.
pub type Request = http::Request<Bytes>;
/// An answer with its whole body.
pub type Response = http::Response<Bytes>;

/// The connection broke before an answer came.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("connection reset by peer")]
pub struct ConnectionReset;

/// What a simulator is made with.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// From which every latency and identifier comes.
    pub seed: u64,
    /// The clock that everything follows.
    pub clock: Clock,
    /// How long things take.
    pub profile: Profile,
    /// How the services are addressed.
    pub endpoints: Endpoints,
}

/// Simulated Azure. Cheap to clone; all clones are the same Azure.
#[derive(Clone, Debug)]
pub struct Sim(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    broker: Arc<Broker>,
    world: Mutex<World>,
}

impl Sim {
    /// An empty Azure.
    pub fn new(options: SimOptions) -> Self {
        let SimOptions { seed, clock, profile, endpoints } = options;
        let world = World::new(clock.now(), seed, Latencies::new(seed, profile), endpoints);
        let broker = Broker::new(clock.clone());
        Self(Arc::new(Inner { clock, broker, world: Mutex::new(world) }))
    }

    /// The Service Bus namespace of this Azure.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.0.broker
    }

    /// The clock that this Azure follows.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The state as of now: what is due has happened. Do not hold it across an await.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.0.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance_to(self.0.clock.now());
        world
    }

    /// Answers one request of the service that its URL names, after the time that the service takes.
    ///
    /// # Errors
    /// If a fault breaks the connection, or nobody listens at that URL.
    pub async fn call(&self, request: Request) -> Result<Response, ConnectionReset> {
        let service = self.world().endpoints.service_of(request.uri()).ok_or(ConnectionReset)?;
        let (there, back) = self.latency(&service, &request);
        self.0.clock.sleep(there).await;
        let mut answer = self.answer(&service, &request);
        if let Ok((response, _)) = &mut answer {
            date(response, self.0.clock.now());
        }
        let delay = match answer {
            Ok((_, delay)) => delay,
            Err(_) => Duration::ZERO,
        };
        self.0.clock.sleep(back + delay).await;
        answer.map(|(response, _)| response)
    }

    fn answer(&self, service: &Service, request: &Request) -> Result<(Response, Duration), ConnectionReset> {
        let mut world = self.world();
        let url = request.uri().to_string();
        let wanted = world.faults.strike(request.method(), &url);
        let effect = wanted.or_else(|| chaos::disturb(&mut world, service, request));
        let mut delay = Duration::ZERO;
        match effect {
            Some(HttpEffect::ResetBefore) => return Err(ConnectionReset),
            Some(HttpEffect::Answer { status, headers, body }) => {
                if status == 429 {
                    world.counts.throttled += 1;
                }
                let mut response = http::Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                // A fault with an impossible status or header is the test's mistake; show it as such.
                let response = response.body(Bytes::from(body)).unwrap_or_default();
                return Ok((response, delay));
            }
            Some(HttpEffect::Delay(longer)) => delay = longer,
            Some(HttpEffect::ResetAfter) | None => {}
        }
        let response = match service {
            Service::ResourceManager => arm::handle(&mut world, request),
            Service::Blob { account, path } => storage::handle(&mut world, account, path, request),
            Service::Identity => identity::handle(&mut world, request),
        };
        match effect {
            Some(HttpEffect::ResetAfter) => Err(ConnectionReset),
            _ => Ok((response, delay)),
        }
    }

    /// The way there and back, each half of what the call takes.
    fn latency(&self, service: &Service, request: &Request) -> (Duration, Duration) {
        let world = self.world();
        let profile = &world.latencies.profile;
        let span = match service {
            Service::ResourceManager => profile.arm_call,
            Service::Blob { .. } => profile.blob_call,
            Service::Identity => Span::seconds(0.0, 0.0),
        };
        let subject = format!("{} {} {}", request.method(), request.uri().path(), world.now());
        let half = world.latencies.draw(span, &subject) / 2;
        (half, half)
    }
}

/// Every service says when it answered.
fn date(response: &mut Response, now: OffsetDateTime) {
    if !response.headers().contains_key(http::header::DATE)
        && let Ok(value) = storage::http_date(now).parse()
    {
        response.headers_mut().insert(http::header::DATE, value);
    }
}
