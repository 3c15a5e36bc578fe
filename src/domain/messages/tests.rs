use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const SUBSCRIPTION: &str = "8d9f1e4a-1111-4222-8333-444455556666";

fn run() -> RunId {
    RunId::parse("commit-abc1234").unwrap()
}

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

fn lab() -> LabId {
    LabId::new(SUBSCRIPTION, Some("rg"), "web").unwrap()
}

fn person() -> Person {
    Person::parse("anna").unwrap()
}

fn wish(lab: LabId, name: &str, pin: bool, id: Option<&str>) -> PinImage {
    let image_name = PinnedName::parse(name).unwrap();
    PinImage { lab, image_name, pin, by: person(), id: id.map(|id| AskingId::parse(id).unwrap()) }
}

fn rerun(id: &str) -> Rerun {
    Rerun { id: AskingId::parse(id).unwrap(), by: person() }
}

fn refusal(queue: Queue, body: Value) -> String {
    Message::parse(queue, body.to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn bodies_are_as_documented() {
    let copy =
        Message::first(run(), Step::CopyImage(CopyImage { image_path: path("a\\b.json"), lab: lab() }));
    assert_eq!(
        copy.to_json(),
        json!({"version": 1, "run": "commit-abc1234", "attempt": 1, "imagePath": "a/b.json",
               "lab": {"subscriptionId": SUBSCRIPTION, "resourceGroup": "rg", "labName": "web"}})
    );
    let start = StartRun {
        reason: RunReason::Commit,
        commit: Some("abc1234".to_owned()),
        author: None,
        only: None,
        force: false,
        approve_retirement: false,
        by: None,
        only_newest: false,
    };
    assert_eq!(
        Message::first(run(), Step::StartRun(start)).to_json(),
        json!({"version": 1, "run": "commit-abc1234", "attempt": 1, "reason": "commit", "commit": "abc1234"})
    );
    let retire = RetireImages { image_path: path("a.json"), lab: None };
    assert_eq!(Message::first(run(), Step::RetireImages(retire)).to_json()["lab"], Value::Null);
}

#[test]
fn a_message_written_by_hand_needs_little() {
    let body = br#"{"version":1,"run":"manual-1","reason":"manual"}"#;
    let message = Message::parse(Queue::StartRun, body).unwrap();
    assert_eq!((message.attempt, message.queue()), (1, Queue::StartRun));
    let approved = br#"{"version":1,"run":"manual-1","reason":"manual","approveRetirement":true}"#;
    let approved = Message::parse(Queue::StartRun, approved).unwrap();
    assert_ne!(approved, message);
    assert_ne!(approved.message_id(), message.message_id());
}

#[test]
fn fields_of_newer_programs_are_ignored_but_newer_versions_refused() {
    let body = json!({"version": 1, "run": "r", "imagePath": "a.json", "new": {"x": 1}});
    assert!(Message::parse(Queue::CreateVm, body.to_string().as_bytes()).is_ok());
    let newer = refusal(Queue::CreateVm, json!({"version": 2, "run": "r", "imagePath": "a.json"}));
    assert!(newer.contains("version 2") && newer.contains("reads version 1"), "{newer}");
    assert!(refusal(Queue::CreateVm, json!({"run": "r", "imagePath": "a.json"})).contains("$.version"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    assert!(refusal(Queue::CreateVm, json!([1])).contains("no JSON object"));
    assert!(
        refusal(Queue::CreateVm, json!({"version": 1, "run": "r"})).contains("$.imagePath: it is missing")
    );
    let escaping = refusal(Queue::DeleteVm, json!({"version": 1, "run": "r", "imagePath": "../b.json"}));
    assert!(escaping.contains("$.imagePath") && escaping.contains("'..'"), "{escaping}");
    assert!(
        refusal(Queue::CreateVm, json!({"version": 1, "run": "R!", "imagePath": "a.json"})).contains("$.run")
    );
    assert!(
        refusal(Queue::CopyImage, json!({"version": 1, "run": "r", "imagePath": "a.json", "lab": null}))
            .contains("$.lab")
    );
    assert!(
        refusal(Queue::StartRun, json!({"version": 1, "run": "r", "reason": "boredom"})).contains("$.reason")
    );
    assert!(
        refusal(Queue::StartRun, json!({"version": 1, "run": "r", "reason": "manual", "attempt": -1}))
            .contains("$.attempt")
    );
    let broken = Message::parse(Queue::CreateVm, b"{\"version\": ").unwrap_err().to_string();
    assert!(
        broken.starts_with("the create-vm message is no JSON object") && broken.contains("line 1"),
        "{broken}"
    );
}

#[test]
fn the_id_tells_messages_apart_but_not_repetitions() {
    let message = |text: &str| Message::first(run(), Step::CreateVm(ImageStep { image_path: path(text) }));
    let one = message("a/b.json");
    assert_eq!(one.message_id(), message("A\\B.json").message_id());
    let capture = Message::first(run(), Step::CaptureImage(ImageStep { image_path: path("a/b.json") }));
    let ids = [
        one.message_id(),
        one.numbered(2).message_id(),
        message("a/c.json").message_id(),
        capture.message_id(),
    ];
    assert_eq!(BTreeSet::from(ids).len(), 4);
}

#[test]
fn what_people_ask_for_says_who_asks() {
    let cancel = Message::first(run(), Step::CancelRun(CancelRun { by: person(), id: None }));
    let body = json!({"version": 1, "run": "commit-abc1234", "attempt": 1, "by": "anna"});
    assert_eq!((cancel.to_json(), cancel.by()), (body, Some(&person())));
    let delete = Message::first(run(), Step::DeleteVm(ImageStep { image_path: path("a.json") }));
    assert_eq!(delete.by(), None);
    let again = |id| Message { rerun: Some(rerun(id)), ..delete.clone() };
    assert_eq!(again("one").to_json()["rerun"], json!({"id": "one", "by": "anna"}));
    assert_eq!(again("one").by(), Some(&person()));
    let hashes = [delete.content_hash(), again("one").content_hash(), again("two").content_hash()];
    assert_eq!(BTreeSet::from(hashes).len(), 3);
    assert_eq!(again("one").content_hash(), again("one").numbered(7).content_hash());
    for by in [json!(""), json!("a\nb"), json!("x".repeat(201)), Value::Null] {
        let told = refusal(Queue::CancelRun, json!({"version": 1, "run": "r", "by": by}));
        assert!(told.contains("$.by"), "{told}");
    }
    let told = refusal(
        Queue::DeleteVm,
        json!({"version": 1, "run": "r", "imagePath": "a.json", "rerun": {"id": "a b", "by": "anna"}}),
    );
    assert!(told.contains("$.rerun") && told.contains("64 letters"), "{told}");
}

#[test]
fn a_pin_belongs_to_no_run_and_names_nothing_that_a_url_would_take_for_a_path() {
    let message = Message::pin(wish(lab(), "Windows-1", true, None));
    let body = message.to_json();
    assert_eq!(
        (body.get("run"), &body["imageName"], &body["pin"]),
        (None, &json!("Windows-1"), &json!(true))
    );
    assert_ne!(message.message_id(), Message::pin(wish(lab(), "Windows-1", false, None)).message_id());
    assert_ne!(message.message_id(), Message::pin(wish(lab(), "Windows-1", true, Some("x"))).message_id());
    for name in ["", "../a", "a/b", "a?b", "..", &"x".repeat(81)] {
        let mut body = body.clone();
        body["imageName"] = json!(name);
        assert!(refusal(Queue::PinImage, body).contains("$.imageName"), "{name}");
    }
}

/// Set to write the schemas instead of comparing them.
const WRITE_SCHEMAS: &str = "IMAGE_FACTORY_WRITE_SCHEMAS";

#[test]
fn the_shipped_schemas_are_those_of_the_messages() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/messages");
    for queue in Queue::ALL {
        let text = serde_json::to_string_pretty(&schema(queue)).unwrap() + "\n";
        let path = folder.join(format!("{queue}.schema.json"));
        if std::env::var_os(WRITE_SCHEMAS).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(shipped == text, "{} is out of date: run the tests with {WRITE_SCHEMAS}=1", path.display());
    }
}

#[test]
fn a_schema_demands_what_the_program_demands() {
    for queue in Queue::ALL {
        let schema = schema(queue).to_value();
        let required = schema["required"].as_array().unwrap();
        for field in required.iter().map(|field| field.as_str().unwrap()).filter(|field| *field != "version")
        {
            // A message with everything that is required but this one is refused at its place.
            let mut body = json!({"version": 1, "run": "r", "reason": "manual", "imagePath": "a.json", "by": "anna",
                "lab": {"subscriptionId": SUBSCRIPTION, "labName": "web"}, "imageName": "a", "pin": true});
            assert!(Message::parse(queue, body.to_string().as_bytes()).is_ok(), "{queue}");
            body.as_object_mut().unwrap().remove(field).unwrap();
            assert!(refusal(queue, body).contains(&format!("$.{field}: it is missing")), "{queue} {field}");
        }
        assert!(schema["properties"]["version"].is_object(), "{queue}");
    }
}

#[test]
fn queues_are_found_by_their_names() {
    for queue in Queue::ALL {
        assert_eq!(queue.name().parse(), Ok(queue));
    }
    assert!("create".parse::<Queue>().is_err());
}

fn any_message() -> impl Strategy<Value = Message> {
    let path = "[a-zA-Z0-9 ]{1,8}(/[a-zA-Z0-9 é]{1,8}){0,2}\\.json".prop_map(|text| path(&text));
    let lab = ("[a-z]{1,5}", prop::option::of("[a-z]{1,5}"))
        .prop_map(|(name, group)| LabId::new(SUBSCRIPTION, group.as_deref(), &name).unwrap());
    let reason = prop::sample::select(vec![RunReason::Manual, RunReason::Schedule, RunReason::Commit]);
    let start = (
        reason,
        prop::option::of("[0-9a-f]{7,40}"),
        prop::option::of("[a-zA-Z é]{1,9}"),
        prop::option::of(prop::collection::vec(path.clone(), 0..3)),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(reason, commit, author, only, force, approve_retirement, only_newest)| {
            let by = author.as_deref().map(|author| Person::parse(author).unwrap_or_else(|_| person()));
            Step::StartRun(StartRun {
                reason,
                commit,
                author,
                only,
                force,
                approve_retirement,
                by,
                only_newest,
            })
        });
    let step = prop_oneof![
        start,
        path.clone().prop_map(|image_path| Step::CreateVm(ImageStep { image_path })),
        path.clone().prop_map(|image_path| Step::CaptureImage(ImageStep { image_path })),
        path.clone().prop_map(|image_path| Step::DeleteVm(ImageStep { image_path })),
        (path.clone(), lab.clone())
            .prop_map(|(image_path, lab)| Step::CopyImage(CopyImage { image_path, lab })),
        (path, prop::option::of(lab.clone()))
            .prop_map(|(image_path, lab)| Step::RetireImages(RetireImages { image_path, lab })),
        prop::option::of("[a-z0-9-]{1,64}").prop_map(|id| {
            let id = id.map(|id| AskingId::parse(&id).unwrap());
            Step::CancelRun(CancelRun { by: person(), id })
        }),
        (lab, "[a-zA-Z0-9_()-]{1,80}", any::<bool>(), prop::option::of("[a-z0-9-]{1,64}"))
            .prop_map(|(lab, name, pin, id)| Step::PinImage(wish(lab, &name, pin, id.as_deref()))),
    ];
    let rerun = prop::option::of("[a-zA-Z0-9-]{1,64}".prop_map(|id| rerun(&id)));
    ("[a-z0-9-]{1,40}", any::<u32>(), step, rerun).prop_map(|(id, attempt, step, rerun)| Message {
        run: match &step {
            Step::PinImage(_) => RunId::none(),
            _ => RunId::parse(&id).unwrap(),
        },
        attempt,
        step,
        rerun,
    })
}

proptest! {
    #[test]
    fn messages_survive_the_way(message in any_message()) {
        prop_assert_eq!(Message::parse(message.queue(), &message.to_bytes()), Ok(message.clone()));
        prop_assert!(message.message_id().len() <= LONGEST_MESSAGE_ID);
    }

    #[test]
    fn no_body_makes_it_panic(body: Vec<u8>, queue in prop::sample::select(Queue::ALL.to_vec())) {
        let _ = Message::parse(queue, &body);
    }
}
