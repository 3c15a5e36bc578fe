//! The doctor: an installation that is well is found to be, and each thing that can be wrong is found alone, with what mends it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use azure_sim::{
    arm::{Denial, Role, RoleAssignment},
    broker::{
        Broker, QueueSettings,
        amqp::{self, Authorization},
    },
    control::{self, MarketplaceSpec, QuotaSpec},
    fault::{HttpEffect, HttpFault},
    latency::Profile,
};
use image_factory::{
    azure::actions::{ACTIONS, Place},
    dev::{
        broker_queues::BrokerQueues,
        git_host::{Host, Kind, served::Served},
        in_process::{InProcess, InProcessOptions, Instance, Surroundings, queue_settings},
        world,
    },
    doctor::{Diagnosis, Finding, Installation, QueueTrouble, Queues, Reached, Verdict, examine},
    domain::{Configuration, Queue},
    secret::Secret,
    source::{GitHub, GitHubAccess, GitHubOptions, Source},
};
use serde_json::json;
use servicebus::ServiceBusClient;

use crate::factory::{
    DATA, Factory, Files, LINUX, ORIGIN, OTHER_SUBSCRIPTION, SUBSCRIPTION, WEB, WINDOWS, definition, linux,
    scenario, vm_property,
};

const TOKEN: &str = "ghp_0123456789abcdef";
const SECRET: &str = "It's a Secret to Everybody";

/// Settings that a factory in this process would have in Azure.
fn variables() -> BTreeMap<String, String> {
    let settings = [
        ("IMAGE_FACTORY_LEDGER", "https://imagefactoryledger.blob.core.windows.net/image-factory"),
        ("IMAGE_FACTORY_REPOSITORY", "https://github.com/octo/images"),
        ("IMAGE_FACTORY_REPOSITORY_TOKEN", TOKEN),
        ("IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET", SECRET),
        ("ServiceBus__fullyQualifiedNamespace", "imagefactory.servicebus.windows.net"),
        ("Schedule", "0 0 1 * * *"),
        ("CleanupSchedule", "0 */10 * * * *"),
    ];
    settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn reached(factory: &Factory) -> Reached {
    Reached {
        factory: (*factory.host.factory).clone(),
        queues: Arc::new(BrokerQueues(factory.host.broker.clone())),
        identity: None,
        unresolved: Vec::new(),
        namespace: Some(format!("{}.servicebus.windows.net", world::NAMESPACE)),
    }
}

/// What the doctor finds, whose settings are well.
pub async fn examined(factory: &Factory) -> Diagnosis {
    examine(&Installation { variables: variables(), reached: Some(reached(factory)) }).await
}

/// Everything that is not as it must be.
fn trouble(diagnosis: &Diagnosis) -> Vec<&Finding> {
    diagnosis.findings.iter().filter(|finding| finding.verdict != Verdict::Ok).collect()
}

/// The one thing that is wrong; its fix holds `fix`.
#[track_caller]
fn only<'a>(diagnosis: &'a Diagnosis, check: &str, subject: &str, fix: &str) -> &'a Finding {
    let all = trouble(diagnosis);
    let [finding] = all.as_slice() else { panic!("{all:#?}") };
    assert_eq!((finding.check, finding.subject.as_str()), (check, subject), "{finding:?}");
    assert!(finding.fix.as_ref().is_some_and(|text| text.contains(fix)), "{finding:?}");
    finding
}

/// As [`only`], where it failed; what was found holds `found`.
#[track_caller]
fn only_failed(diagnosis: &Diagnosis, check: &str, subject: &str, found: &str, fix: &str) {
    let finding = only(diagnosis, check, subject, fix);
    assert!(finding.verdict == Verdict::Failed && finding.found.contains(found), "{finding:?}");
    assert!(!diagnosis.is_healthy());
}

/// The checks that were skipped, each with what it was skipped for.
fn skipped(diagnosis: &Diagnosis) -> Vec<&str> {
    let all = diagnosis.findings.iter().filter(|finding| finding.verdict == Verdict::Skipped);
    all.map(|finding| finding.check).collect()
}

#[test]
fn an_installation_that_is_well_is_found_to_be_and_nothing_is_left_behind() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let diagnosis = examined(&factory).await;
        assert!(trouble(&diagnosis).is_empty() && diagnosis.is_healthy(), "{:#?}", trouble(&diagnosis));
        let checks: Vec<&str> = diagnosis.findings.iter().map(|finding| finding.check).collect();
        for check in [
            "settings",
            "key-vault",
            "identity",
            "clock",
            "queues",
            "queue-properties",
            "ledger",
            "configuration",
            "labs",
            "roles",
            "lab-storage",
            "base-images",
            "artifacts",
            "quota",
        ] {
            assert!(checks.contains(&check), "{check} is not among {checks:?}");
        }
        assert!(factory.host.factory.ledger.container().list("").await.unwrap().is_empty());
        assert_eq!(factory.host.sim.world().counts.arm_writes, 0);
        assert_eq!(factory.host.messages(), 0);
    });
}

/// The roles that `infra/` gives the factory, each where it is given.
fn own_roles(factory: &Factory) -> Vec<RoleAssignment> {
    let world = factory.host.sim.world();
    let principal = world.identity.managed_identity.object_id.clone();
    let mut assignments = Vec::new();
    let mut give = |place: Place, scope: String| {
        let all = ACTIONS.iter().filter(|action| action.place == place);
        let (data, actions): (Vec<_>, Vec<_>) = all.partition(|action| action.is_on_data());
        let names = |actions: Vec<&image_factory::azure::actions::Action>| {
            actions.iter().map(|action| action.name.to_owned()).collect()
        };
        let (name, actions, data_actions) = (place.name().to_owned(), names(actions), names(data));
        let role = Role { name, actions, data_actions, ..Role::default() };
        assignments.push(RoleAssignment { principal: principal.clone(), scope, role });
    };
    let own = format!("/subscriptions/{}", world::FACTORY_SUBSCRIPTION);
    let group = format!("{own}/resourceGroups/{}", world::FACTORY_GROUP);
    give(Place::FactoryLab, group.clone());
    give(Place::ServiceBus, world::namespace_id());
    give(Place::Machines, own.clone());
    for subscription in
        [own, format!("/subscriptions/{SUBSCRIPTION}"), format!("/subscriptions/{OTHER_SUBSCRIPTION}")]
    {
        give(Place::Subscription, subscription);
    }
    for (subscription, lab) in [(SUBSCRIPTION, WEB), (OTHER_SUBSCRIPTION, DATA)] {
        let lab = format!(
            "/subscriptions/{subscription}/resourceGroups/rg-{lab}/providers/Microsoft.DevTestLab/labs/{lab}"
        );
        let account = world.lab(&lab).unwrap().storage_account().to_owned();
        give(Place::LabStorage, world.storage.accounts[&account].id.clone());
        give(Place::TeamLab, lab);
    }
    let account = world.lab(&factory.factory_lab()).unwrap().storage_account().to_owned();
    for place in [Place::LabStorage, Place::FactoryStorage] {
        give(place, world.storage.accounts[&account].id.clone());
    }
    let container =
        format!("{}/blobServices/default/containers/{}", world::ledger_account_id(), world::LEDGER_CONTAINER);
    give(Place::Ledger, container);
    assignments
}

#[test]
fn the_factorys_own_roles_are_enough_for_the_doctor_and_each_action_that_is_missing_is_named() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let all = own_roles(&factory);
        let assign = |assignments: &[RoleAssignment]| {
            factory.host.sim.world().arm.role_assignments = Some(assignments.to_vec());
        };
        assign(&all);
        let diagnosis = examined(&factory).await;
        assert!(trouble(&diagnosis).is_empty(), "{:#?}", trouble(&diagnosis));

        let on_machines = "Microsoft.Compute/disks/beginGetAccess/action";
        for (place, action, verdict) in [
            (Place::FactoryLab, "Microsoft.Resources/deployments/write", Verdict::Failed),
            (Place::FactoryLab, "Microsoft.DevTestLab/labs/virtualMachines/delete", Verdict::Failed),
            (Place::Machines, on_machines, Verdict::Warning),
            (Place::TeamLab, "Microsoft.DevTestLab/labs/customImages/write", Verdict::Failed),
            (Place::TeamLab, "Microsoft.DevTestLab/labs/customImages/delete", Verdict::Failed),
            (
                Place::LabStorage,
                "Microsoft.Storage/storageAccounts/blobServices/containers/write",
                Verdict::Failed,
            ),
            (Place::Subscription, "Microsoft.Compute/locations/diskOperations/read", Verdict::Failed),
        ] {
            let mut fewer = all.clone();
            for assignment in fewer.iter_mut().filter(|one| one.role.name == place.name()) {
                assignment.role.actions.retain(|name| name != action);
            }
            assign(&fewer);
            let diagnosis = examined(&factory).await;
            let found = trouble(&diagnosis);
            assert!(!found.is_empty(), "{action}");
            for finding in found {
                let fix = finding.fix.as_deref().unwrap_or_default();
                assert_eq!((finding.check, finding.verdict), ("roles", verdict), "{finding:?}");
                assert!(
                    finding.found.contains(action) && finding.subject.starts_with(place.name()),
                    "{finding:?}"
                );
                let role = format!("--role 'Image factory <environment>: {}'", place.roles()[0]);
                let who = factory.host.sim.world().identity.managed_identity.object_id.clone();
                for part in
                    ["az role assignment create", &role, &who, "ServicePrincipal", "--scope '/subscriptions/"]
                {
                    assert!(fix.contains(part), "{part}: {fix}");
                }
            }
        }
    });
}

#[test]
fn a_role_that_leaves_an_action_out_does_not_allow_it() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let action_part = "labs/customImages/write".to_owned();
        let denial = Denial { action_part, scope_part: "labs/web".to_owned(), ..Denial::default() };
        control::set_denials(&factory.host.sim, vec![denial]);
        let diagnosis = examined(&factory).await;
        only_failed(
            &diagnosis,
            "roles",
            "team lab web",
            "labs/customImages/write",
            "--scope '/subscriptions/",
        );
    });
}

#[test]
fn a_person_sees_what_another_identity_lacks() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let identity = "0d5b3f6e-2f3c-4b57-9f0e-3a4c8a2d7b11";
        let caller = factory.host.sim.world().identity.managed_identity.object_id.clone();
        let mut assignments: Vec<RoleAssignment> = own_roles(&factory)
            .into_iter()
            .filter(|one| one.role.name != Place::TeamLab.name())
            .map(|one| RoleAssignment { principal: identity.to_owned(), ..one })
            .collect();
        for subscription in [world::FACTORY_SUBSCRIPTION, SUBSCRIPTION, OTHER_SUBSCRIPTION] {
            let scope = format!("/subscriptions/{subscription}");
            // An owner may do nothing to data.
            let role = Role { data_actions: vec!["Microsoft.Storage/*".to_owned()], ..Role::owner() };
            assignments.push(RoleAssignment { principal: caller.clone(), scope, role });
        }
        factory.host.sim.world().arm.role_assignments = Some(assignments);
        assert!(trouble(&examined(&factory).await).is_empty(), "the caller may do everything");
        let reached = Reached { identity: Some(identity.to_owned()), ..reached(&factory) };
        let diagnosis = examine(&Installation { variables: variables(), reached: Some(reached) }).await;
        let found = trouble(&diagnosis);
        let subjects: Vec<&str> = found.iter().map(|finding| finding.subject.as_str()).collect();
        assert_eq!(subjects, ["team lab web", "team lab data"], "{found:#?}");
        assert!(found.iter().all(|finding| finding.fix.as_ref().is_some_and(|fix| fix.contains(identity))));
    });
}

#[test]
fn a_lab_that_is_gone_is_named_and_what_needs_it_is_skipped() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let id = format!(
            "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-web/providers/Microsoft.DevTestLab/labs/web"
        );
        assert!(factory.host.sim.world().delete_lab(&id));
        let diagnosis = examined(&factory).await;
        let found = trouble(&diagnosis);
        assert_eq!((found[0].check, found[0].subject.as_str()), ("labs", WEB));
        assert!(
            found[0].found.contains(&id) && found[0].fix.as_ref().unwrap().contains("correct Labs.json"),
            "{found:?}"
        );
        assert_eq!((found.len(), skipped(&diagnosis)), (2, vec!["roles"]), "{found:#?}");
        let looked_at =
            |check| diagnosis.findings.iter().any(|one| one.check == check && one.subject.contains(DATA));
        assert!(
            looked_at("labs") && looked_at("roles") && looked_at("lab-storage"),
            "the others are looked at"
        );

        assert!(factory.host.sim.world().delete_lab(&factory.factory_lab()));
        let diagnosis = examined(&factory).await;
        assert_eq!(skipped(&diagnosis), ["roles", "roles", "base-images", "artifacts", "quota"]);
    });
}

#[test]
fn a_lab_that_may_not_be_read_is_told_with_the_role_that_is_needed_for_how_it_is_named() {
    scenario(async {
        let mut files = Files::new();
        files.labs[1].as_object_mut().unwrap().remove("ResourceGroup");
        let factory = Factory::new(&files).await;
        assert!(trouble(&examined(&factory).await).is_empty());
        let deny = |action: &str, scope: &str| {
            let (action_part, scope_part) = (action.to_owned(), scope.to_owned());
            control::set_denials(
                &factory.host.sim,
                vec![Denial { action_part, scope_part, ..Denial::default() }],
            );
        };
        let told = async |subject: &str| {
            let diagnosis = examined(&factory).await;
            let found =
                diagnosis.findings.iter().find(|one| one.check == "labs" && one.subject == subject).unwrap();
            assert!(
                found.verdict == Verdict::Failed && found.found.contains("AuthorizationFailed"),
                "{found:?}"
            );
            found.fix.clone().unwrap()
        };
        deny("labs/read", "labs/web");
        let fix = told(WEB).await;
        assert!(fix.contains(": team lab'") && fix.contains("/labs/web'"), "{fix}");
        deny("labs/read", &format!("{OTHER_SUBSCRIPTION}/providers"));
        let fix = told(DATA).await;
        assert!(
            fix.contains(": operations'") && fix.ends_with(&format!("'/subscriptions/{OTHER_SUBSCRIPTION}'")),
            "{fix}"
        );
        deny("labs/formulas/read", "labs/data");
        let fix = told(DATA).await;
        assert!(fix.contains(": team lab'") && fix.contains("/labs/data'"), "{fix}");
    });
}

#[test]
fn a_queue_that_is_missing_is_named_with_the_command_that_makes_it() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let broker = Broker::new(factory.host.clock().clone());
        for queue in Queue::ALL.into_iter().filter(|queue| *queue != Queue::CopyImage) {
            broker.create_queue(queue.name(), queue_settings()).unwrap();
        }
        let reached = Reached { queues: Arc::new(BrokerQueues(broker)), ..reached(&factory) };
        let diagnosis = examine(&Installation { variables: variables(), reached: Some(reached) }).await;
        let fix = "--name copy-image --lock-duration PT5M --max-delivery-count 10 --enable-duplicate-detection true";
        only_failed(&diagnosis, "queues", "copy-image", "copy-image", fix);
    });
}

#[test]
fn a_queue_that_was_made_otherwise_is_told_with_what_mends_it() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let make = |change: &dyn Fn(&mut QueueSettings)| {
            let mut settings = queue_settings();
            change(&mut settings);
            factory.host.broker.create_queue("create-vm", settings).unwrap();
        };
        make(&|made| made.max_delivery_count = 3);
        let diagnosis = examined(&factory).await;
        let fix = "queue update --resource-group <group> --namespace-name <namespace> --name create-vm --max-delivery-count 10";
        only_failed(&diagnosis, "queue-properties", "create-vm", "after 3 deliveries", fix);
        make(&|made| made.duplicate_detection_window = None);
        let diagnosis = examined(&factory).await;
        let finding = only(&diagnosis, "queue-properties", "create-vm", "--enable-duplicate-detection true");
        assert_eq!(finding.verdict, Verdict::Warning);
        let reached =
            Reached { namespace: Some("other.servicebus.windows.net".to_owned()), ..reached(&factory) };
        let diagnosis = examine(&Installation { variables: variables(), reached: Some(reached) }).await;
        assert_eq!(only(&diagnosis, "queue-properties", "", "Reader").verdict, Verdict::Warning);
    });
}

#[tokio::test]
async fn over_amqp_a_queue_that_is_missing_and_a_key_that_is_refused_are_told_apart() {
    let broker = Broker::new(factory_clock::Clock::system());
    broker.create_queue("start-run", queue_settings()).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = amqp::serve(listener, broker, Authorization::default().with_key("name", "key")).unwrap();
    let client = |key: &str| {
        let text = format!(
            "Endpoint=sb://{};SharedAccessKeyName=name;SharedAccessKey={key};UseDevelopmentEmulator=true;",
            server.local_address()
        );
        ServiceBusClient::from_connection_string(&text).unwrap()
    };
    let (right, wrong) = (client("key"), client("other"));
    assert_eq!(right.look(Queue::StartRun).await, Ok(()));
    assert!(matches!(right.look(Queue::CreateVm).await, Err(QueueTrouble::Missing(_))));
    assert!(matches!(wrong.look(Queue::StartRun).await, Err(QueueTrouble::Refused(_))));
    for client in [right, wrong] {
        client.close().await;
    }
    server.shutdown().await;
}

#[test]
fn queues_that_refuse_or_are_not_reached_are_told() {
    struct Closed(QueueTrouble);
    #[async_trait::async_trait]
    impl Queues for Closed {
        async fn look(&self, _: Queue) -> Result<(), QueueTrouble> {
            Err(self.0.clone())
        }
    }
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let with = async |trouble| {
            let reached = Reached { queues: Arc::new(Closed(trouble)), ..reached(&factory) };
            examine(&Installation { variables: variables(), reached: Some(reached) }).await
        };
        let refused = with(QueueTrouble::Refused("not authorized".to_owned())).await;
        assert_eq!(refused.count(Verdict::Failed), Queue::ALL.len());
        let fix = trouble(&refused)[0].fix.clone().unwrap();
        assert!(fix.contains("Azure Service Bus Data Sender") && fix.contains("Data Receiver"), "{fix}");
        let away = with(QueueTrouble::Unreached("no route".to_owned())).await;
        assert_eq!((away.count(Verdict::Failed), skipped(&away).len()), (1, Queue::ALL.len() - 1));
    });
}

/// A factory whose ledger's container nobody made, and perhaps with a wrong clock.
async fn unprepared(skew: time::Duration, prepare: bool) -> Factory {
    let files = Files::new().to_files();
    let configuration = Configuration::load(&files).0.unwrap();
    let options = InProcessOptions { seed: 1, profile: Profile::default(), files, origin: ORIGIN };
    let surroundings = Surroundings::new(options, &configuration).unwrap();
    let clock = surroundings.sim.clock().skewed(skew);
    let (transport, outbox) = (surroundings.transport(), surroundings.outbox());
    let instance = Instance::new(&surroundings, clock, transport, outbox).unwrap();
    if prepare {
        instance.factory.ledger.prepare().await.unwrap();
    }
    Factory::around(InProcess::of(surroundings, instance))
}

#[test]
fn a_ledger_without_its_container_is_told_with_the_command_that_makes_it() {
    scenario(async {
        let factory = unprepared(time::Duration::ZERO, false).await;
        let fix = "az storage container create --name image-factory --account-name imagefactoryledger";
        only_failed(&examined(&factory).await, "ledger", "", "ContainerNotFound", fix);
    });
}

#[test]
fn a_ledger_that_refuses_or_loses_writes_is_told() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let fault = |method: &str, skip, effect| HttpFault {
            method: Some(method.parse().unwrap()),
            url_part: "image-factory/doctor".to_owned(),
            skip,
            times: 1,
            effect,
        };
        let answer = |status: u16, code: &str| HttpEffect::Answer {
            status,
            headers: vec![("x-ms-error-code".to_owned(), code.to_owned())],
            body: String::new(),
        };
        factory.http_faults([fault("PUT", 0, answer(403, "AuthorizationPermissionMismatch"))]);
        let diagnosis = examined(&factory).await;
        only_failed(
            &diagnosis,
            "ledger",
            "",
            "AuthorizationPermissionMismatch",
            "'Image factory <environment>: ledger'",
        );
        factory.http_faults([fault("DELETE", 0, answer(403, "AuthorizationPermissionMismatch"))]);
        let diagnosis = examined(&factory).await;
        only_failed(
            &diagnosis,
            "ledger",
            "",
            "AuthorizationPermissionMismatch",
            "blobServices/default/containers/image-factory",
        );
        // A store that takes a stale version: the second write by the old ETag succeeds.
        let taken = HttpEffect::Answer {
            status: 201,
            headers: vec![("etag".to_owned(), "\"0x1\"".to_owned())],
            body: String::new(),
        };
        factory.http_faults([fault("PUT", 3, taken)]);
        only_failed(&examined(&factory).await, "ledger", "", "older version", "ETags");
    });
}

#[test]
fn an_account_that_is_named_for_its_key_and_takes_none_is_told_with_the_setting_that_names_it() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await.with_keys_of(&[WEB]);
        assert!(trouble(&examined(&factory).await).is_empty(), "it is reached with its key");
        let lab = format!(
            "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-web/providers/Microsoft.DevTestLab/labs/web"
        );
        {
            let mut world = factory.host.sim.world();
            let account = world.lab(&lab).unwrap().storage_account().to_owned();
            world.storage.accounts.get_mut(&account).unwrap().allow_shared_key_access = false;
        }
        factory.host.clock().sleep(Duration::from_secs(2 * 3600)).await;
        let diagnosis = examined(&factory).await;
        let (code, setting) = ("KeyBasedAuthenticationNotPermitted", "IMAGE_FACTORY_KEYED_ACCOUNTS");
        only_failed(&diagnosis, "lab-storage", WEB, code, setting);
    });
}

#[test]
fn a_factory_that_may_not_sign_for_its_vhds_is_told_which_role_lets_it() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let action_part = "generateUserDelegationKey".to_owned();
        control::set_denials(&factory.host.sim, vec![Denial { action_part, ..Denial::default() }]);
        let diagnosis = examined(&factory).await;
        let found = trouble(&diagnosis);
        let checks: Vec<&str> = found.iter().map(|finding| finding.check).collect();
        assert_eq!(checks, ["roles", "lab-storage"], "{found:#?}");
        let role = "--role 'Image factory <environment>: factory storage'";
        assert!(found.iter().all(|finding| finding.fix.as_ref().unwrap().contains(role)), "{found:#?}");
    });
}

/// A factory whose configuration comes from this host, read with this token, from this branch and folder.
async fn from_github(token: &str, branch: &str, folder: &str) -> Diagnosis {
    let files = Files::new();
    let factory = Factory::new(&files).await;
    let clock = factory.host.clock().clone();
    let host = Host::in_process(Kind::GitHub, "images", Served::new().unwrap(), clock.clone());
    host.state().token = Some(TOKEN.to_owned());
    let all = files.to_files().files;
    let all: Vec<_> = all.iter().map(|(name, bytes)| (format!("conf/{name}"), bytes.as_slice())).collect();
    let all: Vec<_> = all.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    host.repository().commit_by("Ada Lovelace", "main", &all).unwrap();
    let options = GitHubOptions {
        api: host.url.clone(),
        owner: "octo".to_owned(),
        repository: "images".to_owned(),
        branch: branch.parse().unwrap(),
        folder: folder.parse().unwrap(),
        access: GitHubAccess::Token(Secret::new(token.to_owned())),
    };
    let source: Arc<dyn Source> = Arc::new(GitHub::new(options, clock).carried_by(host.carrier().unwrap()));
    let mut reached = reached(&factory);
    reached.factory.source = source;
    examine(&Installation { variables: variables(), reached: Some(reached) }).await
}

#[test]
fn a_repository_is_read_as_a_run_reads_it() {
    scenario(async {
        let diagnosis = from_github(TOKEN, "main", "conf").await;
        assert!(trouble(&diagnosis).is_empty(), "{:#?}", trouble(&diagnosis));
        let configuration = diagnosis.findings.iter().find(|one| one.check == "configuration").unwrap();
        assert!(
            configuration.found.starts_with("commit ") && configuration.found.ends_with("2 images, 2 labs")
        );
    });
}

#[test]
fn a_token_that_is_refused_and_a_branch_or_folder_that_is_missing_are_told_apart() {
    scenario(async {
        for (token, branch, folder, found, fix) in [
            ("ghp_wrong", "main", "conf", "refuses access", "IMAGE_FACTORY_REPOSITORY_TOKEN"),
            (TOKEN, "devel", "conf", "devel", "IMAGE_FACTORY_BRANCH"),
            (TOKEN, "main", "configuration", "configuration", "IMAGE_FACTORY_FOLDER"),
        ] {
            let diagnosis = from_github(token, branch, folder).await;
            let finding = diagnosis.findings.iter().find(|one| one.check == "configuration").unwrap();
            assert_eq!(finding.verdict, Verdict::Failed);
            assert!(finding.found.contains(found), "{finding:?}");
            assert!(finding.fix.as_ref().unwrap().contains(fix), "{finding:?}");
            assert_eq!(skipped(&diagnosis), ["labs", "base-images", "artifacts", "quota"]);
            assert_eq!(diagnosis.count(Verdict::Failed), 1, "what does not need it is looked at, and well");
        }
    });
}

#[test]
fn a_configuration_that_is_wrong_is_told_with_each_file_and_place() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let broken = json!({"Labs": [{"SubscriptionId": "<id>", "LabName": "web", "ImagePaths": ["Linux"]}]})
            .to_string();
        factory.host.folder.change(|files| {
            files.files.insert("Labs.json".to_owned(), broken.into_bytes());
        });
        let diagnosis = examined(&factory).await;
        let found: Vec<_> =
            trouble(&diagnosis).into_iter().filter(|one| one.check == "configuration").collect();
        assert!(
            found.iter().any(|one| one.verdict == Verdict::Failed
                && one.subject == "Labs.json"
                && one.found.starts_with("$.Labs[0].SubscriptionId")),
            "{found:#?}"
        );
        assert!(found.iter().all(|one| one.fix.as_ref().unwrap().contains("image-factory validate")));
        assert_eq!(skipped(&diagnosis), ["labs", "base-images", "artifacts", "quota"]);
    });
}

#[test]
fn a_reference_to_key_vault_that_is_not_resolved_is_named_with_its_vault_and_the_rest_is_looked_at() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let reference = |secret: &str| format!("@Microsoft.KeyVault(VaultName=kv1;SecretName={secret})");
        let mut variables = variables();
        variables.insert("IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET".to_owned(), reference("github-webhook"));
        let installation = Installation { variables: variables.clone(), reached: Some(reached(&factory)) };
        let diagnosis = examine(&installation).await;
        let subject = "IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET";
        only_failed(
            &diagnosis,
            "key-vault",
            subject,
            "github-webhook of kv1",
            "--vault-name kv1 --name github-webhook",
        );

        let name = "IMAGE_FACTORY_REPOSITORY_TOKEN";
        variables.insert(name.to_owned(), reference("repository-token"));
        let reached =
            Reached { unresolved: image_factory::doctor::unresolved(&variables), ..reached(&factory) };
        let diagnosis = examine(&Installation { variables, reached: Some(reached) }).await;
        assert_eq!(skipped(&diagnosis), ["configuration", "labs", "base-images", "artifacts", "quota"]);
        assert_eq!(diagnosis.count(Verdict::Failed), 2);
    });
}

#[test]
fn settings_that_are_missing_are_all_named_and_everything_else_is_skipped() {
    scenario(async {
        let mut variables = variables();
        variables.remove("IMAGE_FACTORY_LEDGER");
        variables.remove("CleanupSchedule");
        variables.insert("IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET".to_owned(), "short".to_owned());
        let diagnosis = examine(&Installation { variables, reached: None }).await;
        let found: Vec<_> = trouble(&diagnosis).into_iter().filter(|one| one.check == "settings").collect();
        let told: Vec<_> = found.iter().map(|one| (one.subject.as_str(), one.verdict)).collect();
        let expected = [
            ("IMAGE_FACTORY_LEDGER", Verdict::Failed),
            ("CleanupSchedule", Verdict::Failed),
            ("IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET", Verdict::Warning),
        ];
        assert_eq!(told, expected, "{found:#?}");
        assert_eq!(skipped(&diagnosis).len(), 12);
    });
}

#[test]
fn an_artifact_or_a_source_that_is_missing_is_named_with_the_images_that_need_it() {
    scenario(async {
        let mut files = Files::new();
        let broken = definition(&linux(), &["linux-install-docker", "linux-instal-git"]);
        files.definitions.insert(LINUX.to_owned(), broken);
        let diagnosis = examined(&Factory::new(&files).await).await;
        only_failed(
            &diagnosis,
            "artifacts",
            "public repo",
            &format!("'linux-instal-git', which {LINUX} need"),
            "correct its name",
        );

        let files = Files::with_settings(json!({"artifactSource": "our artifacts"}));
        let diagnosis = examined(&Factory::new(&files).await).await;
        only_failed(&diagnosis, "artifacts", "our artifacts", WINDOWS, "artifactSource in factory.json");
    });
}

#[test]
fn a_quota_that_is_too_small_is_told_with_what_a_run_needs() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let quota =
            |cores| QuotaSpec { subscription_id: world::FACTORY_SUBSCRIPTION.to_owned(), cores: Some(cores) };
        control::set_quota(&factory.host.sim, &quota(4));
        assert!(trouble(&examined(&factory).await).is_empty(), "two images of two cores each");
        control::set_quota(&factory.host.sim, &quota(3));
        let diagnosis = examined(&factory).await;
        let found = trouble(&diagnosis);
        let told: Vec<_> = found.iter().map(|one| (one.check, one.subject.as_str(), one.verdict)).collect();
        let expected =
            [("quota", "cores", Verdict::Failed), ("quota", "standardDSv3Family", Verdict::Failed)];
        assert_eq!(told, expected, "{found:#?}");
        assert!(found[0].found.contains("4 needed by a run of everything, 0 of 3 in use"), "{found:?}");
        assert!(
            found[0].fix.as_ref().unwrap().contains("az quota update --resource-name cores"),
            "{found:?}"
        );
    });
}

#[test]
fn a_vm_size_that_the_region_does_not_have_is_told() {
    scenario(async {
        let factory = Factory::new(&Files::with_settings(json!({"vmSize": "Standard_D2s_v99"}))).await;
        let diagnosis = examined(&factory).await;
        let found = trouble(&diagnosis);
        assert!(
            found.len() == 2
                && found.iter().all(|one| one.check == "quota" && one.found.contains("Standard_D2s_v99")),
            "{found:#?}"
        );
    });
}

#[test]
fn an_image_that_the_marketplace_does_not_have_is_told_also_in_a_single_version() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let (publisher, offer) = ("Canonical".to_owned(), "ubuntu-24_04-lts".to_owned());
        let spec = MarketplaceSpec { publisher, offer, sku: "server".to_owned(), versions: Vec::new() };
        control::set_marketplace(&factory.host.sim, spec);
        let diagnosis = examined(&factory).await;
        let fix = "az vm image list --all --location westeurope --publisher Canonical";
        only_failed(&diagnosis, "base-images", LINUX, "Canonical:ubuntu-24_04-lts:server", fix);

        let mut files = Files::new();
        let pinned = files.definitions.get_mut(WINDOWS).unwrap();
        vm_property(pinned, "galleryImageReference")["version"] = json!("1.2.3");
        let diagnosis = examined(&Factory::new(&files).await).await;
        only_failed(&diagnosis, "base-images", WINDOWS, "no version 1.2.3", "latest");
    });
}

#[test]
fn a_machine_whose_clock_is_wrong_is_told_although_the_factory_goes_by_azures() {
    scenario(async {
        let factory = unprepared(time::Duration::minutes(9), true).await;
        let diagnosis = examined(&factory).await;
        let finding = only(&diagnosis, "clock", "", "timedatectl set-ntp true");
        assert_eq!(finding.verdict, Verdict::Failed);
        assert!(finding.found.contains("ahead of Azure's"), "{finding:?}");
        let slow = unprepared(time::Duration::seconds(-90), true).await;
        assert_eq!(only(&examined(&slow).await, "clock", "", "w32tm").verdict, Verdict::Warning);
    });
}

#[test]
fn trouble_that_passes_is_waited_out_and_trouble_that_does_not_is_no_missing_role() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let throttled = |times| HttpFault {
            method: None,
            url_part: "labs/web/".to_owned(),
            skip: 0,
            times,
            effect: HttpEffect::Answer {
                status: 429,
                headers: vec![("Retry-After".to_owned(), "7".to_owned())],
                body: String::new(),
            },
        };
        factory.http_faults([throttled(2)]);
        let began = factory.host.clock().now();
        assert!(trouble(&examined(&factory).await).is_empty());
        assert!(factory.host.clock().now() - began >= time::Duration::seconds(14), "as long as Azure asks");
        factory.http_faults([throttled(1000)]);
        let diagnosis = examined(&factory).await;
        assert!(!diagnosis.is_healthy());
        assert!(
            trouble(&diagnosis).iter().all(|one| !one
                .fix
                .as_deref()
                .unwrap_or_default()
                .contains("role assignment")),
            "{:#?}",
            trouble(&diagnosis)
        );
    });
}

#[test]
fn no_secret_is_shown_whatever_is_wrong() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let mut variables = variables();
        variables.insert(
            "ServiceBus".to_owned(),
            "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=h4nter2".to_owned(),
        );
        variables.insert(
            "IMAGE_FACTORY_LEDGER".to_owned(),
            "DefaultEndpointsProtocol=https;AccountKey=h4nter2".to_owned(),
        );
        variables.insert("IMAGE_FACTORY_GITHUB_APP_ID".to_owned(), "h4nter2".to_owned());
        let diagnosis = examine(&Installation { variables, reached: Some(reached(&factory)) }).await;
        let all = serde_json::to_string(&diagnosis).unwrap();
        for secret in ["h4nter2", TOKEN, SECRET] {
            assert!(!all.contains(secret), "{all}");
        }
        assert!(diagnosis.count(Verdict::Failed) > 0 && diagnosis.count(Verdict::Warning) > 0);
    });
}
