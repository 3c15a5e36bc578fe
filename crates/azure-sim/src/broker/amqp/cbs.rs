//! `$cbs`: claims based security, the node that takes tokens
//! (<https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide#claims-based-authorization>).

use fe2o3_amqp_types::{
    messaging::{
        AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties,
        message::__private::Serializable,
    },
    primitives::{OrderedMap, SimpleValue, Value},
};

use super::{authorization::path_of, connection::Peer, link::Node};
use crate::broker::{BrokerError, BrokerMessage};

/// Claims of one connection; a client has one per queue, and renewing one replaces it.
const MOST_CLAIMS: usize = 1000;

/// Answers a request to `$cbs`.
pub(super) fn answer(peer: &mut Peer, request: &BrokerMessage) -> Vec<u8> {
    let (code, description) = match put_token(peer, request) {
        Ok(()) => (202, "Accepted".to_owned()),
        Err(refusal) => refusal,
    };
    response(request, "status-code", code, "status-description", &description, None, Value::Null)
}

fn put_token(peer: &mut Peer, request: &BrokerMessage) -> Result<(), (i32, String)> {
    let bad = |why: &str| (400, why.to_owned());
    match request.property_text("operation") {
        Some("put-token") => {}
        Some("delete-token") => return Ok(()),
        _ => return Err(bad("The operation is not known.")),
    }
    let audience = request.property_text("name").ok_or_else(|| bad("The name is missing."))?;
    let kind = request.property_text("type").ok_or_else(|| bad("The type is missing."))?;
    let token = request.body();
    let token = std::str::from_utf8(&token).map_err(|_| bad("The token is no text."))?;
    peer.authorization.check(kind, token, audience).map_err(|why| (401, why.to_owned()))?;
    // The service looks the entity up right here, so that clients learn of an unknown one before they attach:
    // https://github.com/Azure/azure-service-bus/issues/451
    let known = |entity: &str| entity.is_empty() || peer.broker.has_entity(entity);
    if !Node::parse(audience).entity().is_none_or(known) {
        return Err((404, BrokerError::not_found(audience).to_string()));
    }
    let claim = path_of(audience);
    if !peer.claims.contains(&claim) {
        if peer.claims.len() >= MOST_CLAIMS {
            return Err((403, "There are too many claims on this connection.".to_owned()));
        }
        peer.claims.push(claim);
    }
    Ok(())
}

/// The answer to a request, with its status under the names that the node uses.
pub(super) fn response(
    request: &BrokerMessage,
    code_name: &str,
    code: i32,
    description_name: &str,
    description: &str,
    condition: Option<&str>,
    body: Value,
) -> Vec<u8> {
    let mut properties = Properties::new();
    let of_request = request.amqp().properties.as_ref();
    let id: Option<MessageId> =
        of_request.and_then(|p| p.message_id.clone().or_else(|| p.correlation_id.clone()));
    properties.correlation_id = id;
    let mut application = ApplicationProperties(OrderedMap::new());
    application.0.insert(code_name.into(), SimpleValue::Int(code));
    application.0.insert(description_name.into(), SimpleValue::String(description.into()));
    if let Some(condition) = condition {
        application.0.insert("errorCondition".into(), SimpleValue::Symbol(condition.into()));
    }
    let message = Message {
        header: None,
        delivery_annotations: None,
        message_annotations: None,
        properties: Some(properties),
        application_properties: Some(application),
        body: Body::Value(AmqpValue(body)),
        footer: None,
    };
    super::wire::encode(&Serializable(&message))
}
