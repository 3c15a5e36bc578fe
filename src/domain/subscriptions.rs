//! Which labs receive which images.

use super::{ImagePath, ImagePathSelector, LabId};

/// A lab that receives images, as Labs.json lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribedLab {
    /// The lab.
    pub lab: LabId,
    /// What it receives.
    pub selectors: Vec<ImagePathSelector>,
}

impl SubscribedLab {
    /// Whether the lab receives the image.
    pub fn receives(&self, path: &ImagePath) -> bool {
        self.selectors.iter().any(|selector| selector.selects(path))
    }
}

/// One definition and the labs that receive its image. Borrowed: a thousand definitions for a hundred labs would otherwise
/// be a hundred thousand names of labs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The definition.
    pub image_path: &'a ImagePath,
    /// The labs, in the order of Labs.json; none for a definition that nobody wants.
    pub labs: Vec<&'a LabId>,
}

/// Every definition with its labs, in the order of the definitions.
pub fn subscriptions<'a>(
    definitions: impl IntoIterator<Item = &'a ImagePath>,
    labs: &'a [SubscribedLab],
) -> Vec<Subscription<'a>> {
    definitions
        .into_iter()
        .map(|path| Subscription {
            image_path: path,
            labs: labs.iter().filter(|lab| lab.receives(path)).map(|lab| &lab.lab).collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(name: &str, selectors: &[&str]) -> SubscribedLab {
        SubscribedLab {
            lab: LabId::new("8d9f1e4a-1111-4222-8333-444455556666", None, name).unwrap(),
            selectors: selectors.iter().map(|text| ImagePathSelector::parse(text).unwrap()).collect(),
        }
    }

    #[test]
    fn a_lab_receives_an_image_once_however_often_it_asks() {
        let definitions = ["Linux/Ubuntu.json", "Win2016/Datacenter.json", "Win2016R2/Core.json"]
            .map(|text| ImagePath::parse(text).unwrap());
        let labs = [lab("web", &["win2016", "Win2016/Datacenter.json"]), lab("all", &["*"])];
        let found = subscriptions(&definitions, &labs);
        let names: Vec<Vec<&str>> =
            found.iter().map(|s| s.labs.iter().map(|lab| lab.lab_name()).collect()).collect();
        assert_eq!(names, [vec!["all"], vec!["web", "all"], vec!["all"]]);
    }
}
