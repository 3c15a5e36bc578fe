use std::collections::BTreeSet;

use super::*;

#[test]
fn every_value_names_a_rule_and_every_rule_is_shown() {
    let rules = rules();
    let mut named = BTreeSet::new();
    for request in requests() {
        let lines = [&request.headers, &request.data, &request.metadata, &request.absent, &request.differs];
        let lines = lines.into_iter().flatten().map(|(_, stated)| stated);
        for stated in lines.chain(&request.unbound) {
            assert!(rules.contains_key(&stated.rule), "{}: there is no rule '{}'", request.name, stated.rule);
            named.insert(stated.rule.clone());
        }
    }
    for file in answers() {
        for answer in file.answers {
            assert!(rules.contains_key(&answer.rule), "{}: there is no rule '{}'", file.name, answer.rule);
            named.insert(answer.rule);
        }
    }
    let unshown: Vec<&String> = rules.keys().filter(|rule| !named.contains(*rule)).collect();
    assert!(unshown.is_empty(), "no value shows {unshown:?}");
}

#[test]
fn every_rule_says_something_and_has_a_public_source() {
    const PUBLIC: [&str; 5] = ["Azure/", "Microsoft", "Newtonsoft.Json", "anthonychu/", "open-telemetry/"];
    for (name, (says, source)) in rules() {
        assert!(says.len() > 10, "{name}");
        assert!(PUBLIC.iter().any(|public| source.starts_with(public)), "{name}: {source}");
    }
}
