//! The requests that begin and abort copies.

use std::time::Duration;

use http::StatusCode;
use uuid::Uuid;

use super::{
    CANCELLED, CopyRecord, CopyState, LONGEST_COPY, PendingCopy, Planned, Progress, SOURCE_FORBIDDEN, Status,
    cannot_verify, finish, read_source,
};
use crate::{
    World,
    chaos::{self, Chance, Lasts},
    fault::holds,
    latency::Span,
    storage::{
        Event,
        account::BlobKey,
        answer::Answer,
        authorization::Caller,
        blob::{Blob, Kind, Properties, Version},
        conditions::Conditions,
        content::Content,
        error::Error,
        lease::Guarded,
        request::{self, Call},
        tags, write,
    },
    work::WorkKind,
    world,
};

/// The longest source URL, in bytes (Microsoft, "Copy Blob": 2 KiB).
const LONGEST_URL: usize = 2048;
/// What Copy Blob From URL copies at most, in bytes.
const LARGEST_SYNCHRONOUS: u64 = 256 << 20;
/// What Put Blob From URL copies at most, in bytes.
const LARGEST_PUT: u64 = 5000 << 20;
/// Copies that fail by chance do so between these parts of their time.
const PART_WAY: (f64, f64) = (0.05, 0.95);
/// How copies fail by chance: what another try may not meet again.
const FAILURES: [&str; 4] = [
    "500 InternalError \"Copy failed when reading the source.\"",
    "502 BadGateway \"Copy failed when reading the source.\"",
    "503 ServerBusy \"Copy failed when reading the source.\"",
    CANCELLED,
];
/// In bytes.
const MIB: f64 = 1024.0 * 1024.0;

/// A source as the destination takes it over.
struct Taken {
    content: Content,
    kind: Kind,
    properties: Properties,
}

/// `x-ms-copy-source` without the signature of its SAS, as the service shows it.
fn without_signature(url: &str) -> String {
    let Some((base, query)) = url.split_once('?') else {
        return url.to_owned();
    };
    let kept: Vec<&str> = query.split('&').filter(|item| !item.starts_with("sig=")).collect();
    format!("{base}?{}", kept.join("&"))
}

fn source_url<'a>(call: &Call<'a>) -> Result<&'a str, Error> {
    let url = call.required_header("x-ms-copy-source")?;
    if url.len() > LONGEST_URL {
        return Err(Error::invalid_header("x-ms-copy-source", "longer than 2 KiB"));
    }
    Ok(url)
}

/// The destination, if it is there and may be replaced.
fn check_target<'a>(world: &'a World, call: &Call<'_>) -> Result<Option<&'a Blob>, Error> {
    let existing = write::container(world, call)?.blobs.get(&call.key()?);
    let seen = existing.map(|blob| write::seen(&blob.base, call));
    Conditions::of(call)?.check_target(seen.as_ref())?;
    if let Some(blob) = existing {
        write::check_no_pending_copy(&blob.base)?;
        blob.lease.check_write(call.lease_id(), Guarded::Blob, call.now)?;
    }
    Ok(existing)
}

/// The state of a copy that was made before the answer.
fn done(call: &Call<'_>, copied: u64) -> CopyState {
    CopyState::Ended { status: Status::Success, at: call.now, copied, description: None }
}

/// Copy Blob: answers at once, and goes on by itself.
pub(in crate::storage) fn start(
    world: &mut World,
    call: &Call<'_>,
    caller: &Caller,
) -> Result<Answer, Error> {
    let url = source_url(call)?;
    let key = call.key()?;
    let existing = check_target(world, call)?;
    let is_trusted = caller.is_trusted();
    let read = read_source(world, is_trusted.then_some(call.account), url).map_err(cannot_verify)?;
    let source_seen = (read.version.etag(call.now), read.version.last_modified);
    Conditions::of_source(call)?.check_source(&source_seen)?;
    if existing.is_some_and(|blob| blob.base.blob_type() != read.version.blob_type()) {
        return Err(Error::invalid_blob_type());
    }
    let sent = call.metadata()?;
    let metadata = if sent.is_empty() { read.version.metadata.clone() } else { sent };
    let tags = tags::of_header(call)?;
    let taken = Taken {
        content: read.version.content.clone(),
        kind: read.version.kind.clone(),
        properties: read.version.properties.clone(),
    };
    let total = taken.content.length();
    let (source, etag) = (read.source.clone(), read.etag);
    // That of a managed disk may be made longer meanwhile; it has an event of its own.
    let expires = read.expires.filter(|_| matches!(source, super::Source::Blob { .. }));
    let is_by_sas = read.expires.is_some();
    let is_same_account = matches!(&source, super::Source::Blob { account, .. } if account == call.account);
    let is_across_regions = read.location.is_some_and(|location| {
        let here = world.storage.accounts.get(call.account);
        here.is_some_and(|here| !here.location.eq_ignore_ascii_case(location))
    });
    let id = world.new_guid();
    let mut record =
        CopyRecord { id, source: without_signature(url), total, started: call.now, state: done(call, total) };
    let destination = request::url_of(&world.endpoints, call.account, &key);
    // Within an account nothing has to be moved.
    let is_done = is_same_account || total == 0;
    let mut version = Version {
        kind: taken.kind.clone(),
        content: Content::default(),
        properties: taken.properties.clone(),
        metadata,
        tags,
        created: call.now,
        last_modified: call.now,
        etag: world.storage.new_etag(call.now),
        copy: None,
    };
    if is_done {
        version.content = taken.content;
        world.worked(WorkKind::BlobCopy, &destination, call.now, true);
        chaos::consider_vhd(world, &key.0, &destination, id);
    } else {
        // The blob is there at once: a page blob in its full length, all zero; a block blob empty.
        (version.kind, version.content) = match taken.kind {
            Kind::Page(_) => (Kind::Page(0), Content::zero(total)),
            Kind::Block(_) => (Kind::Block(Vec::new()), Content::default()),
        };
        let asked = Asked { destination: &destination, total, is_across_regions, is_by_sas, expires };
        let (progress, ends, planned) = plan(world, &asked);
        record.state = CopyState::Pending(progress);
        let pending = PendingCopy {
            account: call.account.to_owned(),
            key: key.clone(),
            source,
            url: url.to_owned(),
            is_trusted,
            etag,
            content: taken.content,
            kind: taken.kind,
            properties: taken.properties,
            planned,
        };
        world.storage.copies.insert(id, pending);
        world.schedule(ends, world::Event::Storage(Event::CopyEnds(id)));
    }
    let status = record.status();
    version.copy = Some(record);
    let etag = version.etag(call.now);
    put(world, call, key, version);
    Ok(Answer::new(StatusCode::ACCEPTED)
        .header("etag", etag)
        .header("last-modified", request::http_date(call.now))
        .header("x-ms-copy-id", id.to_string())
        .header("x-ms-copy-status", status))
}

/// What is known of a copy when it begins.
struct Asked<'a> {
    /// The URL.
    destination: &'a str,
    /// In bytes.
    total: u64,
    is_across_regions: bool,
    /// The source is read with a SAS.
    is_by_sas: bool,
    /// When that runs out.
    expires: Option<time::OffsetDateTime>,
}

/// How fast a copy goes, when it ends, and how.
fn plan(world: &mut World, asked: &Asked<'_>) -> (Progress, Duration, Planned) {
    let Asked { destination, total, is_across_regions, expires, .. } = *asked;
    let now = world.now();
    let profile = &world.latencies.profile;
    let speed = if is_across_regions {
        profile.cross_region_copy_mib_per_second
    } else {
        profile.copy_mib_per_second
    };
    let mut bytes_per_second = world.latencies.number(speed, &format!("copy {destination}")) * MIB;
    let usual = Duration::from_secs_f64((total as f64 / bytes_per_second).clamp(0.001, 1e9));
    let mut duration = usual;
    let draw = |what: &str| world.latencies.number(Span::seconds(0.0, 1.0), &format!("{what} {destination}"));
    let mut stall = None;
    if draw("copy stalls") < profile.copy_stall_share {
        let waits = world.latencies.draw(profile.copy_stall, &format!("copy stalls for {destination}"));
        let from = now + duration.mul_f64(draw("copy stalls at"));
        stall = Some((from, from + waits));
        duration += waits;
    }
    let mut planned = Planned::Success;
    match chance(world, asked, usual) {
        Some(Unlucky::Slow(longer)) => {
            bytes_per_second *= usual.as_secs_f64() / longer.as_secs_f64();
            duration += longer - usual;
        }
        Some(Unlucky::Stuck { after }) => {
            stall = Some((now + after, now + LONGEST_COPY));
            duration = LONGEST_COPY;
            planned = Planned::Failure(CANCELLED.to_owned());
        }
        Some(Unlucky::Fails { after, description }) => {
            duration = after;
            planned = Planned::Failure(description.to_owned());
        }
        None => {}
    }
    let faults = world.faults.copies.iter_mut();
    let mut striking = faults.filter(|fault| fault.times > 0 && holds(destination, &fault.destination_part));
    if let Some(fault) = striking.next() {
        fault.times -= 1;
        duration = usual.mul_f64(fault.at_fraction.clamp(0.0, 1.0));
        planned = Planned::Failure(fault.description.clone());
    }
    if duration > LONGEST_COPY {
        duration = LONGEST_COPY;
        planned = Planned::Failure(CANCELLED.to_owned());
    }
    let left = expires.map(|expires| (expires - now).max(time::Duration::ZERO).unsigned_abs());
    if let Some(left) = left.filter(|left| *left < duration) {
        duration = left;
        planned = Planned::Failure(SOURCE_FORBIDDEN.to_owned());
    }
    let progress = Progress { bytes_per_second, stall };
    (progress, duration, planned)
}

/// What a copy suffers by chance.
enum Unlucky {
    /// It takes so long without its stalls.
    Slow(Duration),
    /// It cannot read its source any more, and tries again without end.
    Stuck {
        after: Duration,
    },
    Fails {
        after: Duration,
        description: &'static str,
    },
}

/// What a copy suffers by chance that would take `usual`; the worst, where several strike.
fn chance(world: &mut World, asked: &Asked<'_>, usual: Duration) -> Option<Unlucky> {
    let subject = asked.destination;
    let refused = asked.is_by_sas.then(|| world.draw(Chance::SasExpired, subject)).flatten();
    let failing = world.draw(Chance::CopyFails, subject);
    let fortune = world.fortune(subject);
    if let Some(mut draw) = refused {
        world.write_down(Chance::SasExpired, subject);
        let after = usual.mul_f64(draw.between(PART_WAY.0, PART_WAY.1));
        return Some(Unlucky::Fails { after, description: SOURCE_FORBIDDEN });
    }
    if let Some(mut draw) = failing {
        world.write_down(Chance::CopyFails, subject);
        let after = usual.mul_f64(draw.between(PART_WAY.0, PART_WAY.1));
        return Some(Unlucky::Fails { after, description: FAILURES[draw.choice(FAILURES.len())] });
    }
    match world.met(subject, fortune, usual) {
        Lasts::Forever(mut draw) => Some(Unlucky::Stuck { after: usual.mul_f64(draw.fraction()) }),
        Lasts::For(longer) if longer > usual => Some(Unlucky::Slow(longer)),
        Lasts::For(_) => None,
    }
}

/// Replaces the destination; its lease and its snapshots stay.
fn put(world: &mut World, call: &Call<'_>, key: BlobKey, version: Version) {
    let Some(contents) = world.storage.contents.get_mut(call.account) else {
        return;
    };
    contents.uncommitted.remove(&key);
    match contents.blobs.get_mut(&key) {
        Some(blob) => {
            blob.lease.written(call.now);
            blob.base = version;
        }
        None => {
            contents.blobs.insert(key, Blob::new(version));
        }
    }
}

/// What two operations take over at once: a block blob as a whole.
fn take(world: &mut World, call: &Call<'_>, caller: &Caller, largest: u64) -> Result<Version, Error> {
    let url = source_url(call)?;
    let existing = write::container(world, call)?.blobs.get(&call.key()?);
    let read = write::read_source(world, call, caller, url)?;
    let source_seen = (read.version.etag(call.now), read.version.last_modified);
    Conditions::of_source(call)?.check_source(&source_seen)?;
    let is_page = |version: &Version| matches!(version.kind, Kind::Page(_));
    if is_page(read.version) || existing.is_some_and(|blob| is_page(&blob.base)) {
        return Err(Error::invalid_blob_type());
    }
    if read.version.content.length() > largest {
        let message = format!("The source of a synchronous copy must not be larger than {largest} bytes.");
        return Err(Error::new(409, "CannotVerifyCopySource", message));
    }
    let mut version = read.version.clone();
    version.tags = tags::of_header(call)?;
    version.copy = None;
    (version.created, version.last_modified) = (call.now, call.now);
    version.etag = world.storage.new_etag(call.now);
    Ok(version)
}

/// Copy Blob From URL: all of a block blob, before the answer.
pub(in crate::storage) fn copy_from_url(
    world: &mut World,
    call: &Call<'_>,
    caller: &Caller,
) -> Result<Answer, Error> {
    let key = call.key()?;
    check_target(world, call)?;
    let mut version = take(world, call, caller, LARGEST_SYNCHRONOUS)?;
    let sent = call.metadata()?;
    if !sent.is_empty() {
        version.metadata = sent;
    }
    let id = world.new_guid();
    let total = version.content.length();
    version.copy = Some(CopyRecord {
        id,
        source: without_signature(source_url(call)?),
        total,
        started: call.now,
        state: done(call, total),
    });
    let etag = version.etag(call.now);
    let destination = request::url_of(&world.endpoints, call.account, &key);
    world.worked(WorkKind::BlobCopy, &destination, call.now, true);
    put(world, call, key, version);
    Ok(Answer::new(StatusCode::ACCEPTED)
        .header("etag", etag)
        .header("last-modified", request::http_date(call.now))
        .header("x-ms-copy-id", id.to_string())
        .header("x-ms-copy-status", "success"))
}

/// Put Blob From URL: as Put Blob with the source's bytes and properties; the blob does not know that it is a copy.
pub(in crate::storage) fn put_from_url(
    world: &mut World,
    call: &Call<'_>,
    caller: &Caller,
) -> Result<Answer, Error> {
    write::check_replaceable(world, call)?;
    let mut version = take(world, call, caller, LARGEST_PUT)?;
    version.metadata = call.metadata()?;
    let keeps_properties = call.header("x-ms-copy-source-blob-properties");
    let sent = write::properties_of(call);
    if sent != Properties::default()
        || keeps_properties.is_some_and(|value| value.eq_ignore_ascii_case("false"))
    {
        version.properties = sent;
    }
    let answer = write::written(Answer::new(StatusCode::CREATED), &version, call);
    let key = call.key()?;
    put(world, call, key, version);
    Ok(answer)
}

/// Abort Copy Blob.
pub(in crate::storage) fn abort(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let action = call.required_header("x-ms-copy-action")?;
    if !action.eq_ignore_ascii_case("abort") {
        return Err(Error::invalid_header("x-ms-copy-action", action));
    }
    let sent = call.query("copyid").ok_or_else(|| Error::missing_query("copyid"))?;
    let id = Uuid::parse_str(sent).map_err(|_| Error::invalid_query("copyid", sent))?;
    let key = call.key()?;
    let blob = write::container(world, call)?.blobs.get(&key).ok_or_else(Error::blob_not_found)?;
    blob.lease.check_write(call.lease_id(), Guarded::Blob, call.now)?;
    let Some(record) = blob.base.copy.as_ref().filter(|record| record.is_pending()) else {
        let message = "There is currently no pending copy operation.";
        return Err(Error::new(409, "NoPendingCopyOperation", message));
    };
    if record.id != id {
        let message = "The specified copy ID did not match the copy ID for the pending copy operation.";
        return Err(Error::new(409, "CopyIdMismatch", message));
    }
    finish(world, id, Status::Aborted, None);
    Ok(Answer::new(StatusCode::NO_CONTENT))
}
