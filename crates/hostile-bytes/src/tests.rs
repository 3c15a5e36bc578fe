use super::*;

/// What the attack says of a parser; nothing if the parser stands.
fn says(attack: Attack, parser: impl Fn(&[u8]) -> Result<(), String>) -> String {
    let result = catch_unwind(AssertUnwindSafe(|| attack.run(parser)));
    result.err().and_then(|panic| panic.downcast::<String>().ok()).map_or_else(String::new, |text| *text)
}

fn json() -> Attack {
    Attack::on("a parser", Grammar::Json).sample(br#"{"name":"x","list":[1,2,{"deep":true}]}"#)
}

fn parse(bytes: &[u8]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

#[test]
fn a_parser_that_behaves_stands() {
    assert_eq!(says(json(), |bytes| parse(bytes).map(drop)), "");
}

#[test]
fn a_parser_that_refuses_valid_input_is_found() {
    assert!(says(json(), |_| Err("no".into())).contains("a valid sample is refused: no"));
}

#[test]
fn a_panic_behind_the_syntax_is_found_and_shown_small() {
    let said = says(json(), |bytes| {
        let value = parse(bytes)?;
        // Only a document that is still JSON, with another type in one place, gets here.
        assert!(!value["list"].is_string(), "a list that is a text");
        Ok(())
    });
    assert!(said.contains("it panics: a list that is a text"), "{said}");
    assert!(said.contains("b\"{"), "{said}");
}

#[test]
fn a_silent_refusal_is_found() {
    let said = says(json(), |bytes| parse(bytes).map(drop).map_err(|_| String::new()));
    assert!(said.contains("without a reason"), "{said}");
}

#[test]
fn memory_that_the_input_is_not_worth_is_found() {
    let said = says(json(), |bytes| {
        let value = parse(bytes)?;
        // A parser that believes a declared length.
        let length = value["list"][0].as_u64().unwrap_or_default().min(1 << 30);
        std::hint::black_box(Vec::<u8>::with_capacity(length as usize));
        Ok(())
    });
    assert!(said.contains("it allocates"), "{said}");
}

#[test]
fn a_length_that_is_believed_is_found_in_bytes() {
    let attack = Attack::on("frames", Grammar::Binary).sample([0, 0, 0, 4, 1, 2, 3, 4]);
    let said = says(attack, |bytes| {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or("cut off")?;
        let length = u32::from_be_bytes(*length) as usize;
        std::hint::black_box(Vec::<u8>::with_capacity(length.min(1 << 30)));
        (length <= rest.len()).then_some(()).ok_or_else(|| "cut off".into())
    });
    assert!(said.contains("it allocates"), "{said}");
}
