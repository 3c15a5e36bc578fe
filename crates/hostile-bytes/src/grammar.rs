//! What kinds of bytes there are, and their monsters.

use serde_json::Value;

use crate::tree;

/// Brackets inside each other in the monsters.
pub const DEEP: usize = 100_000;
/// Length of the longest text and number in the monsters.
const LONG: usize = 1 << 20;

/// In so many places of all samples together a giant is put.
const MOST_PLACES: usize = 60;

/// What an input is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// JSON.
    Json,
    /// XML.
    Xml,
    /// Text of any other kind.
    Text,
    /// AMQP 1.0 or other bytes with types, lengths and counts.
    Binary,
}

/// `middle` inside `depth` pairs of `open` and `close`.
pub fn nested(open: &[u8], middle: &[u8], close: &[u8], depth: usize) -> Vec<u8> {
    [&open.repeat(depth)[..], middle, &close.repeat(depth)].concat()
}

impl Grammar {
    /// Words to be put anywhere.
    pub(crate) fn words(self) -> Vec<Vec<u8>> {
        let words: &[&[u8]] = match self {
            Self::Json => &[
                b"{",
                b"}",
                b"[",
                b"]",
                b":",
                b",",
                b"\"",
                b"\\",
                b"null",
                b"true",
                b"-0",
                b"1e999",
                b"1e-999",
                b"18446744073709551616",
                b"-9223372036854775809",
                b"0.1",
                b"\\u0000",
                b"\\ud800",
                b"\\u2028",
                b"\"\"",
                b"{\"a\":",
                b"\xef\xbb\xbf",
                b"\xff",
                b"\xed\xa0\x80",
            ],
            Self::Xml => &[
                b"<",
                b">",
                b"</",
                b"/>",
                b"<a>",
                b"</a>",
                b"<a/>",
                b"&",
                b"&amp;",
                b"&#0;",
                b"&#x110000;",
                b"&lol;",
                b"<![CDATA[",
                b"]]>",
                b"<!--",
                b"-->",
                b"<?xml",
                b"?>",
                b"<!DOCTYPE a [<!ENTITY lol \"lol\">]>",
                b"xmlns=\"",
                b"\xef\xbb\xbf",
                b"\xff",
                b"\0",
            ],
            Self::Text => &[
                b"",
                b" ",
                b"\0",
                b"\n",
                b"'",
                b"\"",
                b"(",
                b")",
                b"[",
                b"]",
                b"{",
                b"}",
                b"=",
                b";",
                b"/",
                b"..",
                b",",
                b"9223372036854775807",
                b"-1",
                b"\xc3\xa9",
                b"\xf0\x9f\x98\x80",
                b"\xff",
            ],
            // Constructors, each with a length or count that promises far more than there is.
            Self::Binary => &[
                b"\x00\x53",
                b"\x00\x80",
                b"\x40",
                b"\x45",
                b"\xa0\xff",
                b"\xb0\xff\xff\xff\xff",
                b"\xc0\xff\xff",
                b"\xd0\x7f\xff\xff\xff\xff\xff\xff\xff",
                b"\xc1\x02\x01",
                b"\xe0\xff\xff\x40",
                b"\xf0\x00\x00\x00\x05\x3b\x9a\xca\x00\x40",
                b"\xf0\xff\xff\xff\xff\xff\xff\xff\xff\x45",
                b"\x80\xff\xff\xff\xff\xff\xff\xff\xff",
                b"\x83\x80\0\0\0\0\0\0\0",
                b"\x98",
                b"\xa1\x01\xff",
                b"\xa3\x03abc",
                b"\x73\x00\x11\x00\x00",
                b"\x94",
            ],
        };
        words.iter().map(|word| word.to_vec()).collect()
    }

    /// What nests.
    pub(crate) fn pairs(self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pairs: &[(&[u8], &[u8])] = match self {
            Self::Json => &[(b"[", b"]"), (b"{\"a\":", b"}"), (b"[{\"\":", b"}]")],
            Self::Xml => &[(b"<a>", b"</a>"), (b"<a b=\"", b"\"/>"), (b"<!--", b"-->")],
            Self::Text => &[(b"(", b")"), (b"[", b"]"), (b"{", b"}")],
            Self::Binary => &[
                (b"\x00\x53\x01", b""),
                (b"\x00\x00", b""),
                (b"\xd0\x00\x00\xff\xff\x00\x00\x00\x01", b""),
                (b"\xf0\x00\x00\xff\xff\x00\x00\x00\x01\xf0", b""),
            ],
        };
        pairs.iter().map(|(open, close)| (open.to_vec(), close.to_vec())).collect()
    }

    /// Inputs that are large in one way or another, alone and inside the samples.
    pub(crate) fn monsters(self, samples: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut monsters =
            vec![Vec::new(), vec![0; LONG], vec![0xff; LONG], b"9".repeat(LONG), b" ".repeat(LONG)];
        for (open, close) in self.pairs() {
            monsters.push(open.repeat(DEEP));
            monsters.push(nested(&open, b"", &close, DEEP));
        }
        monsters.extend(self.words());
        if self == Self::Json {
            let parsed = samples.iter().filter_map(|sample| serde_json::from_slice::<Value>(sample).ok());
            let places = MOST_PLACES.div_ceil(samples.len().max(1));
            for sample in parsed {
                monsters.extend(tree::with_values_replaced(&sample, places, &giants()));
            }
        } else {
            for sample in samples {
                for (open, close) in self.pairs() {
                    let (start, end) = sample.split_at(sample.len() / 2);
                    monsters.push([start, &nested(&open, b"", &close, DEEP), end].concat());
                }
            }
        }
        monsters
    }
}

/// JSON values to be put into each place of a sample.
fn giants() -> Vec<Vec<u8>> {
    vec![
        nested(b"[", b"", b"]", DEEP / 5),
        nested(b"{\"a\":", b"1", b"}", DEEP / 5),
        [&b"\""[..], &b"x".repeat(LONG / 64), b"\""].concat(),
        [&b"["[..], &b"0,".repeat(LONG / 256), b"0]"].concat(),
        b"9".repeat(1000),
        b"-1e400".to_vec(),
        b"1e308".to_vec(),
        b"18446744073709551615".to_vec(),
    ]
}
