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
    steps::{
        Factory, base_image::BaseImages, lab_storage::LabStorage, retire_images, start_run::has_fanned_out,
        tags,
    },
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
        let run = self.record.run.clone();
        Ok(RunPlan { run, decided_at: self.factory.clock.now(), images, passed_by: None })
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
    /// This one, which came before, is not planned to the end yet.
    After(RunId),
}

/// Puts a run into the line, and tells whether it is its turn. Whoever is `impatient` passes by those that have decided nothing; one
/// that has is waited for: what it decided will be done.
///
/// # Errors
/// As any call of the ledger; a precondition that failed is tried again.
pub async fn take_turn(factory: &Factory, run: &RunId, impatient: bool) -> Result<Turn, AzureError> {
    let entries = factory.ledger.runs().await?;
    let known: BTreeMap<RunId, ItemStatus> =
        entries.iter().filter_map(|entry| Some((entry.key.run_id()?, entry.status))).collect();
    let join = |line: &mut Line| {
        if line.holds(run) {
            return false;
        }
        line.runs.retain(|other| known.get(&other.run) == Some(&ItemStatus::Open));
        line.runs.push(InLine { run: run.clone() });
        true
    };
    let line = factory.ledger.change_line(join).await?;
    // Runs of before there was a line have planned long ago.
    let open = known.iter().filter(|(other, status)| **status == ItemStatus::Open && *other != run);
    let mut ahead: Vec<RunId> =
        open.map(|(other, _)| other.clone()).filter(|other| !line.holds(other)).collect();
    for other in line.ahead_of(run).filter(|other| known.get(*other) == Some(&ItemStatus::Open)) {
        match precedence(factory, other, impatient.then_some(run)).await {
            Ok(Precedence::Planned) => ahead.push(other.clone()),
            Ok(Precedence::Plans) => return Ok(Turn::After(other.clone())),
            Ok(Precedence::Lost) => {}
            Err(error) if error.is_transient() => return Err(error),
            // Nobody can read it: it plans nothing.
            Err(_) => {}
        }
    }
    Ok(Turn::Now(ahead))
}

/// What an earlier run means to the ones behind it.
enum Precedence {
    /// What it builds is known.
    Planned,
    /// It comes first: what it builds is not written down yet.
    Plans,
    /// It plans nothing any more.
    Lost,
}

/// How an earlier run stands, and that it is passed by if someone `impatient` waits for it.
async fn precedence(
    factory: &Factory,
    earlier: &RunId,
    impatient: Option<&RunId>,
) -> Result<Precedence, AzureError> {
    let Some((record, _)) = factory.ledger.read::<RunRecord>(&Key::run(earlier)).await? else {
        return Ok(Precedence::Planned);
    };
    if record.status() != ItemStatus::Open || record.called_off.is_some() || has_fanned_out(&record) {
        return Ok(Precedence::Planned);
    }
    let plan = match impatient {
        Some(later) => {
            let passed_by = RunPlan::passed_by(earlier.clone(), later.clone(), factory.clock.now());
            Some(factory.ledger.keep_run_plan(passed_by).await?)
        }
        None => factory.ledger.run_plan(earlier).await?,
    };
    let is_lost = plan.is_some_and(|plan| plan.passed_by.is_some());
    Ok(if is_lost { Precedence::Lost } else { Precedence::Plans })
}
