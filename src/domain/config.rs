//! The configuration that people keep in source control: `Labs.json`, `GoldenImages/**/*.json`, `factory.json`.
//!
//! The first two are exactly those of Microsoft's PowerShell sample
//! (<https://github.com/Azure/azure-devtestlab/tree/master/samples/DevTestLabs/Scripts/ImageFactory>). All problems are
//! found in one pass, each with its file and JSON path.

mod duration;
mod fields;
mod json;
mod labs_file;
mod problem;
mod settings;

use std::collections::BTreeMap;

use self::json::{Parsed, parse};
pub use self::{
    labs_file::{LabEntry, LabsFile},
    problem::{Problem, Problems, Severity},
    settings::{Deadlines, FactoryLab, FactorySettings},
};
use super::{
    Definition, ImagePath,
    definition::{Content, read},
    subscriptions::{SubscribedLab, Subscription, subscriptions},
};

#[cfg(test)]
mod tests;

/// The file that lists the labs.
pub const LABS_FILE: &str = "Labs.json";
/// The optional file with the factory's settings.
pub const SETTINGS_FILE: &str = "factory.json";
/// The folder of the definitions.
pub const GOLDEN_IMAGES: &str = "GoldenImages";

/// The files of a configuration, wherever they came from: a directory, an archive, a test.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationFiles {
    /// The contents by path relative to the configuration's folder, with `/`. Other files than the configuration's may
    /// be among them; they are not looked at.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl<K: Into<String>, V: Into<Vec<u8>>> FromIterator<(K, V)> for ConfigurationFiles {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(files: I) -> Self {
        Self { files: files.into_iter().map(|(path, content)| (path.into(), content.into())).collect() }
    }
}

/// A configuration that can be worked with.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The settings of factory.json, or their defaults.
    pub settings: FactorySettings,
    /// The labs of Labs.json, in its order.
    pub labs: Vec<SubscribedLab>,
    /// The golden images.
    pub definitions: BTreeMap<ImagePath, Definition>,
    /// Definitions that cannot be built, with what is wrong: they fail without keeping the others from being built.
    pub broken: BTreeMap<ImagePath, Vec<Problem>>,
}

impl Configuration {
    /// Reads a configuration and lists everything that is wrong with it.
    ///
    /// There is no configuration if Labs.json or factory.json has an error, or not one definition can be built.
    /// A definition with an error is in [`broken`](Self::broken) instead. Whoever wants all or nothing asks
    /// [`Problems::has_errors`].
    pub fn load(files: &ConfigurationFiles) -> (Option<Self>, Problems) {
        let mut problems = Problems::default();
        let settings = settings::read(files, &mut problems);
        let labs = labs_file::read(files, &mut problems);
        let for_definitions = settings.clone().unwrap_or_default();
        let mut found = FoundDefinitions::default();
        for (file, content) in &files.files {
            if let Some(path) = definition_path(file) {
                found.add(file, path, content, &for_definitions, &mut problems);
            }
        }
        found.check_any(&mut problems);
        if let Some(labs) = &labs {
            check_subscriptions(labs, &found, &mut problems);
        }
        problems.sort();
        let configuration = match (settings, labs) {
            (Some(settings), Some(labs)) if !found.definitions.is_empty() => {
                Some(Self { settings, labs, definitions: found.definitions, broken: found.broken })
            }
            _ => None,
        };
        (configuration, problems)
    }

    /// Every definition that can be built, with the labs that receive its image.
    pub fn subscriptions(&self) -> Vec<Subscription<'_>> {
        subscriptions(self.definitions.keys(), &self.labs)
    }
}

/// The part of a file's path below `GoldenImages/`, if it can be a definition. Git keeps the case of folders, Windows
/// does not care.
fn definition_path(file: &str) -> Option<&str> {
    let (folder, rest) = file.split_once('/')?;
    let json = rest.len() >= 5 && rest.as_bytes()[rest.len() - 5..].eq_ignore_ascii_case(b".json");
    (folder.eq_ignore_ascii_case(GOLDEN_IMAGES) && json).then_some(rest)
}

/// A file of the configuration's folder, ignoring case.
fn file<'a>(files: &'a ConfigurationFiles, name: &str) -> Option<(&'a str, &'a [u8])> {
    let exact = files.files.get_key_value(name);
    exact
        .or_else(|| files.files.iter().find(|(path, _)| path.eq_ignore_ascii_case(name)))
        .map(|(path, content)| (path.as_str(), content.as_slice()))
}

#[derive(Default)]
struct FoundDefinitions {
    definitions: BTreeMap<ImagePath, Definition>,
    broken: BTreeMap<ImagePath, Vec<Problem>>,
}

impl FoundDefinitions {
    fn add(
        &mut self,
        file: &str,
        path: &str,
        content: &[u8],
        settings: &FactorySettings,
        problems: &mut Problems,
    ) {
        let path = match ImagePath::parse(path) {
            Ok(path) => path,
            Err(error) => return problems.error(file, "$", error.to_string()),
        };
        if let Some(other) = self.spelling(&path) {
            return problems.error(
                file,
                "$",
                format!("there is a definition '{other}' already: paths ignore case; rename or remove one of the two"),
            );
        }
        let mut own = Problems::default();
        let Some(Parsed { value, duplicates }) = parse(file, content, &mut own) else {
            self.broken.insert(path, own.iter().cloned().collect());
            return problems.extend(own);
        };
        match read(value, settings, file, &mut own) {
            Content::ParametersFile => return,
            Content::Other => {
                let message = "this is no golden image (it has no 'resources') and is skipped; keep such files outside of GoldenImages";
                return problems.warning(file, "$", message);
            }
            Content::Definition(definition) => {
                self.definitions.insert(path, *definition);
            }
            Content::Broken => {
                self.broken
                    .insert(path, own.iter().filter(|p| p.severity == Severity::Error).cloned().collect());
            }
        }
        for place in duplicates {
            problems.warning(
                file,
                &place,
                "this key is there twice; Azure takes the last, remove the others",
            );
        }
        problems.extend(own);
    }

    fn spelling(&self, path: &ImagePath) -> Option<&ImagePath> {
        let definition = self.definitions.get_key_value(path).map(|(path, _)| path);
        definition.or_else(|| self.broken.get_key_value(path).map(|(path, _)| path))
    }

    fn check_any(&self, problems: &mut Problems) {
        if self.definitions.is_empty() && self.broken.is_empty() {
            let message = "there is no golden image: put an ARM template of one lab VM into this folder";
            problems.error(GOLDEN_IMAGES, "$", message);
        }
    }

    fn paths(&self) -> impl Iterator<Item = &ImagePath> {
        self.definitions.keys().chain(self.broken.keys())
    }
}

/// Warns of entries that select nothing, and of definitions that nobody receives.
fn check_subscriptions(labs: &[SubscribedLab], found: &FoundDefinitions, problems: &mut Problems) {
    for (lab_index, lab) in labs.iter().enumerate() {
        for (index, selector) in lab.selectors.iter().enumerate() {
            if found.paths().any(|path| selector.selects(path)) {
                continue;
            }
            let near = nearest(selector.as_str(), found.paths().map(ImagePath::as_str))
                .map(|near| format!("; did you mean '{near}'?"))
                .unwrap_or_default();
            problems.warning(
                LABS_FILE,
                &format!("$.Labs[{lab_index}].ImagePaths[{index}]"),
                format!(
                    "'{}' selects no golden image (it must be a file under {GOLDEN_IMAGES}, or a folder in full){near}",
                    selector.as_str()
                ),
            );
        }
    }
    for path in found.paths() {
        if !labs.iter().any(|lab| lab.receives(path)) {
            problems.warning(
                &format!("{GOLDEN_IMAGES}/{path}"),
                "$",
                "no lab receives this image: name it, or its folder, in the ImagePaths of a lab in Labs.json",
            );
        }
    }
}

/// The candidate that looks most like the text, if any looks like it at all.
fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this two words have little in common (Jaro-Winkler, 0 to 1).
    const ALIKE: f64 = 0.7;
    let text = text.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&text, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
