//! What a run does in each lab, before it does it: which images it brings, which older ones retire, and what blocks the others.
//!
//! Each lab's plan is written down as soon as it is made: trouble with one lab repeats nothing for the others.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;

use super::decisions::{Ground, captured};
use crate::{
    azure::{AzureError, CustomImage},
    domain::{
        ImagePath, LabId, Queue, RUN_TAG, RunId, VmName,
        plan::{Action, ReusedImage},
        retention::{self, Decision, ImageState, KeepReason, StandingImage, Verdict},
        subscriptions::Subscription,
    },
    ledger::{BuildRecord, ImagePlan, ItemStatus, Kept, Key, LabImagePlan, LabPlan, RunPlan},
    steps::{Factory, retire_images::Users, tags},
};

/// Labs that are looked at together: three lists each, far below what Azure takes.
const LABS_AT_ONCE: usize = 4;
/// Labs that a turn looks at: about ten calls each.
const LABS_A_TURN: usize = 8;
/// Plans of labs that are in memory together.
const LABS_READ_AT_ONCE: usize = 8;
/// Why an image is brought.
const NEW: &str = "its new image";
const MISSING: &str = "the lab does not have it";
/// Why it is not.
const STANDS: &str = "it stands there";

/// What a run does in its labs, all in all.
#[derive(Debug, Default)]
pub struct Brought {
    /// The copies of each image.
    pub copies: BTreeMap<ImagePath, usize>,
    /// The labs that receive one.
    pub labs: BTreeSet<LabId>,
    /// The older images that retire in each subscription, by its id in lower case.
    pub retired: BTreeMap<String, usize>,
}

impl Brought {
    fn add(&mut self, plan: LabPlan) {
        for image in plan.images.into_iter().filter(|image| image.copies) {
            *self.copies.entry(image.image_path).or_default() += 1;
            // A lab is kept once, and not for each of its images: there may be a hundred thousand of these.
            if !self.labs.contains(&plan.lab) {
                self.labs.insert(plan.lab.clone());
            }
        }
        if !plan.retires.is_empty() {
            let subscription = plan.lab.subscription_id().to_ascii_lowercase();
            *self.retired.entry(subscription).or_default() += plan.retires.len();
        }
    }
}

/// Plans for every lab, a few in each turn, and writes it down; answers what this run brings, once all have their plan.
///
/// # Errors
/// As any call of Azure and of the ledger: the labs that were looked at are not looked at again.
pub async fn plan(
    ground: &Ground<'_>,
    wanted: &[Subscription<'_>],
    plan: &RunPlan,
) -> Result<Option<Brought>, AzureError> {
    let ledger = &ground.factory.ledger;
    let done = ledger.planned_labs(&plan.run).await?;
    let receives = received(wanted, plan);
    let is_done = |lab: &LabId| done.contains(&Key::lab_plan(&plan.run, lab));
    let missing: Vec<_> = receives.iter().filter(|(lab, _)| !is_done(lab)).take(LABS_A_TURN).collect();
    if !missing.is_empty() {
        let elsewhere = brought_by_others(ground.factory, plan).await?;
        for together in missing.chunks(LABS_AT_ONCE) {
            try_join_all(together.iter().map(|(lab, images)| keep(ground, lab, images, &elsewhere))).await?;
        }
        return Ok(None);
    }
    let key = Key::vhd_plan(&plan.run, ground.factory_lab);
    if !done.contains(&key) {
        ledger.keep_lab_plan(&key, of_factory_lab(ground, plan).await?).await?;
    }
    let labs: Vec<&LabId> = receives.iter().map(|(lab, _)| *lab).collect();
    let mut brought = Brought::default();
    each(ground.factory, &plan.run, &labs, |plan| brought.add(plan)).await?;
    Ok(Some(brought))
}

/// The same, written down nowhere: the plans of the labs, and that of the factory lab's VHDs.
///
/// # Errors
/// As any call of Azure and of the ledger.
pub async fn foresee(
    ground: &Ground<'_>,
    wanted: &[Subscription<'_>],
    plan: &RunPlan,
) -> Result<(Vec<LabPlan>, LabPlan), AzureError> {
    let elsewhere = brought_by_others(ground.factory, plan).await?;
    let mut labs = Vec::new();
    for together in received(wanted, plan).chunks(LABS_AT_ONCE) {
        let plans = together.iter().map(|(lab, images)| of_lab(ground, lab, images, &elsewhere));
        labs.extend(try_join_all(plans).await?);
    }
    Ok((labs, of_factory_lab(ground, plan).await?))
}

/// What each lab receives, in the order of the labs.
fn received<'a>(wanted: &[Subscription<'a>], plan: &'a RunPlan) -> Vec<(&'a LabId, Vec<&'a ImagePlan>)> {
    let images: BTreeMap<&ImagePath, &ImagePlan> =
        plan.images.iter().map(|image| (&image.image_path, image)).collect();
    let mut receives: BTreeMap<&LabId, Vec<&ImagePlan>> = BTreeMap::new();
    for subscription in wanted {
        let Some(image) = images.get(subscription.image_path) else { continue };
        for lab in &subscription.labs {
            receives.entry(lab).or_default().push(image);
        }
    }
    receives.into_iter().collect()
}

async fn keep(
    ground: &Ground<'_>,
    lab: &LabId,
    images: &[&ImagePlan],
    elsewhere: &BTreeMap<ImagePath, BTreeSet<LabId>>,
) -> Result<(), AzureError> {
    let plan = of_lab(ground, lab, images, elsewhere).await?;
    ground.factory.ledger.keep_lab_plan(&Key::lab_plan(&ground.record.run, lab), plan).await?;
    Ok(())
}

/// The labs that the run of an image brings it to itself, by image path: as far as that goes on and has not failed.
async fn brought_by_others(
    factory: &Factory,
    plan: &RunPlan,
) -> Result<BTreeMap<ImagePath, BTreeSet<LabId>>, AzureError> {
    let mut elsewhere = BTreeMap::new();
    for image in &plan.images {
        let Some(ReusedImage { run, .. }) = &image.reuses else { continue };
        if factory.ledger.status(&Key::run(run)).await? != Some(ItemStatus::Open) {
            continue;
        }
        let vm = VmName::derive(run, &image.image_path);
        let build = factory.ledger.read::<BuildRecord>(&Key::build(run, &vm)).await?;
        let Some((build, _)) = build.filter(|(build, _)| build.called_off.is_none()) else { continue };
        let mut labs = BTreeSet::new();
        for lab in build.plan.labs {
            let status = match build.steps.get(&Queue::CaptureImage) {
                // Not one copy is begun before the image is captured.
                None => None,
                Some(_) => factory.ledger.status(&Key::copy(run, &vm, &lab)).await?,
            };
            if status != Some(ItemStatus::Failed) {
                labs.insert(lab);
            }
        }
        elsewhere.insert(image.image_path.clone(), labs);
    }
    Ok(elsewhere)
}

async fn of_lab(
    ground: &Ground<'_>,
    lab: &LabId,
    images: &[&ImagePlan],
    elsewhere: &BTreeMap<ImagePath, BTreeSet<LabId>>,
) -> Result<LabPlan, AzureError> {
    let found = match find(ground.factory, lab).await {
        Err(error) if error.is_transient() => return Err(error),
        found => found,
    };
    let stands = |image: &ImagePlan| match &found {
        Ok((standing, _)) => standing.iter().any(|standing| is_good(standing, image)),
        Err(_) => false,
    };
    let decide = |image: &&ImagePlan| {
        let other = elsewhere.get(&image.image_path).filter(|labs| labs.contains(lab));
        let (copies, reason) = match (image.action, &image.reuses) {
            (Action::Build, _) => (true, NEW.to_owned()),
            _ if stands(image) => (false, STANDS.to_owned()),
            (_, Some(reused)) if other.is_some() => (false, format!("run {} brings it", reused.run)),
            (Action::Await, _) => (true, NEW.to_owned()),
            (Action::Keep, _) => (true, MISSING.to_owned()),
        };
        let (image_path, image_name) = (image.image_path.clone(), image.image_name.clone());
        LabImagePlan { image_path, image_name, copies, reason }
    };
    let mut plan = LabPlan {
        images: images.iter().map(decide).collect(),
        unknown: found.as_ref().err().map(ToString::to_string),
        ..LabPlan::of(lab.clone())
    };
    if let Ok((standing, users)) = found {
        let standing: Vec<StandingImage> = standing.iter().map(|image| users.standing(image)).collect();
        let brought: Vec<&ImagePlan> =
            images.iter().zip(&plan.images).filter_map(|(image, lab)| lab.copies.then_some(*image)).collect();
        retire(ground, &standing, &brought, &mut plan);
    }
    Ok(plan)
}

/// A lab's custom images, and who uses them.
async fn find(factory: &Factory, lab: &LabId) -> Result<(Vec<CustomImage>, Users), AzureError> {
    let address = factory.storages.get(lab).await?.lab.address;
    let images = factory.azure.custom_images(&address, None).await?;
    // Where nothing of ours stands, nothing can retire, whoever uses what.
    let is_ours = |image: &CustomImage| tags::get(&image.tags, RUN_TAG).is_some();
    let users = match images.iter().any(is_ours) {
        true => Users::of(factory, &address).await?,
        false => Users::default(),
    };
    Ok((images, users))
}

/// Whether this is the image, good or about to be.
fn is_good(standing: &CustomImage, image: &ImagePlan) -> bool {
    standing.name.eq_ignore_ascii_case(image.image_name.as_str())
        && tags::get(&standing.tags, RUN_TAG).is_some()
        && ImageState::from_provisioning_state(&standing.provisioning_state) == ImageState::Succeeded
}

/// Foresees what retires, as retire-images will decide it once the new images stand.
fn retire(ground: &Ground<'_>, standing: &[StandingImage], brought: &[&ImagePlan], plan: &mut LabPlan) {
    let settings = &ground.configuration.settings;
    let keep = settings.images_to_keep as usize;
    let mut retires = Vec::new();
    for image in brought {
        let path = &image.image_path;
        let name = image.image_name.as_str();
        let mut images: Vec<StandingImage> =
            standing.iter().filter(|image| image.path().as_ref() == Some(path)).cloned().collect();
        images.retain(|standing| !standing.name.eq_ignore_ascii_case(name));
        images.push(to_be(ground, image));
        // As the step does it: who uses what is asked only of those that would go.
        let blind: Vec<StandingImage> =
            images.iter().map(|image| StandingImage { used_by: Vec::new(), ..image.clone() }).collect();
        let [blind, seeing] = [&blind, &images].map(|images| retention::decide(path, images, keep));
        for (Verdict { name: other, decision }, seen) in blind.into_iter().zip(seeing) {
            let decision = if decision == Decision::Retire { seen.decision } else { decision };
            match decision {
                _ if other == name => {}
                Decision::Retire => retires.push(other),
                Decision::Keep(KeepReason::Newest) => {}
                Decision::Keep(reason) => plan.kept.push(Kept { name: other, reason: reason.to_string() }),
            }
        }
    }
    if retires.is_empty() {
        return;
    }
    let paths: BTreeSet<ImagePath> = brought.iter().map(|image| image.image_path.clone()).collect();
    let weight = retention::weigh(standing, &ground.record.run, &paths, keep);
    if weight.exceeds(settings.most_retired_share) && !ground.record.approve_retirement {
        plan.held = Some(weight);
    } else {
        plan.retires = retires;
    }
}

/// The image as it will stand.
fn to_be(ground: &Ground<'_>, image: &ImagePlan) -> StandingImage {
    let run = &ground.record.run;
    let born = image.reuses.as_ref().map_or(ground.record.started_at, |reused| reused.started_at);
    StandingImage {
        name: image.image_name.to_string(),
        created: ground.factory.clock.now(),
        state: ImageState::Succeeded,
        tags: tags::of_image(run, &image.image_path, born),
        used_by: Vec::new(),
    }
}

/// The same for the factory lab's captured VHDs.
async fn of_factory_lab(ground: &Ground<'_>, plan: &RunPlan) -> Result<LabPlan, AzureError> {
    let built: Vec<&ImagePlan> = plan.images.iter().filter(|image| image.action == Action::Build).collect();
    let mut of_vhds = LabPlan::of(ground.factory_lab.clone());
    if !built.is_empty() {
        retire(ground, &captured(ground.storage).await?, &built, &mut of_vhds);
    }
    Ok(of_vhds)
}

/// Calls `bring` with each image that a run brings to a lab: the plans of these labs know.
///
/// # Errors
/// As any call of the ledger.
pub async fn each_brought(
    factory: &Factory,
    run: &RunId,
    labs: &[&LabId],
    mut bring: impl FnMut(ImagePath, &LabId) + Send,
) -> Result<(), AzureError> {
    let images = |plan: LabPlan| {
        for image in plan.images.into_iter().filter(|image| image.copies) {
            bring(image.image_path, &plan.lab);
        }
    };
    each(factory, run, labs, images).await
}

/// Calls `take` with the plan of each of these labs.
async fn each(
    factory: &Factory,
    run: &RunId,
    labs: &[&LabId],
    mut take: impl FnMut(LabPlan) + Send,
) -> Result<(), AzureError> {
    for together in labs.chunks(LABS_READ_AT_ONCE) {
        let keys: Vec<Key> = together.iter().map(|lab| Key::lab_plan(run, lab)).collect();
        let plans = try_join_all(keys.iter().map(|key| factory.ledger.lab_plan(key))).await?;
        plans.into_iter().flatten().for_each(&mut take);
    }
    Ok(())
}
