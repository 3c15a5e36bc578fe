//! Searching texts for secrets, in every form in which something may have written them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use aho_corasick::AhoCorasick;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Shorter texts turn up by chance.
const SHORTEST: usize = 10;
/// Of what is at least this long, its halves are secret as well: messages are cut.
const HALVED: usize = 24;
/// By so much of its beginning a form is known: enough not to turn up by chance, and little enough for a quick search.
const KNOWN_BY: usize = 16;

/// What must not be seen, by its value, each with what it is. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Arc<Mutex<BTreeMap<String, &'static str>>>);

/// A secret that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leak {
    pub what: &'static str,
    pub place: String,
    /// The secret as it stands there, with what is around it.
    pub text: String,
}

impl Secrets {
    /// Adds a value; a percent-encoded one counts decoded, too.
    pub fn add(&self, what: &'static str, value: &str) {
        let decoded = percent_decode_str(value).decode_utf8_lossy().into_owned();
        for value in [value.to_owned(), decoded] {
            assert!(value.len() >= SHORTEST, "{what} is too short to be searched for: {value}");
            self.0.lock().unwrap().entry(value).or_insert(what);
        }
    }

    /// What kinds of secrets there are.
    pub fn kinds(&self) -> BTreeSet<&'static str> {
        self.0.lock().unwrap().values().copied().collect()
    }

    /// A value of each kind.
    pub fn one_of_each(&self) -> BTreeMap<&'static str, String> {
        self.0.lock().unwrap().iter().map(|(value, what)| (*what, value.clone())).collect()
    }

    /// Searches all texts, each with its place.
    pub fn search<'a>(&self, texts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<Leak> {
        let secrets = self.0.lock().unwrap();
        let mut known: BTreeMap<Vec<u8>, &'static str> = BTreeMap::new();
        for (value, what) in &*secrets {
            for mut form in forms(value) {
                form.truncate(KNOWN_BY);
                known.entry(form).or_insert(what);
            }
        }
        let searcher = AhoCorasick::new(known.keys()).unwrap();
        let kinds: Vec<&'static str> = known.into_values().collect();
        let mut leaks = BTreeSet::new();
        for (place, text) in texts {
            for found in searcher.find_iter(text) {
                let around = found.start().saturating_sub(120)..(found.end() + 40).min(text.len());
                leaks.insert(Leak {
                    what: kinds[found.pattern().as_usize()],
                    place: place.to_owned(),
                    text: String::from_utf8_lossy(&text[around]).into_owned(),
                });
            }
        }
        leaks.into_iter().collect()
    }
}

/// A value as it may have been written.
pub fn forms(value: &str) -> BTreeSet<Vec<u8>> {
    let mut parts = vec![value];
    if value.len() >= HALVED {
        let half = (value.len() / 2..).find(|at| value.is_char_boundary(*at)).unwrap();
        parts.extend([&value[..half], &value[half..]]);
    }
    let mut forms = BTreeSet::new();
    for part in parts {
        let encoded = utf8_percent_encode(part, NON_ALPHANUMERIC).to_string();
        let twice = utf8_percent_encode(&encoded, NON_ALPHANUMERIC).to_string();
        let json = serde_json::to_string(part).unwrap();
        let xml = part.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
        // As URLs encode what they must not hold, and no more.
        let some = part.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let hexadecimal = part.bytes().map(|byte| format!("{byte:02x}")).collect();
        let texts = [
            part.to_owned(),
            encoded.to_lowercase(),
            some.to_lowercase(),
            some,
            encoded,
            twice,
            json[1..json.len() - 1].to_owned(),
            xml,
            hexadecimal,
        ];
        forms.extend(texts.map(String::into_bytes));
        // In the middle of something that is base64 as a whole a text stands in one of three ways.
        for engine in [&STANDARD, &URL_SAFE] {
            for before in 0..3 {
                let padded = [&[0; 2][..before], part.as_bytes()].concat();
                let whole = engine.encode(padded);
                // The characters at its ends depend on its neighbours.
                let first = [0, 2, 3][before];
                let last = (before + part.len()) * 8 / 6;
                forms.insert(whole.as_bytes()[first..last].to_vec());
            }
        }
    }
    forms
}

#[test]
fn a_secret_is_found_in_every_form_and_place() {
    let secrets = Secrets::default();
    let value = "Hunter2+/&\"quite=long<one>";
    secrets.add("a password", value);
    let encoded = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    let written = [
        format!("login {value}!"),
        serde_json::json!({"password": value}).to_string(),
        serde_json::json!({"text": serde_json::json!({"password": "x"}).to_string(), "p": value}).to_string(),
        format!("https://x/?p={encoded}&q"),
        format!("https://x/?p={}", encoded.to_lowercase()),
        format!("https://x/?u={}", utf8_percent_encode(&format!("p={encoded}"), NON_ALPHANUMERIC)),
        format!("cut {}", &value[..15]),
        format!("…{}", &value[12..]),
        value.bytes().map(|byte| format!("{byte:02x}")).collect(),
        URL_SAFE.encode(format!("a{value}")),
        STANDARD.encode(value),
        STANDARD.encode(format!("a{value}z")),
        STANDARD.encode(format!("ab{value}yz")),
        STANDARD.encode(format!("abc:{value}xyz")),
    ];
    for text in &written {
        let leaks = secrets.search([("a log", text.as_bytes())]);
        assert!(leaks.iter().any(|leak| leak.what == "a password" && leak.place == "a log"), "{text}");
    }
    let harmless = ["Hunter2", "password", "***", "quite long"];
    for text in harmless {
        assert_eq!(secrets.search([("a log", text.as_bytes())]), [], "{text}");
    }
}
