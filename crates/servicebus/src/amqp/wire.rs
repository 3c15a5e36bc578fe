//! Frames to and from bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fe2o3_amqp_types::performatives::Performative;
use serde::Serialize;

use super::shape;
use crate::{Error, Result};

/// Largest frame that this client takes and sends, in bytes: Service Bus's own limit.
pub(super) const MAX_FRAME_SIZE: usize = 65_536;
/// Bytes of a frame's header.
const HEADER: usize = 8;
/// The types of frames.
pub(super) const AMQP_FRAME: u8 = 0;
pub(super) const SASL_FRAME: u8 = 1;

/// A frame as it came.
pub(super) struct RawFrame {
    pub(super) kind: u8,
    pub(super) body: Bytes,
}

/// Takes the next whole frame out of `input`, if there is one.
pub(super) fn next_frame(input: &mut BytesMut) -> Result<Option<RawFrame>> {
    let Some(size) = input.first_chunk::<4>().map(|size| u32::from_be_bytes(*size) as usize) else {
        return Ok(None);
    };
    if !(HEADER..=MAX_FRAME_SIZE).contains(&size) {
        return Err(Error::Protocol("a frame's size is out of bounds".into()));
    }
    if input.len() < size {
        return Ok(None);
    }
    let mut frame = input.split_to(size).freeze();
    frame.advance(4);
    let offset = usize::from(frame.get_u8()) * 4;
    let kind = frame.get_u8();
    let _channel = frame.get_u16();
    if offset < HEADER || offset > size {
        return Err(Error::Protocol("a frame's data offset is out of bounds".into()));
    }
    frame.advance(offset - HEADER);
    Ok(Some(RawFrame { kind, body: frame }))
}

/// The performative of a frame and what follows it; `None` for a frame that only keeps the connection alive.
pub(super) fn decode(mut body: Bytes) -> Result<Option<(Performative, Bytes)>> {
    if body.is_empty() {
        return Ok(None);
    }
    let broken = |why: String| Error::Protocol(format!("cannot decode a frame: {why}"));
    let rest = shape::value(&body, shape::DEEPEST).map_err(|e| broken(e.into()))?.len();
    let performative = body.split_to(body.len() - rest);
    let performative = serde_amqp::from_slice(&performative).map_err(|e| broken(e.to_string()))?;
    Ok(Some((performative, body)))
}

/// Bytes of `performative`.
pub(super) fn encode(performative: &impl Serialize) -> Result<Vec<u8>> {
    serde_amqp::to_vec(performative).map_err(|e| Error::Protocol(format!("cannot encode a frame: {e}")))
}

/// Appends a frame on channel 0, the only one that this client uses.
pub(super) fn put_frame(out: &mut BytesMut, kind: u8, performative: &[u8], payload: &[u8]) {
    let size = HEADER + performative.len() + payload.len();
    out.reserve(size);
    out.put_u32(u32::try_from(size).unwrap_or(u32::MAX));
    out.put_u8(2);
    out.put_u8(kind);
    out.put_u16(0);
    out.put_slice(performative);
    out.put_slice(payload);
}
