//! Azure Service Bus client over AMQP 1.0: queues, peek-lock, scheduled messages.
