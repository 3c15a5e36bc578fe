//! The handshake before AMQP proper: protocol headers and SASL.

use bytes::{Buf, BytesMut};
use fe2o3_amqp_types::{
    primitives::{Array, Symbol},
    sasl::{SaslCode, SaslInit, SaslMechanisms, SaslOutcome},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{
    authorization::Authorization,
    wire::{self, RawFrame, SASL_FRAME, WireError},
};

const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// What the real service offers. All but PLAIN leave the proof to `$cbs`.
const MECHANISMS: [&str; 4] = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"];

/// Leads a peer to the point where it may send its open frame. `input` keeps what it sent beyond that.
/// Says whether the peer proved to have the key and needs no token.
pub(super) async fn handshake(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    input: &mut BytesMut,
    authorization: &Authorization,
) -> Result<bool, WireError> {
    let mut header = read_header(reader, input).await?;
    let mut trusted = authorization.is_open();
    if header == SASL_HEADER {
        write(writer, &SASL_HEADER).await?;
        let offer = Array::from(MECHANISMS.map(Symbol::from).to_vec());
        send(writer, &SaslMechanisms { sasl_server_mechanisms: offer }).await?;
        let init = read_frame(reader, input).await?;
        if init.kind != SASL_FRAME {
            return Err(WireError::Protocol("expected a SASL frame"));
        }
        super::shape::value(&init.body, super::shape::DEEPEST).map_err(WireError::Framing)?;
        let init: SaslInit =
            serde_amqp::from_slice(&init.body).map_err(|e| WireError::Decode(format!("sasl-init: {e}")))?;
        let code = match init.mechanism.as_str() {
            "PLAIN" => {
                let proof = init.initial_response.as_deref().map_or(&[][..], Vec::as_slice);
                trusted = knows_plain(authorization, proof);
                if trusted { SaslCode::Ok } else { SaslCode::Auth }
            }
            mechanism if MECHANISMS.contains(&mechanism) => SaslCode::Ok,
            _ => SaslCode::Auth,
        };
        let refused = code != SaslCode::Ok;
        send(writer, &SaslOutcome { code, additional_data: None }).await?;
        if refused {
            return Err(WireError::Protocol("SASL authentication failed"));
        }
        header = read_header(reader, input).await?;
    }
    // Whatever else it was, the answer is the header that would be right.
    write(writer, &AMQP_HEADER).await?;
    if header == AMQP_HEADER { Ok(trusted) } else { Err(WireError::Protocol("unknown protocol header")) }
}

/// `[authorization id] NUL user NUL password`: the key's name and the key.
fn knows_plain(authorization: &Authorization, proof: &[u8]) -> bool {
    let mut parts = proof.split(|byte| *byte == 0).skip(1).map(String::from_utf8_lossy);
    matches!((parts.next(), parts.next()), (Some(name), Some(key)) if authorization.knows(&name, &key))
}

async fn send(writer: &mut (impl AsyncWrite + Unpin), body: &impl serde::Serialize) -> Result<(), WireError> {
    let mut out = BytesMut::new();
    wire::put_frame(&mut out, SASL_FRAME, 0, &wire::encode(body), &[]);
    write(writer, &out).await
}

/// Writes all of it, through what TLS would keep, too.
async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), WireError> {
    writer.write_all(bytes).await?;
    Ok(writer.flush().await?)
}

async fn read_header(
    reader: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
) -> Result<[u8; 8], WireError> {
    loop {
        if let Some(header) = input.first_chunk::<8>().copied() {
            input.advance(8);
            return Ok(header);
        }
        fill(reader, input).await?;
    }
}

/// The next frame, waited for.
pub(super) async fn read_frame(
    reader: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
) -> Result<RawFrame, WireError> {
    loop {
        if let Some(frame) = wire::next_frame(input)? {
            return Ok(frame);
        }
        fill(reader, input).await?;
    }
}

async fn fill(reader: &mut (impl AsyncRead + Unpin), input: &mut BytesMut) -> Result<(), WireError> {
    if reader.read_buf(input).await? == 0 {
        return Err(WireError::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}
