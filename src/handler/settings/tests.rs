use super::{source::CONFIGURATION, *};

const GUID: &str = "8d9f1e4a-1111-4222-8333-444455556666";
const KEY: &str = "c2VjcmV0a2V5c2VjcmV0a2V5";

fn good() -> BTreeMap<String, String> {
    let lab = format!("/subscriptions/{GUID}/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/factory");
    [
        (LEDGER, "https://acct.blob.core.windows.net/image-factory"),
        (FACTORY_LAB, &lab),
        (CONFIGURATION, "/home/site/wwwroot/config"),
        (SERVICE_BUS_NAMESPACE, "ns.servicebus.windows.net"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The good settings with this one changed; an empty value is none.
fn with(name: &str, value: &str) -> Result<Settings, BadSettings> {
    let mut variables = good();
    variables.insert(name.to_owned(), value.to_owned());
    Settings::read(&variables)
}

fn problem(name: &str, value: &str) -> String {
    let BadSettings(problems) = with(name, value).err().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with(name), "{problems:?}");
    problems[0].clone()
}

#[test]
fn good_settings_are_taken_with_the_public_clouds_endpoint_and_the_systems_clock() {
    let settings = Settings::read(&good()).unwrap();
    assert_eq!(settings.resource_manager.as_str(), "https://management.azure.com/");
    assert_eq!(settings.ledger.as_str(), "https://acct.blob.core.windows.net/");
    assert_eq!(settings.ledger_container, "image-factory");
    assert_eq!(settings.clock.speed(), 1.0);
    assert!(settings.client_id.is_none());
    assert!(
        matches!(&settings.service_bus, ServiceBus::Namespace(name) if name == "ns.servicebus.windows.net")
    );
    let lab = settings.factory_lab.unwrap();
    assert_eq!((lab.subscription_id(), lab.resource_group(), lab.lab_name()), (GUID, Some("rg"), "factory"));
}

#[test]
fn all_problems_come_at_once_each_with_its_setting() {
    let variables = [
        (LEDGER, "https://acct.blob.core.windows.net"),
        (FACTORY_LAB, "factory"),
        (RESOURCE_MANAGER, "management"),
        (CLOCK_VARIABLE, "half past nine"),
        (CONFIGURATION, "  "),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let error = Settings::read(&variables.into()).err().unwrap();
    let text = error.to_string();
    for name in [LEDGER, FACTORY_LAB, RESOURCE_MANAGER, CLOCK_VARIABLE, CONFIGURATION, SERVICE_BUS_NAMESPACE]
    {
        assert!(text.contains(name), "{name} is missing: {text}");
    }
    assert_eq!(error.0.len(), 6, "{text}");
    assert_eq!(Settings::read(&BTreeMap::new()).err().unwrap().0.len(), 3);
}

#[test]
fn the_ledgers_url_names_a_container_behind_whatever_path_a_stand_in_has() {
    let of = |url: &str| {
        let settings = with(LEDGER, url).unwrap();
        (settings.ledger.to_string(), settings.ledger_container)
    };
    let pair = |url: &str, container: &str| (url.to_owned(), container.to_owned());
    assert_eq!(
        of(" http://127.0.0.1:10000/devstore/ledger/ "),
        pair("http://127.0.0.1:10000/devstore", "ledger")
    );
    assert_eq!(of("https://a.blob.core.windows.net/l/"), pair("https://a.blob.core.windows.net/", "l"));
    assert!(problem(LEDGER, "https://a.blob.core.windows.net/").contains("names no container"));
    assert!(problem(LEDGER, "").contains("is not set"));
}

#[test]
fn a_connection_string_in_the_wrong_place_is_not_repeated() {
    let storage = format!(
        "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY};EndpointSuffix=core.windows.net"
    );
    for name in [LEDGER, RESOURCE_MANAGER] {
        assert!(!problem(name, &storage).contains(KEY));
    }
}

#[test]
fn no_error_shows_the_connection_string() {
    let text = format!(
        "Endpoint=sb://localhost;SharedAccessKeyName=Root;SharedAccessKey={KEY};UseDevelopmentEmulator=true"
    );
    let mut variables = BTreeMap::from([(SERVICE_BUS.to_owned(), text)]);
    let error = Settings::read(&variables).err().unwrap();
    assert!(!format!("{error} {error:?}").contains(KEY));
    variables.extend(good());
    let settings = Settings::read(&variables).unwrap();
    assert!(matches!(settings.service_bus, ServiceBus::ConnectionString(_)), "it comes before the namespace");
    variables.insert(
        SERVICE_BUS.to_owned(),
        format!("Endpoint=nonsense;SharedAccessKey={KEY};SharedAccessKeyName=Root"),
    );
    let error = Settings::read(&variables).unwrap().factory().err().unwrap();
    assert!(!format!("{error:?} {error:#}").contains(KEY), "{error:?}");
}

#[test]
fn a_factory_lab_must_be_a_labs_resource_id() {
    for (id, reason) in [
        ("factory", "no resource id"),
        ("/subscriptions/x", "lab"),
        (
            "/subscriptions/8d9f1e4a-1111-4222-8333-444455556666/resourceGroups/rg/providers/Microsoft.Compute/disks/d",
            "names no lab",
        ),
        (
            "/subscriptions/<subscription>/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/l",
            "subscription",
        ),
    ] {
        let problem = problem(FACTORY_LAB, id);
        assert!(problem.contains(reason), "{problem}");
    }
    assert!(with(FACTORY_LAB, "").unwrap().factory_lab.is_none(), "factory.json may name it");
}

#[test]
fn only_accounts_that_are_named_are_reached_with_their_keys() {
    assert!(Settings::read(&good()).unwrap().keyed_accounts.is_empty());
    let named = with(KEYED_ACCOUNTS, " aweb4711, adata0815 ,").unwrap().keyed_accounts;
    assert_eq!(named, KeyedAccounts::from(["adata0815".to_owned(), "aweb4711".to_owned()]));
    let key = "bm90IGEgcmVhbCBrZXk=";
    let problem = problem(KEYED_ACCOUNTS, &format!("aweb4711,{key}"));
    assert!(problem.contains("part 2") && !problem.contains(key), "{problem}");
}

#[test]
fn a_sped_up_clock_is_taken_over() {
    let settings = with(CLOCK_VARIABLE, &Clock::scaled(60.0).unwrap().to_string()).unwrap();
    assert_eq!(settings.clock.speed(), 60.0);
}
