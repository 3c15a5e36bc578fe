//! Checks the shape of foreign AMQP bytes before they are decoded.
//!
//! The decoder calls itself for every level of nesting, so that a few kilobytes of nested lists would overflow the stack, and an
//! array of a billion nulls takes five bytes. Here nothing recurses deeper than [`DEEPEST`] and nothing is allocated.

/// Deepest nesting of lists, maps, arrays and described values that is let through; real messages have fewer than ten levels.
pub(in crate::broker) const DEEPEST: u32 = 32;

/// Walks over all values in `bytes`, one after the other.
///
/// # Errors
/// What is wrong, if a value is cut off, unknown, nested too deeply, or says that it has more elements than bytes.
pub(in crate::broker) fn check(mut bytes: &[u8]) -> Result<(), &'static str> {
    if bytes.is_empty() {
        return Err("it is empty");
    }
    while !bytes.is_empty() {
        bytes = value(bytes, DEEPEST)?;
    }
    Ok(())
}

/// Walks over one value with its constructor; returns what follows.
pub(in crate::broker) fn value(bytes: &[u8], depth: u32) -> Result<&[u8], &'static str> {
    let (code, rest) = constructor(bytes, depth)?;
    body(code, rest, depth)
}

/// Walks over a constructor (with its descriptor, if it has one); returns the format code and what follows.
fn constructor(bytes: &[u8], depth: u32) -> Result<(u8, &[u8]), &'static str> {
    let (&code, rest) = bytes.split_first().ok_or("it is cut off")?;
    if code != 0 {
        return Ok((code, rest));
    }
    let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
    let rest = value(rest, depth)?;
    constructor(rest, depth)
}

/// Walks over the bytes of a value whose constructor was read.
fn body(code: u8, bytes: &[u8], depth: u32) -> Result<&[u8], &'static str> {
    let fixed = |n: usize| bytes.get(n..).ok_or("it is cut off");
    match code >> 4 {
        0x4 => Ok(bytes),
        0x5 => fixed(1),
        0x6 => fixed(2),
        0x7 => fixed(4),
        0x8 => fixed(8),
        0x9 => fixed(16),
        0xa | 0xb => Ok(sized(bytes, code >> 4 == 0xb)?.1),
        wide @ (0xc | 0xd) => {
            let (inner, rest) = sized(bytes, wide == 0xd)?;
            let (count, mut inner) = number(inner, wide == 0xd)?;
            if count > inner.len() {
                return Err("it says that it has more elements than bytes");
            }
            let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
            for _ in 0..count {
                inner = value(inner, depth)?;
            }
            if inner.is_empty() { Ok(rest) } else { Err("a list's size and count disagree") }
        }
        wide @ (0xe | 0xf) => {
            let (inner, rest) = sized(bytes, wide == 0xf)?;
            let (count, inner) = number(inner, wide == 0xf)?;
            if count > inner.len() {
                return Err("it says that it has more elements than bytes");
            }
            let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
            if inner.is_empty() {
                return Ok(rest);
            }
            let (code, mut inner) = constructor(inner, depth)?;
            for _ in 0..count {
                inner = body(code, inner, depth)?;
            }
            if inner.is_empty() { Ok(rest) } else { Err("an array's size and count disagree") }
        }
        _ => Err("it has an unknown type"),
    }
}

/// Splits off what a size of one or four bytes announces.
fn sized(bytes: &[u8], wide: bool) -> Result<(&[u8], &[u8]), &'static str> {
    let (size, rest) = number(bytes, wide)?;
    rest.split_at_checked(size).ok_or("it is cut off")
}

fn number(bytes: &[u8], wide: bool) -> Result<(usize, &[u8]), &'static str> {
    if wide {
        let (number, rest) = bytes.split_first_chunk::<4>().ok_or("it is cut off")?;
        Ok((u32::from_be_bytes(*number) as usize, rest))
    } else {
        let (&number, rest) = bytes.split_first().ok_or("it is cut off")?;
        Ok((number.into(), rest))
    }
}
