//! Frames to and from bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::{
    performatives::{Attach, Begin, Detach, Flow, Open, Performative, Transfer},
    primitives::Value,
};
use serde::Serialize;
use serde_amqp::descriptor::Descriptor;

use super::{disposition::Disposition, shape};

/// Largest frame that either side may send, in bytes; the real service says the same.
pub(super) const MAX_FRAME_SIZE: usize = 65_536;
/// Bytes of a frame's header.
const HEADER: usize = 8;
/// The types of frames.
pub(super) const AMQP_FRAME: u8 = 0;
pub(super) const SASL_FRAME: u8 = 1;
/// Descriptor codes of the performatives that are read leniently.
const ATTACH: u64 = 0x12;
const DISPOSITION: u64 = 0x15;

/// How many fields each performative has, by the code of its descriptor, from open to close. The service writes all of them, and
/// the Python client reads them by their place.
const FIELDS: [(u64, u8); 9] = [
    (0x10, 10),
    (0x11, 8),
    (ATTACH, 14),
    (0x13, 11),
    (0x14, 11),
    (DISPOSITION, 6),
    (0x16, 3),
    (0x17, 1),
    (0x18, 1),
];

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("framing error: {0}")]
    Framing(&'static str),
    #[error("cannot decode: {0}")]
    Decode(String),
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
    #[error("too much: {0}")]
    Limit(&'static str),
}

/// A frame as it came.
pub(super) struct RawFrame {
    pub(super) kind: u8,
    pub(super) channel: u16,
    pub(super) body: Bytes,
}

/// Takes the next whole frame out of `input`, if there is one.
pub(super) fn next_frame(input: &mut BytesMut) -> Result<Option<RawFrame>, WireError> {
    let Some(size) = input.first_chunk::<4>().map(|size| u32::from_be_bytes(*size) as usize) else {
        return Ok(None);
    };
    if !(HEADER..=MAX_FRAME_SIZE).contains(&size) {
        return Err(WireError::Framing("the size of a frame is out of bounds"));
    }
    if input.len() < size {
        return Ok(None);
    }
    let mut frame = input.split_to(size).freeze();
    frame.advance(4);
    let offset = usize::from(frame.get_u8()) * 4;
    let kind = frame.get_u8();
    let channel = frame.get_u16();
    if offset < HEADER || offset > size {
        return Err(WireError::Framing("the data offset of a frame is out of bounds"));
    }
    frame.advance(offset - HEADER);
    Ok(Some(RawFrame { kind, channel, body: frame }))
}

/// Bytes of `performative`; what is encoded here was built here, so that it can be encoded.
pub(super) fn encode(performative: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_amqp::to_vec(performative).unwrap_or_default();
    if let Some(&(_, fields)) = FIELDS.iter().find(|(code, _)| descriptor(&bytes) == Some(*code)) {
        write_out(&mut bytes, fields);
    }
    bytes
}

/// Appends nulls for the last fields, which the derived encoding leaves out.
fn write_out(performative: &mut Vec<u8>, fields: u8) {
    // All descriptors take three bytes, see `descriptor`; then come the list's constructor, size and count.
    const LIST: usize = 3;
    let written = match performative[LIST..] {
        [0x45] => {
            performative.splice(LIST.., [0xc0, 1, 0]);
            0
        }
        [0xc0, _, count, ..] => count,
        [0xd0, _, _, _, _, 0, 0, 0, count, ..] => count,
        _ => return,
    };
    let missing = fields.saturating_sub(written);
    performative.resize(performative.len() + usize::from(missing), 0x40);
    let size = performative.len() - LIST - 2;
    match u8::try_from(size) {
        Ok(size) if performative[LIST] == 0xc0 => {
            performative.splice(LIST + 1..LIST + 3, [size, written + missing]);
        }
        _ => {
            let header = if performative[LIST] == 0xc0 { 3 } else { 9 };
            let size = performative.len() - LIST - header + 4;
            let [a, b, c, d] = u32::try_from(size).unwrap_or(u32::MAX).to_be_bytes();
            performative.splice(LIST..LIST + header, [0xd0, a, b, c, d, 0, 0, 0, written + missing]);
        }
    }
}

/// Appends a frame.
pub(super) fn put_frame(out: &mut BytesMut, kind: u8, channel: u16, performative: &[u8], payload: &[u8]) {
    let size = HEADER + performative.len() + payload.len();
    out.reserve(size);
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    out.put_u8(2);
    out.put_u8(kind);
    out.put_u16(channel);
    out.put_slice(performative);
    out.put_slice(payload);
}

/// A performative that came.
pub(super) enum Incoming {
    Open(Box<Open>),
    Begin(Begin),
    Attach(Box<Attach>),
    /// An attach whose source or target is of a kind that we do not know (a transaction coordinator).
    UnknownAttach {
        name: String,
        handle: u32,
        /// Whether the peer is the receiver.
        receiver: bool,
    },
    Flow(Flow),
    Transfer(Transfer, Bytes),
    Disposition(Disposition),
    Detach(Detach),
    End,
    Close,
    /// Keeps the connection alive.
    Empty,
}

/// Decodes the body of an AMQP frame.
pub(super) fn decode(mut body: Bytes) -> Result<Incoming, WireError> {
    if body.is_empty() {
        return Ok(Incoming::Empty);
    }
    let rest = shape::value(&body, shape::DEEPEST).map_err(WireError::Framing)?.len();
    let performative = body.split_to(body.len() - rest);
    let decoded = match descriptor(&performative) {
        Some(DISPOSITION) => {
            return fields(&performative).and_then(Disposition::from_fields).map(Incoming::Disposition);
        }
        code => match serde_amqp::from_slice::<Performative>(&performative) {
            Err(_) if code == Some(ATTACH) => return unknown_attach(&performative),
            decoded => decoded.map_err(|e| WireError::Decode(e.to_string()))?,
        },
    };
    Ok(match decoded {
        Performative::Open(p) => Incoming::Open(Box::new(p)),
        Performative::Begin(p) => Incoming::Begin(p),
        Performative::Attach(p) => Incoming::Attach(Box::new(p)),
        Performative::Flow(p) => Incoming::Flow(p),
        Performative::Transfer(p) => Incoming::Transfer(p, body),
        Performative::Disposition(_) => {
            return Err(WireError::Decode("a disposition named by symbol".into()));
        }
        Performative::Detach(p) => Incoming::Detach(p),
        Performative::End(_) => Incoming::End,
        Performative::Close(_) => Incoming::Close,
    })
}

/// The descriptor's code, if it is a number.
fn descriptor(performative: &[u8]) -> Option<u64> {
    match performative {
        [0x00, 0x53, code, ..] => Some((*code).into()),
        [0x00, 0x80, rest @ ..] => rest.first_chunk::<8>().map(|code| u64::from_be_bytes(*code)),
        _ => None,
    }
}

/// The fields of a performative, of whatever types they are.
fn fields(performative: &[u8]) -> Result<Vec<Value>, WireError> {
    let value: Value = serde_amqp::from_slice(performative).map_err(|e| WireError::Decode(e.to_string()))?;
    match described(value) {
        Some((_, Value::List(fields))) => Ok(fields),
        _ => Err(WireError::Decode("a performative is no list".into())),
    }
}

/// The descriptor's code and the value of a described value.
pub(super) fn described(value: Value) -> Option<(u64, Value)> {
    match value {
        Value::Described(described) => match described.descriptor {
            Descriptor::Code(code) => Some((code, described.value)),
            Descriptor::Name(_) => None,
        },
        _ => None,
    }
}

fn unknown_attach(performative: &[u8]) -> Result<Incoming, WireError> {
    let fields = fields(performative)?;
    match fields.as_slice() {
        [Value::String(name), Value::Uint(handle), Value::Bool(receiver), ..] => {
            Ok(Incoming::UnknownAttach { name: name.clone(), handle: *handle, receiver: *receiver })
        }
        _ => Err(WireError::Decode("an attach without name, handle and role".into())),
    }
}
