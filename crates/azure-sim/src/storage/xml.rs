//! The XML of Blob Storage.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::{
    Reader,
    escape::{escape, partial_escape, resolve_xml_entity},
    events::Event,
};

use super::error::Error;

/// A document that is being written.
pub(super) struct Document {
    text: String,
    open: Vec<&'static str>,
}

/// What stays as it is in a percent-encoded name.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

impl Document {
    /// A document with an empty root.
    pub fn new(root: &'static str) -> Self {
        Self::with_attributes(root, &[])
    }

    /// A document with an empty root that has attributes.
    pub fn with_attributes(root: &'static str, attributes: &[(&str, &str)]) -> Self {
        let mut text = format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><{root}");
        for (name, value) in attributes {
            text += &format!(" {name}=\"{}\"", escape(*value));
        }
        text.push('>');
        Self { text, open: vec![root] }
    }

    /// Opens an element.
    pub fn open(&mut self, name: &'static str) {
        self.text += &format!("<{name}>");
        self.open.push(name);
    }

    /// Closes the element that was opened last.
    pub fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.text += &format!("</{name}>");
        }
    }

    /// An element with text in it.
    pub fn text(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            self.text += &format!("<{name} />");
        } else {
            self.text += &format!("<{name}>{}</{name}>", partial_escape(value));
        }
    }

    /// An element with a blob's name in it: percent-encoded, and marked so, where XML cannot carry the name.
    pub fn name(&mut self, value: &str) {
        if value.chars().all(is_xml) {
            self.text("Name", value);
        } else {
            let encoded = utf8_percent_encode(value, PLAIN);
            self.text += &format!("<Name Encoded=\"true\">{encoded}</Name>");
        }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }
}

/// Whether XML 1.0 can carry the character.
fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// Elements inside each other: the service's documents have at most five levels, and each leaf tells its whole path.
const DEEPEST: usize = 32;

/// The elements with text in them, in order: the path of names from below the root, and the text.
pub(super) fn leaves(body: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let body = std::str::from_utf8(body).map_err(|_| Error::invalid_xml())?;
    let mut reader = Reader::from_str(body.trim_start_matches('\u{feff}'));
    let mut path: Vec<String> = Vec::new();
    let mut leaves = Vec::new();
    let mut text = String::new();
    let mut is_leaf = false;
    let name_of = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    loop {
        match reader.read_event().map_err(|_| Error::invalid_xml())? {
            Event::Start(_) if path.len() >= DEEPEST => return Err(Error::invalid_xml()),
            Event::Start(start) => {
                path.push(name_of(start.local_name().as_ref()));
                text.clear();
                is_leaf = true;
            }
            Event::Empty(start) => {
                let mut path = path.clone();
                path.push(name_of(start.local_name().as_ref()));
                leaves.push((path[1..].join("/"), String::new()));
                is_leaf = false;
            }
            Event::Text(part) => text += &part.xml_content().map_err(|_| Error::invalid_xml())?,
            Event::CData(part) => text += &part.decode().map_err(|_| Error::invalid_xml())?,
            Event::GeneralRef(reference) => {
                let name = reference.decode().map_err(|_| Error::invalid_xml())?;
                let number = reference.resolve_char_ref().map_err(|_| Error::invalid_xml())?;
                let value = match number {
                    Some(c) => Cow::Owned(c.to_string()),
                    None => Cow::Borrowed(resolve_xml_entity(&name).ok_or_else(Error::invalid_xml)?),
                };
                text += &value;
            }
            Event::End(_) => {
                if is_leaf && path.len() > 1 {
                    leaves.push((path[1..].join("/"), text.trim().to_owned()));
                }
                is_leaf = false;
                path.pop();
            }
            Event::Eof if path.is_empty() => return Ok(leaves),
            Event::Eof => return Err(Error::invalid_xml()),
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) | Event::Comment(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let mut document = Document::new("Tags");
        document.open("Tag");
        document.text("Key", "a<b&\"");
        document.text("Value", "");
        let leaves = leaves(document.finish().as_bytes()).unwrap();
        let expected = [("Tag/Key", "a<b&\""), ("Tag/Value", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        assert_eq!(leaves, expected);
    }

    #[test]
    fn broken_documents_are_refused() {
        for text in ["<a>", "<a></b>", "<a>&nonsense;</a>", "\u{0}<"] {
            let read = leaves(text.as_bytes());
            assert!(read.is_err(), "{text}: {read:?}");
        }
    }
}

#[cfg(test)]
mod hostile {
    use hostile_bytes::{Attack, Grammar, nested};

    use super::leaves;

    #[test]
    fn no_document_breaks_the_reader() {
        let attack = Attack::on("XML", Grammar::Xml)
            .sample("\u{feff}<?xml version=\"1.0\"?><BlockList><Latest>YQ==</Latest><Committed>Yg==</Committed></BlockList>")
            .sample("<Tags><TagSet><Tag><Key>a &amp; &#98;</Key><Value><![CDATA[<c>]]></Value></Tag></TagSet></Tags>")
            .sample("<SignedIdentifiers><SignedIdentifier><Id>x</Id><AccessPolicy><Start /></AccessPolicy></SignedIdentifier></SignedIdentifiers>")
            // Each of the many leaves has a path as long as the document is deep.
            .once_broke(nested(b"<a>", &b"<b/>".repeat(20_000), b"</a>", 20_000))
            .words(["<Latest>", "<Tag>", "<Key>"]);
        attack.run(|bytes| leaves(bytes).map(drop).map_err(|error| format!("{error:?}")));
    }
}
