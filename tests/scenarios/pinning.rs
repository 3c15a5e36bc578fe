//! Images that people pin, and unpin again.

use image_factory::{
    dev::world,
    domain::{
        KEEP_TAG, LabId, Message,
        messages::{AskingId, Person, PinImage, PinnedName},
    },
    steps::Envelope,
};
use serde_json::json;

use crate::factory::{
    DATA, Factory, Files, LINUX, OTHER_SUBSCRIPTION, SUBSCRIPTION, WEB, image, scenario, team_lab,
};

fn web() -> LabId {
    LabId::new(SUBSCRIPTION, Some("rg-web"), WEB).unwrap()
}

fn factory_lab() -> LabId {
    LabId::new(world::FACTORY_SUBSCRIPTION, Some(world::FACTORY_GROUP), world::FACTORY_LAB).unwrap()
}

/// Asks for it, waits until nothing happens any more, and answers what came of it.
async fn ask(factory: &Factory, lab: LabId, name: &str, pin: bool, id: &str) -> String {
    let wish = PinImage {
        lab,
        image_name: PinnedName::parse(name).unwrap(),
        pin,
        by: Person::parse("anna").unwrap(),
        id: Some(AskingId::parse(id).unwrap()),
    };
    factory.host.factory.outbox.send(vec![Envelope::now(Message::pin(wish))]).await.unwrap();
    factory.settle().await;
    let lines = factory.host.factory.ledger.audit(50).await.unwrap();
    let line = lines.iter().find(|line| line.message["id"] == id).unwrap();
    assert_eq!((line.by.as_str(), line.what.as_str()), ("anna", "pin-image"));
    line.outcome.clone().unwrap()
}

/// A whole run; answers the name of its image.
async fn run(factory: &Factory, name: &str) -> String {
    image(&factory.run_named(name).await, LINUX).image_name.to_string()
}

/// The names of the images that stand in a lab.
fn standing(factory: &Factory, lab: &str) -> Vec<String> {
    let state = factory.state();
    let mut names: Vec<String> =
        state.lab(lab).unwrap().custom_images.iter().map(|image| image.name.clone()).collect();
    names.sort();
    names
}

#[test]
fn a_pinned_image_outlives_newer_ones_until_it_is_unpinned() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1});
        let factory = Factory::new(&files).await;
        let [web_id, data_id] = [team_lab(SUBSCRIPTION, WEB), team_lab(OTHER_SUBSCRIPTION, DATA)];
        let first = run(&factory, "first").await;
        assert!(ask(&factory, web(), &first, true, "a").await.contains("is kept"));
        assert!(ask(&factory, factory_lab(), &first, true, "b").await.contains("is kept"));
        assert!(ask(&factory, web(), &first, true, "c").await.contains("is kept"), "twice is once");

        let second = run(&factory, "second").await;
        let mut both = vec![first.clone(), second.clone()];
        both.sort();
        assert_eq!(standing(&factory, &web_id), both);
        assert_eq!(standing(&factory, &data_id), vec![second], "only where it is pinned");
        let vhds = factory.vhds(&factory.factory_lab());
        assert!(vhds.properties(&format!("{first}.vhd")).await.unwrap().is_some());

        assert!(ask(&factory, web(), &first, false, "d").await.contains("may retire"));
        assert!(ask(&factory, factory_lab(), &first, false, "e").await.contains("may retire"));
        let third = run(&factory, "third").await;
        assert_eq!(standing(&factory, &web_id), vec![third.clone()]);
        assert!(vhds.properties(&format!("{first}.vhd")).await.unwrap().is_none());
        assert!(vhds.properties(&format!("{third}.vhd")).await.unwrap().is_some());
    });
}

#[test]
fn what_is_not_the_factorys_own_or_not_there_is_not_touched() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let outcome = factory.run().await;
        let name = image(&outcome, LINUX).image_name.to_string();
        let id = format!("{}/customimages/{name}", team_lab(SUBSCRIPTION, WEB));
        // Somebody's own: no run is said to have made it.
        let tags = json!({"tags": {"owner": "ben"}});
        factory.patch(&format!("{id}?api-version=2018-09-15"), &tags).await;
        assert!(ask(&factory, web(), &name, true, "a").await.contains("nothing is done"));
        let image = factory.get(&format!("{id}?api-version=2018-09-15")).await;
        assert_eq!(image["tags"], tags["tags"]);
        assert!(image["tags"].get(KEEP_TAG).is_none());

        assert!(ask(&factory, web(), "nowhere", true, "b").await.contains("has no image nowhere"));
        let nowhere = LabId::new(SUBSCRIPTION, Some("rg-web"), "nowhere").unwrap();
        assert!(ask(&factory, nowhere, &name, true, "c").await.contains("nothing is done"));
        assert!(factory.dead_letters().is_empty());
    });
}
