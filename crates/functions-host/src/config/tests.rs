use super::*;

fn parse(text: &str) -> Result<HostConfig, ConfigError> {
    HostConfig::parse(text, &Settings::default())
}

const FULL: &str = r#"{"version":"2.0","functionTimeout":"00:05:00",
    "extensionBundle":{"id":"Microsoft.Azure.Functions.ExtensionBundle","version":"[4.0.0, 5.0.0)"},
    "customHandler":{"description":{"defaultExecutablePath":"image-factory","arguments":["handler"]}},
    "extensions":{"serviceBus":{"prefetchCount":0,"maxConcurrentCalls":16,"maxAutoLockRenewalDuration":"00:05:00"}}}"#;

#[test]
fn a_usual_host_json_is_understood() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.function_timeout, Some(Duration::from_secs(300)));
    assert_eq!(config.custom_handler.default_executable_path, "image-factory");
    assert_eq!(config.custom_handler.arguments, ["handler"]);
    assert_eq!(config.custom_handler.initialization_timeout, Duration::from_secs(30));
    assert!(config.custom_handler.use_std_error_stream_for_errors_only);
    assert_eq!(config.service_bus, ServiceBusOptions { max_concurrent_calls: 16, ..Default::default() });
    assert_eq!(config.route_prefix, "api");
    assert!(config.warnings.is_empty());
}

#[test]
fn minus_one_means_no_function_timeout_and_minus_one_millisecond_no_end_of_renewal() {
    let config = parse(
        r#"{"version":"2.0","functionTimeout":"-1","customHandler":{"description":{"defaultExecutablePath":"x"}},
        "extensions":{"serviceBus":{"maxAutoLockRenewalDuration":"-00:00:00.0010000"},"http":{"routePrefix":""}}}"#,
    )
    .unwrap();
    assert_eq!(config.function_timeout, None);
    assert_eq!(config.service_bus.max_auto_lock_renewal_duration, None);
    assert_eq!(config.route_prefix, "");
}

#[test]
fn what_stops_the_real_host_stops_this_one_and_names_the_place() {
    let handler = r#""customHandler":{"description":{"defaultExecutablePath":"x"}}"#;
    for (text, place) in [
        (format!("{{{handler}}}"), "version"),
        (format!(r#"{{"version":"1.0",{handler}}}"#), "version"),
        (r#"{"version":"2.0"}"#.into(), "customHandler.description.defaultExecutablePath"),
        (format!(r#"{{"version":"2.0",{handler},"functionTimeout":"soon"}}"#), "functionTimeout"),
        (
            format!(
                r#"{{"version":"2.0",{handler},"extensions":{{"serviceBus":{{"maxConcurrentCalls":0}}}}}}"#
            ),
            "extensions.serviceBus.maxConcurrentCalls",
        ),
        (format!(r#"{{"version":"2.0",{handler},"extensions":[]}}"#), "extensions"),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.contains(&format!("{place}:")), "{text}: {error}");
    }
    assert!(matches!(parse("[]"), Err(ConfigError::NotJson { .. })));
    assert!(matches!(parse("{"), Err(ConfigError::NotJson { .. })));
}

#[test]
fn the_old_service_bus_layout_is_ignored_with_a_warning() {
    let config = parse(
        r#"{"version":"2.0","customHandler":{"description":{"defaultExecutablePath":"x"}},
        "extensions":{"serviceBus":{"messageHandlerOptions":{"maxConcurrentCalls":2}}}}"#,
    )
    .unwrap();
    assert_eq!(config.service_bus.max_concurrent_calls, 16);
    assert!(config.warnings[0].contains("messageHandlerOptions"));
}

#[test]
fn percent_names_expand_and_unknown_ones_stay() {
    let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    assert_eq!(expand("x%A%y%B%%A%", &variables), "x1y%B%1");
    assert_eq!(expand("50%", &variables), "50%");
}
