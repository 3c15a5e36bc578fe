//! What is done about each image, before anything is done: what it would be made from, what stands, what other runs do.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    azure::AzureError,
    domain::{
        Configuration, ImageName, ImagePath, Inputs, LabId, RunId,
        plan::{self, CapturedImage, Known, OpenBuild},
        retention::StandingImage,
        subscriptions::Subscription,
    },
    ledger::{BuildRecord, ImagePlan, InLine, ItemStatus, Key, Line, Record as _, RunPlan, RunRecord},
    steps::{Factory, base_image::BaseImages, lab_storage::LabStorage, retire_images, tags},
};

/// What decisions are made from.
pub struct Ground<'a> {
    /// The factory.
    pub factory: &'a Factory,
    /// The configuration.
    pub configuration: &'a Configuration,
    /// The factory lab, as the ledger knows it.
    pub factory_lab: &'a LabId,
    /// The same lab with its storage.
    pub storage: &'a LabStorage,
    /// The run, as far as it is known.
    pub record: &'a RunRecord,
    /// Whether everything is built, changed or not.
    pub forced: bool,
}

impl Ground<'_> {
    /// Decides about each wanted image. `ahead` are the runs that planned before this one.
    ///
    /// # Errors
    /// As any call of Azure and of the ledger: nothing is decided then.
    pub async fn decide(&self, wanted: &[Subscription<'_>], ahead: &[RunId]) -> Result<RunPlan, AzureError> {
        let paths: BTreeSet<&ImagePath> = wanted.iter().map(|subscription| subscription.image_path).collect();
        let newest = newest(&captured(self.storage).await?, &paths);
        let mut open = open_builds(self.factory, ahead, &paths).await?;
        let mut base_images = BaseImages::default();
        let mut images = Vec::with_capacity(paths.len());
        for path in paths {
            let Some(definition) = self.configuration.definitions.get(path) else { continue };
            let settings = &self.configuration.settings;
            let base_image =
                base_images.resolve(self.factory, definition, settings, &self.storage.lab).await?;
            let made_from = base_image
                .map(|base_image| (Inputs::of(definition, settings, &base_image), base_image))
                .map_err(|failure| failure.to_string());
            let known = Known {
                newest: newest.get(path),
                open: &open.remove(path).unwrap_or_default(),
                forced: self.forced,
                rebuild_after: settings.rebuild_after.try_into().unwrap_or(time::Duration::MAX),
                now: self.record.started_at,
            };
            let known_inputs = made_from.as_ref().map(|(inputs, base_image)| (inputs, base_image));
            let decision = plan::decide(known_inputs.map_err(String::as_str), known);
            let own = || ImageName::derive(&self.record.run, path, self.record.started_at);
            let (reuses, image_name) = match decision.reused {
                Some((reused, name)) => (Some(reused), name),
                None => (None, own()),
            };
            images.push(ImagePlan {
                image_path: path.clone(),
                action: decision.action,
                reason: decision.reason,
                image_name,
                inputs: made_from.ok().map(|(inputs, _)| inputs),
                reuses,
                supersedes: decision.supersedes,
            });
        }
        Ok(RunPlan { run: self.record.run.clone(), decided_at: self.factory.clock.now(), images })
    }
}

/// The captured images that stand in the factory lab's storage account.
pub async fn captured(storage: &LabStorage) -> Result<Vec<StandingImage>, AzureError> {
    let (mut images, mut pages) = (Vec::new(), storage.container.pages(""));
    while let Some(page) = pages.next_if_any().await? {
        images.extend(retire_images::captured(&page));
    }
    Ok(images)
}

/// The newest captured image of each path.
fn newest(images: &[StandingImage], paths: &BTreeSet<&ImagePath>) -> BTreeMap<ImagePath, CapturedImage> {
    let mut newest: BTreeMap<ImagePath, CapturedImage> = BTreeMap::new();
    for image in images {
        let path = image.path().filter(|path| paths.contains(path));
        let (Some(path), Some(run)) = (path, tags::run(&image.tags)) else { continue };
        let Some(image_name) = ImageName::read(&image.name) else { continue };
        let found =
            CapturedImage { image_name, run, started_at: image.born(), inputs: tags::inputs(&image.tags) };
        let is_newer = newest.get(&path).is_none_or(|known| known.started_at < found.started_at);
        if is_newer {
            newest.insert(path, found);
        }
    }
    newest
}

/// The builds of these paths that go on and are not captured yet, of each path in the order of the runs.
async fn open_builds(
    factory: &Factory,
    ahead: &[RunId],
    paths: &BTreeSet<&ImagePath>,
) -> Result<BTreeMap<ImagePath, Vec<OpenBuild>>, AzureError> {
    let mut open: BTreeMap<ImagePath, Vec<OpenBuild>> = BTreeMap::new();
    for run in ahead {
        let Some((record, _)) = factory.ledger.read::<RunRecord>(&Key::run(run)).await? else { continue };
        if record.status() != ItemStatus::Open || record.called_off.is_some() {
            continue;
        }
        let builds = record.builds.iter().filter(|build| build.reuses.is_none());
        for build in builds.filter(|build| paths.contains(&build.image_path)) {
            let key = Key::build(run, &build.vm_name);
            let document = factory.ledger.read::<BuildRecord>(&key).await?;
            // A build that is not written down yet will be.
            let goes_on = document.is_none_or(|(document, _)| {
                document.captured().is_none() && document.called_off.is_none() && document.is_going_well()
            });
            if goes_on {
                open.entry(build.image_path.clone()).or_default().push(OpenBuild {
                    run: run.clone(),
                    started_at: record.started_at,
                    image_name: build.image_name.clone(),
                    hash: build.hash.clone(),
                });
            }
        }
    }
    Ok(open)
}

/// What the place in the line allows.
#[derive(Debug)]
pub enum Turn {
    /// It is the run's turn; these planned before it.
    Now(Vec<RunId>),
    /// This one, which came before, has not planned yet.
    After(RunId),
    /// This later run waited for too long, and planned everything without it.
    PassedBy(RunId),
}

/// Puts a run into the line, and tells whether it is its turn. Whoever is `impatient` passes by those that have not planned.
///
/// # Errors
/// As any call of the ledger; a precondition that failed is tried again.
pub async fn take_turn(factory: &Factory, run: &RunId, impatient: bool) -> Result<Turn, AzureError> {
    let entries = factory.ledger.runs().await?;
    let known: BTreeMap<RunId, ItemStatus> =
        entries.iter().filter_map(|entry| Some((entry.key.run_id()?, entry.status))).collect();
    let join = |line: &mut Line| {
        if line.place(run).is_some() {
            return false;
        }
        line.runs.retain(|other| known.get(&other.run) == Some(&ItemStatus::Open));
        line.runs.push(InLine { run: run.clone(), passed_by: None });
        true
    };
    let line = factory.ledger.change_line(join).await?;
    if let Some(later) = line.place(run).and_then(|place| place.passed_by.clone()) {
        return Ok(Turn::PassedBy(later));
    }
    // Runs of before there was a line have planned long ago.
    let is_in_line = |other: &RunId| line.place(other).is_some();
    let open = known.iter().filter(|(other, status)| **status == ItemStatus::Open && *other != run);
    let mut ahead: Vec<RunId> =
        open.map(|(other, _)| other.clone()).filter(|other| !is_in_line(other)).collect();
    for other in line.ahead_of(run).filter(|other| known.get(*other) == Some(&ItemStatus::Open)) {
        let document = factory.ledger.read::<RunRecord>(&Key::run(other)).await;
        let waits = match document {
            Ok(Some((record, _))) => record.asked.is_some() && record.status() == ItemStatus::Open,
            Ok(None) => false,
            Err(error) if error.is_transient() => return Err(error),
            // Nobody can read it: it plans nothing.
            Err(_) => continue,
        };
        if waits && !impatient {
            return Ok(Turn::After(other.clone()));
        }
        if waits {
            let pass = |line: &mut Line| match line.runs.iter_mut().find(|place| place.run == *other) {
                Some(place) if place.passed_by.is_none() => {
                    place.passed_by = Some(run.clone());
                    true
                }
                _ => false,
            };
            factory.ledger.change_line(pass).await?;
            continue;
        }
        ahead.push(other.clone());
    }
    Ok(Turn::Now(ahead))
}
