//! Changes to bytes, whatever they mean.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};

/// Nothing grows beyond this, in bytes.
const LARGEST: usize = 256 * 1024;
/// Most changes of one input.
const MOST_EDITS: usize = 8;
/// Numbers at which lengths and counts go wrong, big-endian.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    u64::MAX,
];

#[derive(Clone, Debug)]
enum Edit {
    Flip(Index, u32),
    Set(Index, u8),
    CutOff(Index),
    Remove(Index, Index),
    Repeat(Index, Index, usize),
    Insert(Index, Vec<u8>),
    Number(Index, u64, usize),
    Splice(Index, Vec<u8>, Index),
    Deepen(Index, (Vec<u8>, Vec<u8>), usize),
}

/// Mutated samples most of the time, now and then noise, or words without a plan.
pub(crate) fn mutated(
    samples: &[Vec<u8>],
    words: &[Vec<u8>],
    pairs: &[(Vec<u8>, Vec<u8>)],
) -> BoxedStrategy<Vec<u8>> {
    let edits = vec(edit(samples, words, pairs), 1..MOST_EDITS);
    let mutated = (select(samples.to_vec()), edits).prop_map(|(sample, edits)| apply(sample, &edits));
    let noise = vec(any::<u8>(), 0..300);
    let babble = vec(select(words.to_vec()), 0..40).prop_map(|words| words.concat());
    prop_oneof![8 => mutated, 1 => noise, 1 => babble].boxed()
}

fn edit(
    samples: &[Vec<u8>],
    words: &[Vec<u8>],
    pairs: &[(Vec<u8>, Vec<u8>)],
) -> impl Strategy<Value = Edit> + use<> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0..8_u32).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        1 => at().prop_map(Edit::CutOff),
        2 => (at(), at()).prop_map(|(from, to)| Edit::Remove(from, to)),
        2 => (at(), at(), 1..200_usize).prop_map(|(from, to, times)| Edit::Repeat(from, to, times)),
        4 => (at(), select(words.to_vec())).prop_map(|(at, word)| Edit::Insert(at, word)),
        4 => (at(), select(&NUMBERS[..]), select(&[1_usize, 2, 4, 8][..]))
            .prop_map(|(at, number, width)| Edit::Number(at, number, width)),
        2 => (at(), select(samples.to_vec()), at()).prop_map(|(at, other, from)| Edit::Splice(at, other, from)),
        1 => (at(), select(pairs.to_vec()), 1..2000_usize)
            .prop_map(|(at, pair, times)| Edit::Deepen(at, pair, times)),
    ]
}

fn apply(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        change(&mut bytes, edit);
        bytes.truncate(LARGEST);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, edit: &Edit) {
    let length = bytes.len();
    // A place between two bytes, the ends included.
    let gap = |at: &Index| at.index(length + 1);
    let span = |one: &Index, other: &Index| {
        let (one, other) = (gap(one), gap(other));
        one.min(other)..one.max(other)
    };
    match edit {
        Edit::Flip(..) | Edit::Set(..) if length == 0 => {}
        Edit::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
        Edit::Set(at, byte) => bytes[at.index(length)] = *byte,
        Edit::CutOff(at) => bytes.truncate(gap(at)),
        Edit::Remove(from, to) => drop(bytes.drain(span(from, to))),
        Edit::Repeat(from, to, times) => {
            let span = span(from, to);
            let times = (*times).min(LARGEST / span.len().max(1));
            let piece = bytes[span.clone()].repeat(times);
            bytes.splice(span.end..span.end, piece);
        }
        Edit::Insert(at, word) => drop(bytes.splice(gap(at)..gap(at), word.iter().copied())),
        Edit::Number(at, number, width) => {
            let at = gap(at);
            let number = &number.to_be_bytes()[8 - width..];
            bytes.splice(at..(at + width).min(length), number.iter().copied());
        }
        Edit::Splice(at, other, from) => {
            bytes.truncate(gap(at));
            bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
        }
        Edit::Deepen(at, (open, close), times) => {
            let (start, end) = bytes.split_at(gap(at));
            *bytes = [start, &open.repeat(*times), &close.repeat(*times), end].concat();
        }
    }
}
