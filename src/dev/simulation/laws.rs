//! The laws that are judged at the end of a story: what must never have happened, and what must be true.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

use aho_corasick::AhoCorasick;
use azure_sim::{
    chaos::{Chance, Struck},
    control::State,
};

use super::{
    law::{Broken, Law},
    scenario::{Change, Deed, PlannedRun, Scenario, key_of},
    story::Ended,
    watch::{Watch, path_of},
};
use crate::{
    dev::{
        in_process::{Instance, Surroundings},
        world,
    },
    domain::{IGNORE_TAG, ImagePath, LabId, Queue, RUN_TAG, RunId},
    report::{ImageLine, LabLine, RunReport, Status},
};

/// A custom image in a lab: the lab's id, the image's name, both in lower case.
pub type Standing = BTreeSet<(String, String)>;

/// The custom images that stand.
pub fn standing(state: &State) -> Standing {
    let of_lab = |lab: &azure_sim::control::LabState| {
        let id = lab.id.clone();
        let good = lab.custom_images.iter().filter(|image| image.provisioning_state == "Succeeded");
        good.map(move |image| (id.clone(), image.name.to_lowercase())).collect::<Vec<_>>()
    };
    state.labs.iter().flat_map(of_lab).collect()
}

/// A hash over all documents of items.
pub async fn ledger_hash(surroundings: &Surroundings, outside: &Instance) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (name, bytes) in documents(surroundings, outside).await {
        if ["runs/", "builds/", "copies/"].iter().any(|prefix| name.starts_with(prefix)) {
            (name, bytes).hash(&mut hasher);
        }
    }
    hasher.finish()
}

async fn documents(surroundings: &Surroundings, outside: &Instance) -> BTreeMap<String, Vec<u8>> {
    let mut documents = BTreeMap::new();
    let Ok(container) = world::ledger_container(&outside.factory.azure, &surroundings.sim) else {
        return documents;
    };
    for blob in container.list("").await.unwrap_or_default() {
        if let Ok(Some((bytes, _))) = container.get(&blob.name).await {
            documents.insert(blob.name, bytes);
        }
    }
    documents
}

/// Law: no secret is in a log line, a message or a document.
pub async fn no_secrets(surroundings: &Surroundings, watch: &Watch, outside: &Instance, log: &str) {
    let seen = watch.seen();
    let mut secrets = seen.secrets;
    {
        let world = surroundings.sim.world();
        secrets.extend(world.storage.accounts.values().flat_map(|account| account.keys.clone()));
    }
    let mut places = vec![("the log".to_owned(), log.to_owned())];
    for (queue, body) in seen.messages {
        places.push((format!("a message of {queue}"), String::from_utf8_lossy(&body).into_owned()));
    }
    for (name, bytes) in documents(surroundings, outside).await {
        places.push((name, String::from_utf8_lossy(&bytes).into_owned()));
    }
    let secrets: Vec<String> = secrets.into_iter().collect();
    let search = match AhoCorasick::new(&secrets) {
        Ok(search) => search,
        Err(error) => return watch.broken(Law::Secrets, error.to_string()),
    };
    watch.judged(Law::Secrets, places.len());
    for (place, text) in &places {
        if let Some(found) = search.find(text) {
            let start: String = secrets[found.pattern().as_usize()].chars().take(4).collect();
            watch.broken(Law::Secrets, format!("the one that begins with {start} is in {place}"));
        }
    }
}

/// What is left behind: of the factory's own things all that no run needs any more.
pub fn leftovers(scenario: &Scenario, state: &State, struck: &[Struck]) -> Vec<String> {
    let gone = Gone::of(struck);
    let mut left = Vec::new();
    for lab in &state.labs {
        for vm in lab.virtual_machines.iter().filter(|vm| vm.tags.contains_key(RUN_TAG)) {
            if !vm.tags.contains_key(IGNORE_TAG) {
                left.push(format!("VM {}/{}", lab.name, vm.name));
            }
        }
        // What somebody else began to delete is theirs to look after.
        let is_taken = |name: &str| gone.image(&lab.id, name);
        let broken = lab.custom_images.iter().filter(|image| image.provisioning_state != "Succeeded");
        for image in broken.filter(|image| !is_taken(&image.name)) {
            let ours = scenario.runs.iter().enumerate().any(|(index, _)| {
                image.tags.get(RUN_TAG).is_some_and(|tag| tag == scenario.run_id(index).as_str())
            });
            if ours {
                left.push(format!("custom image {}/{} ({})", lab.name, image.name, image.provisioning_state));
            }
        }
    }
    left.extend(
        state
            .disks_with_sas()
            .filter(|disk| !ignored(state, &disk.id))
            .map(|disk| format!("SAS of {}", disk.id)),
    );
    // What stands in an account whose lab is gone cannot be found any more by anybody who knows labs.
    let known: BTreeSet<&str> = state.labs.iter().map(|lab| lab.storage_account.as_str()).collect();
    let lone = state.vhds.iter().filter(|vhd| !vhd.has_companion && known.contains(vhd.account.as_str()));
    left.extend(lone.map(|vhd| format!("VHD {}", vhd.url)));
    if !gone.factory_lab() {
        left.extend(state.lone_statements.iter().map(|url| format!("statement {url}")));
    }
    if !gone.factory_lab() {
        for deployment in &state.deployments {
            let ours = (0..scenario.runs.len())
                .any(|run| deployment.name.starts_with(&format!("{}-", scenario.run_id(run))));
            let ignored = scenario.people.iter().any(|act| matches!(act.deed, Deed::Ignore { .. }));
            if ours && !ignored {
                left.push(format!("deployment {}", deployment.name));
            }
        }
    }
    left
}

/// Whether a disk is that of a VM with `FactoryIgnore`.
fn ignored(state: &State, disk_id: &str) -> bool {
    let disk = disk_id.to_lowercase();
    let mut vms = state.labs.iter().flat_map(|lab| &lab.virtual_machines);
    vms.any(|vm| vm.tags.contains_key(IGNORE_TAG) && disk.contains(&vm.name.to_lowercase()))
}

/// What Azure took away behind everybody's back.
struct Gone(BTreeSet<String>);

impl Gone {
    fn of(struck: &[Struck]) -> Self {
        let gone = [Chance::ImageGone, Chance::LabGone, Chance::VhdGone, Chance::VmGone];
        let taken = struck.iter().filter(|struck| gone.contains(&struck.chance));
        Self(taken.map(|struck| struck.subject.to_lowercase()).collect())
    }

    fn image(&self, lab: &str, name: &str) -> bool {
        self.lab(lab) || self.0.contains(&format!("{lab}/customimages/{}", name.to_lowercase()))
    }

    /// Whether a captured VHD went: later runs build that image anew.
    fn captured(&self, name: &str) -> bool {
        let vhd = format!("/{}.vhd", name.to_lowercase());
        self.0.iter().any(|subject| subject.ends_with(&vhd))
    }

    fn lab(&self, lab: &str) -> bool {
        self.0.contains(lab)
    }

    fn factory_lab(&self) -> bool {
        let name = format!("/labs/{}", world::FACTORY_LAB);
        self.0.iter().any(|subject| subject.ends_with(&name))
    }
}

/// Judges how a story ended.
pub fn judge_end(scenario: &Scenario, ended: &Ended, watch: &Watch, surroundings: &Surroundings) {
    let Some(state) = &ended.state else { return };
    watch.judged(Law::Leftovers, 1);
    for left in leftovers(scenario, state, &ended.struck) {
        watch.broken(Law::Leftovers, format!("{left} is left behind"));
    }
    let gone = Gone::of(&ended.struck);
    let standing = standing(state);
    for report in &ended.reports {
        judge_report(report, &ended.reports, &standing, &gone, watch);
    }
    judge_twins(state, watch);
    judge_builds(scenario, ended, watch);
    for queue in Queue::ALL {
        watch.judged(Law::DeadLetters, 1);
        let entity = format!("{}/$deadletterqueue", queue.name());
        for letter in surroundings.broker.peek(&entity, 0, 100).unwrap_or_default() {
            let reason = letter.message.property_text("DeadLetterReason").unwrap_or_default().to_owned();
            let body = String::from_utf8_lossy(&letter.message.body()).into_owned();
            watch.broken(Law::DeadLetters, format!("{reason}: {body}"));
        }
    }
}

/// Laws: a run that failed says why; what it says stands does stand; what it says failed does not.
fn judge_report(report: &RunReport, all: &[RunReport], standing: &Standing, gone: &Gone, watch: &Watch) {
    let run = &report.run;
    watch.judged(Law::EveryRunEnds, 1);
    if !run.status.is_final() {
        watch.broken(Law::EveryRunEnds, format!("{} is {}", run.id, run.status.word()));
    }
    if run.status == Status::Failed && run.error.is_none() {
        watch.broken(Law::EveryRunEnds, format!("{} failed and does not say why", run.id));
    }
    for (image, line, lab) in lines(report) {
        watch.judged(Law::LostImage, 1);
        let name = image.image_name.as_str();
        let stands = standing.contains(&(lab.clone(), name.to_lowercase()));
        let retired = all.iter().flat_map(|report| &report.retired).any(|retired| {
            retired.image_name.eq_ignore_ascii_case(name)
                && retired.lab_name.eq_ignore_ascii_case(&line.lab_name)
        });
        match line.status {
            Status::Succeeded if !stands && !retired && !gone.image(&lab, name) => {
                watch.broken(Law::LostImage, format!("{name} should stand in {}", line.lab_name));
            }
            status if status.is_missing() && stands && !is_brought(all, name, line) => {
                let status = status.word();
                watch.broken(
                    Law::LostImage,
                    format!("{name} stands in {}, though reported as {status}", line.lab_name),
                );
            }
            Status::Failed if line.error.is_none() => {
                watch.broken(Law::LostImage, format!("{name} failed in {} without a reason", line.lab_name));
            }
            Status::Waiting | Status::Running => {
                watch
                    .broken(Law::LostImage, format!("{name} in {} is {}", line.lab_name, line.status.word()));
            }
            _ => {}
        }
    }
}

/// Whether some run says that this image stands in this lab: another one may have brought it.
fn is_brought(all: &[RunReport], name: &str, line: &LabLine) -> bool {
    let images = all.iter().flat_map(|report| &report.images);
    let of_name = images.filter(|image| image.image_name.as_str() == name);
    of_name.flat_map(|image| &image.labs).any(|other| {
        other.lab_name == line.lab_name
            && other.subscription_id == line.subscription_id
            && other.status == Status::Succeeded
    })
}

/// Law: of what is made from the same, one image is made, unless somebody wants another one.
fn judge_builds(scenario: &Scenario, ended: &Ended, watch: &Watch) {
    // What was taken back is built anew: the newest image is another one.
    let is_back = |run: &PlannedRun| run.changes.contains(&Change::Back);
    let wanted = scenario.runs.iter().any(|run| run.force || is_back(run))
        || scenario.people.iter().any(|act| matches!(act.deed, Deed::Cancel(_) | Deed::Rerun { .. }));
    let gone = [Chance::VhdGone, Chance::LabGone];
    let is_lost = ended.struck.iter().any(|struck| gone.contains(&struck.chance));
    let mut made = BTreeMap::new();
    for (report, image) in
        ended.reports.iter().flat_map(|report| report.images.iter().map(move |image| (report, image)))
    {
        let Some(hash) = image.hash.as_ref().filter(|_| image.made_by.is_none()) else { continue };
        if image.status != Status::Succeeded {
            continue;
        }
        watch.judged(Law::BuiltOnce, 1);
        if let Some(other) = made.insert((image.image_path.clone(), hash.clone()), &report.run.id)
            && !wanted
            && !is_lost
        {
            let path = &image.image_path;
            watch.broken(Law::BuiltOnce, format!("{path} was built by {other} and by {}", report.run.id));
        }
    }
}

fn lines(report: &RunReport) -> impl Iterator<Item = (&ImageLine, &LabLine, String)> {
    report.images.iter().flat_map(|image| {
        image.labs.iter().filter_map(move |line| {
            let lab = LabId::new(&line.subscription_id, line.resource_group.as_deref(), &line.lab_name);
            Some((image, line, key_of(&lab.ok()?)))
        })
    })
}

/// Law: never two custom images, or two VMs, for one run and image path in one lab.
fn judge_twins(state: &State, watch: &Watch) {
    for lab in &state.labs {
        let mut seen = BTreeSet::new();
        watch.judged(Law::Twins, lab.custom_images.len());
        for image in &lab.custom_images {
            let run = image.tags.get(RUN_TAG).and_then(|tag| tag.as_str()).unwrap_or_default();
            if !run.is_empty() && !seen.insert((run, path_of(image))) {
                watch.broken(Law::Twins, format!("{} is the second of {run} in {}", image.name, lab.name));
            }
        }
    }
}

/// Law: the end is that of the story in which nothing failed, but for what was reported, what somebody else took away, and
/// what people did.
pub fn judge_against_twin(scenario: &Scenario, ended: &mut Ended, twin: &Ended) {
    let (Some(state), Some(other)) = (&ended.state, &twin.state) else { return };
    let excused = excused(scenario, ended, twin);
    let (here, there) = (standing(state), standing(other));
    let mut broken = Vec::new();
    for (lab, name) in here.symmetric_difference(&there) {
        let path = [state, other].into_iter().find_map(|state| {
            let image =
                state.lab(lab)?.custom_images.iter().find(|image| image.name.eq_ignore_ascii_case(name))?;
            path_of(image)
        });
        if path.is_some_and(|path| excused.contains(&(lab.clone(), path))) {
            continue;
        }
        let (where_, not) = if here.contains(&(lab.clone(), name.clone())) {
            ("stands here", "where nothing fails")
        } else {
            ("stands where nothing fails", "here")
        };
        let what = format!("{name} of {lab} {where_}, but not {not}");
        broken.push(Broken { law: Law::SameEnd, what });
    }
    for Broken { law, what } in &twin.seen.broken {
        broken.push(Broken { law: *law, what: format!("where nothing fails: {what}") });
    }
    ended.seen.judged.insert(Law::SameEnd, here.union(&there).count() as u64);
    ended.seen.broken.extend(broken);
}

/// The runs that decided in another order than they were asked for in: whoever decides last has the last word about an image. A run
/// whose first message meets trouble is unknown to the one behind it.
fn out_of_order(scenario: &Scenario, ended: &Ended) -> BTreeSet<RunId> {
    let runs = (0..scenario.runs.len()).map(|run| scenario.run_id(run));
    let decided: Vec<_> = runs.filter_map(|run| Some((*ended.decided.get(&run)?, run))).collect();
    let mut found = BTreeSet::new();
    for (index, earlier) in decided.iter().enumerate() {
        for later in decided[index..].iter().filter(|later| later.0 < earlier.0) {
            found.extend([earlier.1.clone(), later.1.clone()]);
        }
    }
    found
}

/// The places of which the end may differ.
fn excused(scenario: &Scenario, ended: &Ended, twin: &Ended) -> BTreeSet<(String, ImagePath)> {
    let (gone, out_of_order) = (Gone::of(&ended.struck), out_of_order(scenario, ended));
    let mut excused = BTreeSet::new();
    for report in ended.reports.iter().chain(&twin.reports) {
        let missing = report
            .images
            .iter()
            .filter(|image| image.status.is_missing() || gone.captured(image.image_name.as_str()));
        // What is asked for in any case is built or, while an earlier run is at it, awaited: it depends on the moment.
        let is_forced = (0..scenario.runs.len())
            .any(|run| scenario.runs[run].force && scenario.run_id(run) == report.run.id);
        // So it does where another run decided last.
        let is_out_of_order = out_of_order.contains(&report.run.id);
        let depending =
            report.images.iter().filter(|image| is_out_of_order || is_forced && image.made_by.is_some());
        let kept = report.unchanged.iter().filter(|_| is_out_of_order || is_forced);
        let paths = missing.chain(depending).map(|image| &image.image_path);
        for path in paths.chain(kept.map(|image| &image.image_path)) {
            let labs = scenario.labs.iter().filter_map(|lab| scenario.lab_key(&lab.name));
            excused.extend(labs.map(|lab| (lab, path.clone())));
        }
        for (image, line, lab) in lines(report) {
            // Where retirement failed, with its reason, older images stay.
            let item = format!("{} in {}", image.image_path, line.lab_name);
            let held = report.attention.iter().any(|attention| attention.item == item);
            if line.status != Status::Succeeded || gone.image(&lab, image.image_name.as_str()) || held {
                excused.insert((lab, image.image_path.clone()));
            }
        }
    }
    // A run that failed before it was planned.
    let unplanned = ended.reports.iter().any(|report| report.images.is_empty());
    for lab in &scenario.labs {
        let Some(key) = scenario.lab_key(&lab.name) else { continue };
        for image in &scenario.images {
            let Ok(path) = ImagePath::parse(&image.path) else { continue };
            let taken = gone.0.iter().any(|subject| {
                scenario.history.iter().enumerate().any(|(index, old)| {
                    old.lab == lab.name
                        && old.path == image.path
                        && scenario.old(index).is_some_and(|(lab, name)| {
                            *subject == format!("{lab}/customimages/{}", name.to_lowercase())
                        })
                })
            });
            let touched = scenario.people.iter().any(|act| match act.deed {
                Deed::Pin(old) | Deed::MakeFormula(old) | Deed::MakeVm(old) => {
                    scenario.history.get(old).is_some_and(|old| old.lab == lab.name && old.path == image.path)
                }
                Deed::AskToPin(old) => {
                    scenario.history.get(old).is_some_and(|old| old.lab == lab.name && old.path == image.path)
                }
                Deed::Ignore { image: index, .. } => {
                    scenario.images.get(index).is_some_and(|ignored| ignored.path == image.path)
                }
                // It depends on the moment what is left to cancel, or has failed and is run again.
                Deed::Cancel(_) => true,
                Deed::Rerun { image: index, .. } => {
                    scenario.images.get(index).is_some_and(|again| again.path == image.path)
                }
            });
            if unplanned || taken || touched || gone.lab(&key) || gone.factory_lab() {
                excused.insert((key.clone(), path));
            }
        }
    }
    excused
}
