//! The story that a seed tells: what is configured, what stood in the labs before, and what people do meanwhile.

use std::{fmt, time::Duration};

use azure_sim::{
    Sim, World,
    arm::{CustomImageSpec, FormulaSpec, LabSpec, OsType, VirtualMachineSpec},
    control,
};
use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, macros::datetime};

use super::faults::FaultRates;
use crate::{
    dev::{configuration, world},
    domain::{
        Configuration, ConfigurationFiles, IGNORE_TAG, IMAGE_PATH_TAG, ImageName, ImagePath, KEEP_TAG, LabId,
        RUN_TAG, RunId, VmName,
    },
};

/// Every story begins at this moment: far from midnight, so that a wrong clock does not change the day in images' names.
pub const ORIGIN: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);
/// Nothing fails by itself after this: a story must come to its end.
pub const FAULTS_LAST: time::Duration = time::Duration::hours(16);

const PATHS: [(&str, bool); 6] = [
    ("Windows/Server2022.json", true),
    ("Linux/Docker.json", false),
    ("Win2016/Datacenter.json", true),
    ("Linux/Team tools.json", false),
    ("Windows/Developer/VisualStudio.json", true),
    ("Linux/Server.json", false),
];
const SUBSCRIPTIONS: [&str; 2] =
    ["a0000000-0000-4000-8000-000000000000", "a0000000-0000-4000-8000-000000000001"];

/// A story.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// From which everything in it is drawn.
    pub seed: u64,
    /// What goes wrong, and how often.
    pub rates: FaultRates,
    /// The golden images.
    pub images: Vec<GoldenImage>,
    /// The team labs.
    pub labs: Vec<TeamLab>,
    /// `imagesToKeep`.
    pub keep: u32,
    /// What stood in the labs before.
    pub history: Vec<OldImage>,
    /// The runs.
    pub runs: Vec<PlannedRun>,
    /// What people do.
    pub people: Vec<Act>,
    /// How many instances of the handler there are.
    pub instances: usize,
}

/// A golden image.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenImage {
    /// Its path.
    pub path: String,
    /// Windows or Linux.
    pub windows: bool,
    /// How many artifacts it has besides the generalising one.
    pub artifacts: usize,
}

/// A team lab.
#[derive(Clone, Debug, PartialEq)]
pub struct TeamLab {
    /// Its name.
    pub name: String,
    /// Its subscription.
    pub subscription: &'static str,
    /// Its `ImagePaths`.
    pub image_paths: Vec<String>,
    /// The first run whose Labs.json has it.
    pub since: usize,
}

/// A custom image that stood in a lab before.
#[derive(Clone, Debug, PartialEq)]
pub struct OldImage {
    /// The lab's name.
    pub lab: String,
    /// The golden image's path.
    pub path: String,
    /// How old it is.
    pub days: i64,
    /// What is special about it.
    pub kind: OldKind,
}

/// What is special about an old image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldKind {
    /// Nothing.
    Good,
    /// It failed.
    Failed,
    /// It carries `FactoryKeep`.
    Pinned,
    /// A formula names it.
    InFormula,
    /// A VM was made from it.
    InVm,
    /// It is not the factory's, though it has a tag `ImagePath`.
    Foreign,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// When it is asked for, after the beginning.
    pub after: Duration,
    /// Its name.
    pub name: String,
    /// Whether its trigger comes twice.
    pub twice: bool,
    /// What its commit changes.
    pub changes: Vec<Change>,
    /// Whether it builds everything, changed or not.
    pub force: bool,
}

/// What a commit changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An image's definition.
    Image(usize),
    /// It takes back all changes of definitions.
    Back,
}

/// What somebody does.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// When, after the beginning.
    pub after: Duration,
    /// What.
    pub deed: Deed,
}

/// Something that somebody does.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Pins an old image of the history.
    Pin(usize),
    /// Makes a formula from one.
    MakeFormula(usize),
    /// Makes a VM from one.
    MakeVm(usize),
    /// Puts `FactoryIgnore` on the factory VM of a run's image.
    Ignore {
        /// The run.
        run: usize,
        /// The image.
        image: usize,
    },
    /// Asks the factory to pin an old image.
    AskToPin(usize),
    /// Cancels a run.
    Cancel(usize),
    /// Asks for one step of a run's image again: its build, or its copy into a lab.
    Rerun {
        /// The run.
        run: usize,
        /// The image.
        image: usize,
        /// The lab; the build where `None`.
        lab: Option<usize>,
    },
}

/// How large stories are; drawn where `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    /// How many golden images.
    pub images: Option<usize>,
    /// How many labs.
    pub labs: Option<usize>,
}

impl Scenario {
    /// The story of a seed.
    pub fn draw(seed: u64, size: Size, rates: &FaultRates) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let random = &mut random;
        // Small ones find most: two of each is what it takes for things to meet.
        let images = size.images.unwrap_or_else(|| *[1, 1, 2, 2, 2, 3].choose(random).unwrap_or(&2));
        let labs = size.labs.unwrap_or_else(|| *[1, 1, 2, 2, 2, 3].choose(random).unwrap_or(&2));
        let images: Vec<GoldenImage> = (0..images).map(|index| golden_image(index, random)).collect();
        let labs: Vec<TeamLab> = (0..labs).map(|index| team_lab(index, &images, random)).collect();
        let history = history(&images, &labs, random);
        let runs = runs(random);
        let people = people(&history, &runs, &images, random);
        let keep = random.random_range(1..=3);
        let instances = random.random_range(1..=3);
        let mut story =
            Self { seed, rates: rates.clone(), images, labs, keep, history, runs, people, instances };
        // After all that was drawn before there were commits: a seed's world stays the same.
        commits(&mut story, random);
        story
    }

    /// One run of so many images to so many labs, and nothing else: what exhaustive searches go over.
    pub fn plain(images: usize, labs: usize) -> Self {
        let size = Size { images: Some(images), labs: Some(labs) };
        let mut scenario = Self::draw(1, size, &FaultRates::none());
        scenario.images.iter_mut().for_each(|image| image.artifacts = 1);
        for lab in &mut scenario.labs {
            lab.image_paths = scenario.images.iter().map(|image| image.path.clone()).collect();
        }
        // One old image in each place, so that something retires.
        let old = |(lab, path): (&TeamLab, &String)| OldImage {
            lab: lab.name.clone(),
            path: path.clone(),
            days: 7,
            kind: OldKind::Good,
        };
        let places = scenario.labs.iter().flat_map(|lab| lab.image_paths.iter().map(move |path| (lab, path)));
        scenario.history = places.map(old).collect();
        scenario.labs.iter_mut().for_each(|lab| lab.since = 0);
        scenario.runs = vec![planned_run(Duration::ZERO, "first", false)];
        Self { keep: 1, people: Vec::new(), instances: 1, ..scenario }
    }

    /// The configuration's files with everything that any run knows.
    pub fn files(&self) -> ConfigurationFiles {
        self.files_of(self.runs.len())
    }

    /// The files at a run's commit.
    pub fn files_of(&self, run: usize) -> ConfigurationFiles {
        let mut versions = vec![0; self.images.len()];
        for (number, run) in self.runs.iter().enumerate().take(run + 1) {
            for change in &run.changes {
                match change {
                    Change::Image(image) => {
                        versions.iter_mut().skip(*image).take(1).for_each(|version| *version = number + 1);
                    }
                    Change::Back => versions.fill(0),
                }
            }
        }
        let definitions = self.images.iter().zip(versions).map(|(image, version)| {
            let mut template = configuration::definition(image.windows, image.artifacts);
            if version > 0 {
                template["variables"] = json!({ "version": version });
            }
            (format!("GoldenImages/{}", image.path), template.to_string().into_bytes())
        });
        let lab = |lab: &TeamLab| {
            json!({"SubscriptionId": lab.subscription, "ResourceGroup": group(lab), "LabName": lab.name,
                "ImagePaths": lab.image_paths})
        };
        let known = self.labs.iter().filter(|lab| lab.since <= run);
        let labs = json!({"Labs": known.map(lab).collect::<Vec<_>>()});
        let settings = json!({"imagesToKeep": self.keep});
        let own = [("Labs.json", labs), ("factory.json", settings)];
        let own = own.into_iter().map(|(name, json)| (name.to_owned(), json.to_string().into_bytes()));
        definitions.chain(own).collect()
    }

    /// The configuration.
    ///
    /// # Errors
    /// If it has an error: then the story is no use.
    pub fn configuration(&self) -> anyhow::Result<Configuration> {
        let (configuration, problems) = Configuration::load(&self.files());
        configuration.filter(|_| !problems.has_errors()).ok_or_else(|| anyhow::anyhow!("{problems}"))
    }

    /// A run's commit.
    pub fn commit_of(&self, run: usize) -> String {
        format!("{:040x}", run + 1)
    }

    /// The run with this number.
    pub fn run_id(&self, run: usize) -> RunId {
        let name = self.runs.get(run).map_or("none", |run| run.name.as_str());
        RunId::manual(ORIGIN, name).unwrap_or_else(|_| RunId::timer(ORIGIN))
    }

    /// Puts the history into the labs.
    pub fn prepare(&self, world: &mut World) {
        for (index, old) in self.history.iter().enumerate() {
            let (Some(lab), Some(name)) = (self.lab_key(&old.lab), self.old_name(index)) else { continue };
            let run = old_run(index);
            let mut tags = Map::new();
            match old.kind {
                OldKind::Foreign => {
                    drop(tags.insert(IMAGE_PATH_TAG.to_owned(), old.path.replace('/', "\\").into()))
                }
                _ => {
                    tags.insert(IMAGE_PATH_TAG.to_owned(), old.path.clone().into());
                    tags.insert(RUN_TAG.to_owned(), run.as_str().into());
                }
            }
            if old.kind == OldKind::Pinned {
                tags.insert(KEEP_TAG.to_owned(), "true".into());
            }
            let image = CustomImageSpec {
                name,
                tags,
                created: ORIGIN - time::Duration::days(old.days),
                os: OsType::Linux,
                failed: old.kind == OldKind::Failed,
            };
            world.add_custom_image(&lab, image);
            match old.kind {
                OldKind::InFormula => self.make_formula(world, index),
                OldKind::InVm => self.make_vm(world, index),
                _ => {}
            }
        }
    }

    /// Does what somebody does.
    pub fn act(&self, deed: &Deed, world: &mut World) {
        match deed {
            Deed::Pin(old) => {
                if let Some((lab, name)) = self.old(*old) {
                    world.set_tag(&lab, "customimages", &name, (KEEP_TAG, "true"));
                }
            }
            Deed::MakeFormula(old) => self.make_formula(world, *old),
            Deed::MakeVm(old) => self.make_vm(world, *old),
            // These are messages to the factory.
            Deed::AskToPin(_) | Deed::Cancel(_) | Deed::Rerun { .. } => {}
            Deed::Ignore { run, image } => {
                if let Some(id) = self.factory_vm(*run, *image)
                    && let Some((lab, vm)) = id.split_once("/virtualmachines/")
                {
                    world.set_tag(lab, "virtualmachines", vm, (IGNORE_TAG, "true"));
                }
            }
        }
    }

    /// Whether Azure lets people do this now: nobody gets hold of an image that is not whole, or is being deleted.
    pub fn is_possible(&self, deed: &Deed, sim: &Sim) -> bool {
        // The factory itself judges what it is asked for.
        let (Deed::Pin(old) | Deed::MakeFormula(old) | Deed::MakeVm(old)) = deed else { return true };
        let Some((lab, name)) = self.old(*old) else { return false };
        let images = control::lab_state(sim, &lab).map(|lab| lab.custom_images).unwrap_or_default();
        let image = images.iter().find(|image| image.name.eq_ignore_ascii_case(&name));
        image.is_some_and(|image| image.provisioning_state == "Succeeded")
    }

    fn make_formula(&self, world: &mut World, old: usize) {
        let Some((lab, name)) = self.old(old) else { return };
        // As the portal writes it: relative to the lab.
        let content = json!({"customImageId": format!("/customimages/{}", name.to_lowercase())});
        world.add_formula(&lab, FormulaSpec { name: format!("formula-{old}"), content });
    }

    fn make_vm(&self, world: &mut World, old: usize) {
        let Some((lab, name)) = self.old(old) else { return };
        let id = format!("{lab}/customimages/{}", name.to_lowercase());
        let vm = VirtualMachineSpec {
            name: format!("dev-{old}"),
            tags: Map::new(),
            created: world.now(),
            os: OsType::Linux,
            properties: Map::from_iter([("customImageId".to_owned(), Value::String(id))]),
            failed: false,
        };
        world.add_virtual_machine(&lab, vm);
    }

    /// An old image's lab and name, if they are there.
    pub fn old(&self, index: usize) -> Option<(String, String)> {
        Some((self.lab_key(&self.history.get(index)?.lab)?, self.old_name(index)?))
    }

    /// The id in lower case of the factory VM of a run's image.
    pub fn factory_vm(&self, run: usize, image: usize) -> Option<String> {
        let path = ImagePath::parse(&self.images.get(image)?.path).ok()?;
        let vm = VmName::derive(&self.run_id(run), &path);
        let lab = key(world::FACTORY_SUBSCRIPTION, world::FACTORY_GROUP, world::FACTORY_LAB);
        Some(format!("{lab}/virtualmachines/{}", vm.as_str().to_lowercase()))
    }

    fn old_name(&self, index: usize) -> Option<String> {
        let old = self.history.get(index)?;
        let path = ImagePath::parse(&old.path).ok()?;
        let name = ImageName::derive(&old_run(index), &path, ORIGIN - time::Duration::days(old.days));
        Some(name.to_string())
    }

    /// An old image's lab, as Labs.json names it, and its name.
    pub fn old_image(&self, index: usize) -> Option<(LabId, String)> {
        let old = self.history.get(index)?;
        let lab = self.labs.iter().position(|lab| lab.name == old.lab)?;
        Some((self.lab_id(lab)?, self.old_name(index)?))
    }

    /// A lab, as Labs.json names it.
    pub fn lab_id(&self, lab: usize) -> Option<LabId> {
        let lab = self.labs.get(lab)?;
        LabId::new(lab.subscription, Some(&group(lab)), &lab.name).ok()
    }

    /// A team lab's id in lower case.
    pub fn lab_key(&self, name: &str) -> Option<String> {
        let lab = self.labs.iter().find(|lab| lab.name == name)?;
        Some(key(lab.subscription, &group(lab), &lab.name))
    }
}

/// A lab's id as the ledger knows the lab, in lower case.
pub fn key_of(lab: &LabId) -> String {
    world::target_lab(lab, "").id()
}

fn key(subscription: &str, group: &str, lab: &str) -> String {
    let [subscription_id, resource_group, name] = [subscription, group, lab].map(str::to_owned);
    LabSpec { subscription_id, resource_group, name, location: String::new() }.id()
}

fn group(lab: &TeamLab) -> String {
    format!("rg-{}", lab.name)
}

fn old_run(index: usize) -> RunId {
    let long_ago = ORIGIN - time::Duration::days(100);
    RunId::manual(long_ago, &format!("old{index}")).unwrap_or_else(|_| RunId::timer(long_ago))
}

fn golden_image(index: usize, random: &mut ChaCha8Rng) -> GoldenImage {
    let (path, windows) = PATHS[index % PATHS.len()];
    let path = match index / PATHS.len() {
        0 => path.to_owned(),
        more => path.replace(".json", &format!("-{more}.json")),
    };
    GoldenImage { path, windows, artifacts: random.random_range(0..=3) }
}

fn team_lab(index: usize, images: &[GoldenImage], random: &mut ChaCha8Rng) -> TeamLab {
    let every: Vec<String> = images.iter().map(|image| image.path.clone()).collect();
    let some: Vec<String> = every.iter().filter(|_| random.random_bool(0.8)).cloned().collect();
    TeamLab {
        name: format!("team-{index}"),
        subscription: SUBSCRIPTIONS[index % SUBSCRIPTIONS.len()],
        image_paths: if some.is_empty() { every } else { some },
        since: 0,
    }
}

fn history(images: &[GoldenImage], labs: &[TeamLab], random: &mut ChaCha8Rng) -> Vec<OldImage> {
    let mut history = Vec::new();
    for lab in labs {
        for image in images {
            for _ in 0..*[0, 0, 1, 2, 3].choose(random).unwrap_or(&0) {
                let kind = match random.random_range(0..10) {
                    0 => OldKind::Failed,
                    1 => OldKind::Pinned,
                    2 => OldKind::InFormula,
                    3 => OldKind::InVm,
                    4 => OldKind::Foreign,
                    _ => OldKind::Good,
                };
                let days = random.random_range(1..60);
                history.push(OldImage { lab: lab.name.clone(), path: image.path.clone(), days, kind });
            }
        }
    }
    history
}

fn planned_run(after: Duration, name: &str, twice: bool) -> PlannedRun {
    PlannedRun { after, name: name.to_owned(), twice, changes: Vec::new(), force: false }
}

fn runs(random: &mut ChaCha8Rng) -> Vec<PlannedRun> {
    let mut runs = vec![planned_run(Duration::ZERO, "first", random.random_bool(0.1))];
    if random.random_bool(0.3) {
        runs.push(planned_run(Duration::from_secs(random.random_range(0..4 * 3600)), "second", false));
    }
    runs
}

/// What is committed between the runs, and which words people say to the factory.
fn commits(story: &mut Scenario, random: &mut ChaCha8Rng) {
    if story.runs.len() > 1 && random.random_bool(0.4) {
        let after = story.runs[1].after + Duration::from_secs(random.random_range(0..3 * 3600));
        story.runs.push(planned_run(after, "third", false));
    }
    let images = story.images.len();
    for run in story.runs.iter_mut().skip(1) {
        run.force = random.random_bool(0.2);
        run.changes = match random.random_range(0..6) {
            0 => Vec::new(),
            1 => vec![Change::Back],
            _ => (0..images).filter(|_| random.random_bool(0.6)).map(Change::Image).collect(),
        };
    }
    if story.runs.len() > 1 && story.labs.len() > 1 && random.random_bool(0.3) {
        story.labs.iter_mut().rev().take(1).for_each(|lab| lab.since = 1);
    }
    if random.random_bool(0.25) {
        let run = random.random_range(0..story.runs.len());
        let deed = match random.random_range(0..3) {
            0 | 1 => Deed::Cancel(run),
            _ => Deed::AskToPin(random.random_range(0..story.history.len().max(1))),
        };
        let after = Duration::from_secs(random.random_range(0..6 * 3600));
        story.people.push(Act { after, deed });
    }
    if random.random_bool(0.3) {
        let (run, image) = (random.random_range(0..story.runs.len()), random.random_range(0..images));
        let lab = random.random_bool(0.6).then(|| random.random_range(0..story.labs.len()));
        let after = Duration::from_secs(random.random_range(0..8 * 3600));
        story.people.push(Act { after, deed: Deed::Rerun { run, image, lab } });
    }
}

fn people(
    history: &[OldImage],
    runs: &[PlannedRun],
    images: &[GoldenImage],
    random: &mut ChaCha8Rng,
) -> Vec<Act> {
    let mut people = Vec::new();
    for _ in 0..*[0, 0, 0, 1, 2].choose(random).unwrap_or(&0) {
        let after = Duration::from_secs(random.random_range(0..4 * 3600));
        let old = random.random_range(0..history.len().max(1));
        let deed = match random.random_range(0..7) {
            0 | 1 => Deed::Pin(old),
            2 | 3 => Deed::MakeFormula(old),
            4 | 5 => Deed::MakeVm(old),
            _ => Deed::Ignore {
                run: random.random_range(0..runs.len()),
                image: random.random_range(0..images.len()),
            },
        };
        people.push(Act { after, deed });
    }
    people
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, faults {}", self.seed, self.rates)?;
        writeln!(f, "{} instances, imagesToKeep {}", self.instances, self.keep)?;
        for image in &self.images {
            let os = if image.windows { "Windows" } else { "Linux" };
            writeln!(f, "image {} ({os}, {} artifacts)", image.path, image.artifacts)?;
        }
        for lab in &self.labs {
            let since = if lab.since > 0 { " (new in the second run)" } else { "" };
            let paths = lab.image_paths.join(", ");
            writeln!(f, "lab {} in {}{since}: {paths}", lab.name, lab.subscription)?;
        }
        for (index, old) in self.history.iter().enumerate() {
            let name = self.old_name(index).unwrap_or_default();
            writeln!(f, "before: {name} in {} ({:?}, {} days old)", old.lab, old.kind, old.days)?;
        }
        for run in &self.runs {
            let twice = if run.twice { ", twice" } else { "" };
            let forced = if run.force { ", forced" } else { "" };
            let changes = &run.changes;
            writeln!(
                f,
                "after {} s: run {}{twice}{forced}, changes {changes:?}",
                run.after.as_secs(),
                run.name
            )?;
        }
        for act in &self.people {
            writeln!(f, "after {} s: somebody does {:?}", act.after.as_secs(), act.deed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_always_the_same_story_and_can_be_used() {
        for seed in 0..50 {
            let scenario = Scenario::draw(seed, Size::default(), &FaultRates::all());
            assert_eq!(scenario, Scenario::draw(seed, Size::default(), &FaultRates::all()));
            scenario.configuration().unwrap();
        }
    }
}
