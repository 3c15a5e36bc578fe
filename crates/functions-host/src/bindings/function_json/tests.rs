use std::collections::BTreeMap;

use super::*;

fn host(bundle: bool) -> HostConfig {
    let bundle = if bundle {
        r#""extensionBundle":{"id":"Microsoft.Azure.Functions.ExtensionBundle","version":"[4.0.0, 5.0.0)"},"#
    } else {
        ""
    };
    let text = format!(
        r#"{{"version":"2.0",{bundle}"customHandler":{{"description":{{"defaultExecutablePath":"x"}}}}}}"#
    );
    HostConfig::parse(&text, &Settings::default()).unwrap()
}

fn parse(name: &str, bindings: &str) -> Result<FunctionMetadata, String> {
    let settings = Settings::new(BTreeMap::from([
        ("QUEUE".into(), "create-vm".into()),
        ("AzureWebJobs.off.Disabled".into(), "true".into()),
    ]));
    let text = format!(r#"{{"bindings":{bindings}}}"#);
    parse_function(name, &text, None, &host(true), &settings).map(|(function, _)| function)
}

#[test]
fn a_service_bus_function_is_understood() {
    let function = parse(
        "create-vm",
        r#"[{"type":"serviceBusTrigger","direction":"in","name":"message","queueName":"%QUEUE%",
            "connection":"ServiceBus","dataType":"binary"},
            {"type":"serviceBus","direction":"out","name":"next","topicName":"t"}]"#,
    )
    .unwrap();
    let Trigger::ServiceBus(trigger) = function.trigger else { panic!("{:?}", function.trigger) };
    assert_eq!(
        trigger,
        ServiceBusTrigger {
            name: "message".into(),
            entity: EntityPath("create-vm".into()),
            connection: "ServiceBus".into(),
            data_type: Some(DataType::Binary),
            cardinality: Cardinality::One,
        }
    );
    assert_eq!(
        function.outputs[0].kind,
        OutputKind::ServiceBus { entity: EntityPath("t".into()), connection: "ServiceBus".into() }
    );
}

#[test]
fn dead_letter_queues_and_subscriptions_are_entities() {
    assert_eq!(EntityPath("q/$DeadLetterQueue".into()).split(), ("q", true));
    assert_eq!(EntityPath("q/$deadletterqueue".into()).split(), ("q", true));
    assert_eq!(EntityPath("q".into()).split(), ("q", false));
    let function = parse(
        "f",
        r#"[{"type":"serviceBusTrigger","name":"m","topicName":"t","subscriptionName":"s/$DeadLetterQueue"}]"#,
    )
    .unwrap();
    let Trigger::ServiceBus(trigger) = function.trigger else { panic!() };
    assert_eq!(trigger.entity.split(), ("t/Subscriptions/s", true));
}

#[test]
fn http_and_timer_functions_are_understood() {
    let function = parse(
        "hook",
        r#"[{"type":"httpTrigger","direction":"in","name":"req","methods":["post"],"route":"/commit/{id}","authLevel":"anonymous"},
            {"type":"http","direction":"out","name":"res"}]"#,
    )
    .unwrap();
    assert!(function.is_http_in_and_out());
    let Trigger::Http(trigger) = function.trigger else { panic!() };
    assert_eq!(
        (trigger.route.as_deref(), &trigger.methods[..]),
        (Some("commit/{id}"), &["POST".to_owned()][..])
    );
    let function =
        parse("off", r#"[{"type":"timerTrigger","name":"t","schedule":"0 0 2 * * *","runOnStartup":true}]"#)
            .unwrap();
    assert!(function.disabled);
    let Trigger::Timer(timer) = function.trigger else { panic!() };
    assert!(timer.run_on_startup && timer.use_monitor);
}

#[test]
fn bad_functions_say_why() {
    let queue = r#"{"type":"serviceBusTrigger","name":"m","queueName":"q"}"#;
    for (name, bindings, reason) in [
        ("1st", format!("[{queue}]"), "not a valid function name"),
        ("host", format!("[{queue}]"), "not a valid function name"),
        ("f", "[]".into(), "At least one binding"),
        ("f", r#"[{"type":"http","direction":"out","name":"res"}]"#.into(), "No trigger binding"),
        ("f", format!(r#"[{queue},{{"type":"httpTrigger","name":"r"}}]"#), "single trigger"),
        ("f", format!(r#"[{queue},{{"type":"http","direction":"out","name":"M"}}]"#), "unique"),
        ("f", r#"[{"type":"cosmosTrigger","name":"m"}]"#.into(), "'cosmostrigger' are not registered"),
        (
            "f",
            format!(r#"[{queue},{{"type":"table","direction":"out","name":"o"}}]"#),
            "'table' are not registered",
        ),
        ("f", r#"[{"type":"serviceBusTrigger","name":"m"}]"#.into(), "bindings[0].queueName"),
        (
            "f",
            r#"[{"type":"serviceBusTrigger","name":"m","queueName":"%NOPE%"}]"#.into(),
            "app setting 'NOPE'",
        ),
        (
            "f",
            r#"[{"type":"serviceBusTrigger","name":"m","queueName":"q","dataType":"stream"}]"#.into(),
            "dataType",
        ),
        ("f", r#"[{"type":"timerTrigger","name":"t","schedule":"often"}]"#.into(), "bindings[0].schedule"),
        ("f", r#"[{"type":"httpTrigger","name":"r","route":"{x"}]"#.into(), "bindings[0].route"),
    ] {
        let error = parse(name, &bindings).unwrap_err();
        assert!(error.contains(reason), "{bindings}: {error}");
    }
}

#[test]
fn service_bus_bindings_need_the_extension_bundle() {
    let text = r#"{"bindings":[{"type":"serviceBusTrigger","name":"m","queueName":"q"}]}"#;
    let error = parse_function("f", text, None, &host(false), &Settings::default()).unwrap_err();
    assert!(error.contains("not registered"), "{error}");
}

#[test]
fn only_direct_children_with_a_function_json_are_functions() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let good = r#"{"bindings":[{"type":"serviceBusTrigger","name":"m","queueName":"q"}]}"#;
    write("b/function.json", good);
    write("a/function.json", good);
    write("functions/deep/function.json", good);
    write("empty/readme.txt", "");
    write("broken/function.json", "{");
    let functions = read_functions(root.path(), &host(true), &Settings::default()).unwrap();
    let names: Vec<_> = functions.loaded.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(functions.skipped.len(), 1);
    assert_eq!(functions.skipped[0].name, "broken");
}
