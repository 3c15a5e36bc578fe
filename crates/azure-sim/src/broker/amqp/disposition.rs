//! Settlements as peers send them, read leniently: some clients send the error's info with string keys where the standard has
//! symbols, which a strict decoder refuses together with the whole connection.

use std::collections::BTreeMap;

use fe2o3_amqp_types::{
    definitions::{self, ErrorCondition, Role},
    messaging::{Accepted, DeliveryState, Modified, Rejected, Released},
    performatives,
    primitives::{SimpleValue, Symbol, Value},
};

use super::wire::{WireError, described};
use crate::broker::{BrokerError, Settlement};

const REASON: &str = "DeadLetterReason";
const DESCRIPTION: &str = "DeadLetterErrorDescription";

/// A disposition.
#[derive(Debug)]
pub(super) struct Disposition {
    /// Whether the peer speaks as the receiver of messages.
    pub(super) receiver: bool,
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) settled: bool,
    pub(super) outcome: Option<Outcome>,
}

/// What a receiver says about a delivery.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Settle(Settlement, BTreeMap<String, SimpleValue>),
    /// It has a part of it; says nothing about what shall happen.
    Received,
    /// A transaction's state, or another one that we do not know.
    Unknown,
}

impl Disposition {
    /// Reads the fields of a disposition.
    pub(super) fn from_fields(fields: Vec<Value>) -> Result<Self, WireError> {
        let mut fields = fields.into_iter();
        let mut next = || fields.next().unwrap_or(Value::Null);
        let (Value::Bool(receiver), Value::Uint(first)) = (next(), next()) else {
            return Err(WireError::Decode("a disposition without role and first".into()));
        };
        let last = match next() {
            Value::Uint(last) => last,
            _ => first,
        };
        let settled = next() == Value::Bool(true);
        let outcome = match next() {
            Value::Null => None,
            state => Some(outcome(state)),
        };
        Ok(Self { receiver, first, last, settled, outcome })
    }
}

fn outcome(state: Value) -> Outcome {
    let Some((code, value)) = described(state) else {
        return Outcome::Unknown;
    };
    let Value::List(fields) = value else {
        return Outcome::Unknown;
    };
    let mut fields = fields.into_iter();
    match code {
        0x23 => Outcome::Received,
        0x24 => Outcome::Settle(Settlement::Complete, BTreeMap::new()),
        0x25 => rejected(fields.next().unwrap_or_default()),
        0x26 => Outcome::Settle(Settlement::Release, BTreeMap::new()),
        0x27 => {
            // delivery-failed, undeliverable-here, message-annotations. Whether a delivery counts is not up to the client:
            // https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide
            let undeliverable_here = fields.nth(1) == Some(Value::Bool(true));
            let properties = properties(fields.next().unwrap_or_default());
            let settlement = if undeliverable_here { Settlement::Defer } else { Settlement::Abandon };
            Outcome::Settle(settlement, properties)
        }
        _ => Outcome::Unknown,
    }
}

fn rejected(error: Value) -> Outcome {
    let mut fields = match described(error) {
        Some((_, Value::List(fields))) => fields.into_iter(),
        _ => Vec::new().into_iter(),
    };
    let description_of_error = match fields.nth(1) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let mut properties = properties(fields.next().unwrap_or_default());
    let mut text = |name: &str| match properties.remove(name) {
        Some(SimpleValue::String(text)) => Some(text),
        _ => None,
    };
    let reason = text(REASON).unwrap_or_default();
    let description = text(DESCRIPTION).unwrap_or(description_of_error);
    Outcome::Settle(Settlement::DeadLetter { reason, description }, properties)
}

/// A map's entries that can be application properties, whether its keys are symbols or strings.
pub(super) fn properties(map: Value) -> BTreeMap<String, SimpleValue> {
    let Value::Map(map) = map else {
        return BTreeMap::new();
    };
    map.into_iter()
        .filter_map(|(key, value)| {
            let key = match key {
                Value::Symbol(key) => key.0,
                Value::String(key) => key,
                _ => return None,
            };
            Some((key, SimpleValue::try_from(value).ok()?))
        })
        .collect()
}

/// The AMQP error of a refusal.
pub(super) fn error(error: &BrokerError) -> definitions::Error {
    error_of(error.condition(), &error.to_string())
}

/// An AMQP error.
pub(super) fn error_of(condition: &str, description: &str) -> definitions::Error {
    // An empty info rather than none: the derived encoding would leave the field out, which the Python client stumbles over.
    let info = definitions::Fields::new();
    definitions::Error::new(
        ErrorCondition::Custom(Symbol::from(condition)),
        Some(description.to_owned()),
        info,
    )
}

/// The answer to a settlement: what was asked for, or the refusal.
pub(super) fn answer(outcome: &Outcome, result: Result<(), BrokerError>) -> DeliveryState {
    match (result, outcome) {
        (Err(refusal), _) => DeliveryState::Rejected(Rejected { error: Some(error(&refusal)) }),
        (Ok(()), Outcome::Settle(settlement, _)) => match settlement {
            Settlement::Complete => DeliveryState::Accepted(Accepted {}),
            // Clients take a rejection with an error for a refusal of their settlement.
            Settlement::DeadLetter { .. } => DeliveryState::Rejected(Rejected { error: None }),
            Settlement::Release => DeliveryState::Released(Released {}),
            Settlement::Abandon | Settlement::Defer => DeliveryState::Modified(Modified {
                delivery_failed: None,
                undeliverable_here: Some(*settlement == Settlement::Defer),
                message_annotations: None,
            }),
        },
        (Ok(()), Outcome::Received | Outcome::Unknown) => DeliveryState::Accepted(Accepted {}),
    }
}

/// The frame that settles delivery `id`, in the name of the sender of it or of the receiver.
pub(super) fn settled(role: Role, id: u32, state: DeliveryState) -> performatives::Disposition {
    performatives::Disposition {
        role,
        first: id,
        last: None,
        settled: true,
        state: Some(state),
        batchable: false,
    }
}
