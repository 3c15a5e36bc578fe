//! Messages over AMQP, with the `servicebus` client.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use servicebus::{
    PropertyValue, ReceiveMode, ReceivedMessage, Receiver, ReceiverOptions, Sender, ServiceBusClient,
    ServiceBusMessage, SubQueue,
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{LockedMessage, MessageSink, MessageSource, Messaging, MessagingError, OutgoingMessage};
use crate::{
    bindings::EntityPath,
    newtonsoft::{self, Fraction},
    outputs::MESSAGE_CONTENT_TYPE,
    payload::service_bus::{BEGINNING, Message, NEVER},
    settings::Connection,
};

/// The application property that ties a message to the invocation that sent it
/// (azure-sdk-for-net ServiceBusCausalityHelper.cs).
const PARENT_ID_PROPERTY: &str = "$AzureWebJobsParentId";

/// Service Bus namespaces, one connection each.
pub struct ServiceBus {
    credential: Option<Arc<dyn TokenCredential>>,
    clients: Mutex<BTreeMap<Connection, ServiceBusClient>>,
}

impl ServiceBus {
    /// Namespaces that are named without a key are reached with `credential`.
    pub fn new(credential: Option<Arc<dyn TokenCredential>>) -> Self {
        Self { credential, clients: Mutex::default() }
    }

    fn client(&self, connection: &Connection) -> Result<ServiceBusClient, MessagingError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(connection) {
            return Ok(client.clone());
        }
        let client = match (connection, &self.credential) {
            (Connection::ConnectionString(text), _) => ServiceBusClient::from_connection_string(text),
            (Connection::Namespace(name), Some(credential)) => {
                ServiceBusClient::new(name, credential.clone())
            }
            (Connection::Namespace(name), None) => {
                return Err(MessagingError(format!("no credential is given for the namespace '{name}'")));
            }
        }
        .map_err(|error| failed("connect to", connection.fully_qualified_namespace(), &error))?;
        clients.insert(connection.clone(), client.clone());
        Ok(client)
    }
}

impl Messaging for ServiceBus {
    fn source(
        &self,
        connection: &Connection,
        entity: &EntityPath,
    ) -> Result<Arc<dyn MessageSource>, MessagingError> {
        let (path, dead_letter) = entity.split();
        let options = ReceiverOptions {
            mode: ReceiveMode::PeekLock,
            sub_queue: dead_letter.then_some(SubQueue::DeadLetter),
        };
        Ok(Arc::new(Source {
            entity: entity.0.clone(),
            receiver: self.client(connection)?.receiver(path, options),
            locked: Mutex::default(),
        }))
    }

    fn sink(
        &self,
        connection: &Connection,
        entity: &EntityPath,
    ) -> Result<Arc<dyn MessageSink>, MessagingError> {
        Ok(Arc::new(Sink { entity: entity.0.clone(), sender: self.client(connection)?.sender(&entity.0) }))
    }
}

fn failed(what: &str, entity: &str, error: &servicebus::Error) -> MessagingError {
    MessagingError(format!("cannot {what} '{entity}': {error}"))
}

struct Source {
    entity: String,
    receiver: Receiver,
    /// Messages that are not settled yet, by lock token.
    locked: Mutex<BTreeMap<Uuid, Arc<ReceivedMessage>>>,
}

impl Source {
    fn locked(&self, lock: Uuid) -> Result<Arc<ReceivedMessage>, MessagingError> {
        let locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        locked.get(&lock).cloned().ok_or_else(|| MessagingError(format!("no message has the lock {lock}")))
    }

    fn forget(&self, lock: Uuid) {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner).remove(&lock);
    }
}

#[async_trait]
impl MessageSource for Source {
    async fn receive(&self, max: usize, max_wait: Duration) -> Result<Vec<LockedMessage>, MessagingError> {
        let received = self.receiver.receive(max, max_wait).await;
        let received = received.map_err(|error| failed("receive from", &self.entity, &error))?;
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(received
            .into_iter()
            .map(|message| {
                let view = LockedMessage {
                    locked_until: message.locked_until.unwrap_or(BEGINNING),
                    message: view(&message),
                };
                locked.insert(message.lock_token, Arc::new(message));
                view
            })
            .collect())
    }

    async fn complete(&self, lock: Uuid) -> Result<(), MessagingError> {
        let result = self.receiver.complete(&*self.locked(lock)?).await;
        self.forget(lock);
        result.map_err(|error| failed("complete a message of", &self.entity, &error))
    }

    async fn abandon(&self, lock: Uuid) -> Result<(), MessagingError> {
        let result = self.receiver.abandon(&*self.locked(lock)?).await;
        self.forget(lock);
        result.map_err(|error| failed("abandon a message of", &self.entity, &error))
    }

    async fn renew(&self, lock: Uuid) -> Result<OffsetDateTime, MessagingError> {
        let result = self.receiver.renew_lock(&*self.locked(lock)?).await;
        result.map_err(|error| failed("renew the lock of a message of", &self.entity, &error))
    }
}

/// What the function sees of a message.
fn view(message: &ReceivedMessage) -> Message {
    Message {
        body: message.body.clone(),
        message_id: message.message_id.clone(),
        content_type: message.content_type.clone(),
        subject: message.subject.clone(),
        correlation_id: message.correlation_id.clone(),
        reply_to: message.reply_to.clone(),
        reply_to_session_id: message.reply_to_session_id.clone(),
        to: message.to.clone(),
        session_id: message.session_id.clone(),
        partition_key: message.partition_key.clone(),
        // The client has no transactions across partitions, so no message carries one.
        transaction_partition_key: None,
        delivery_count: message.delivery_count.into(),
        sequence_number: message.sequence_number,
        lock_token: message.lock_token,
        enqueued_time: message.enqueued_time.unwrap_or(BEGINNING),
        expires_at: message.expires_at.unwrap_or(NEVER),
        dead_letter_source: message.dead_letter_source.clone(),
        application_properties: message
            .application_properties
            .iter()
            .map(|(name, value)| (name.clone(), property(value)))
            .collect(),
    }
}

/// An application property as the JSON library writes its .NET value.
fn property(value: &PropertyValue) -> Value {
    match value {
        PropertyValue::Null => Value::Null,
        PropertyValue::Bool(value) => (*value).into(),
        PropertyValue::U8(value) => (*value).into(),
        PropertyValue::U16(value) => (*value).into(),
        PropertyValue::U32(value) => (*value).into(),
        PropertyValue::U64(value) => (*value).into(),
        PropertyValue::I8(value) => (*value).into(),
        PropertyValue::I16(value) => (*value).into(),
        PropertyValue::I32(value) => (*value).into(),
        PropertyValue::I64(value) => (*value).into(),
        PropertyValue::F32(value) => (*value).into(),
        PropertyValue::F64(value) => (*value).into(),
        PropertyValue::Char(value) => value.to_string().into(),
        PropertyValue::Timestamp(value) => (newtonsoft::date_time(*value, Fraction::Full) + "Z").into(),
        PropertyValue::Uuid(value) => value.to_string().into(),
        PropertyValue::Binary(value) => STANDARD.encode(value).into(),
        PropertyValue::String(value) | PropertyValue::Other(value) => value.clone().into(),
    }
}

struct Sink {
    entity: String,
    sender: Sender,
}

#[async_trait]
impl MessageSink for Sink {
    async fn send(&self, messages: Vec<OutgoingMessage>) -> Result<(), MessagingError> {
        for message in messages {
            let mut outgoing = ServiceBusMessage::new(message.body);
            outgoing.content_type = Some(MESSAGE_CONTENT_TYPE.into());
            let parent = PropertyValue::String(message.parent_id.to_string());
            outgoing.application_properties.insert(PARENT_ID_PROPERTY.into(), parent);
            self.sender.send(outgoing).await.map_err(|error| failed("send to", &self.entity, &error))?;
        }
        Ok(())
    }
}
