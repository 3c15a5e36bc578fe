//! Addresses of queues and their sub-queues.

use super::BrokerError;

/// Longest name of a queue, in characters
/// (<https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas>).
const LONGEST_NAME: usize = 260;
/// How the dead-letter sub-queue is written, in lower case.
const DEAD_LETTER: &str = "/$deadletterqueue";

/// A queue or its dead-letter sub-queue. Names ignore case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityPath {
    queue: String,
    dead_letter: bool,
}

impl EntityPath {
    /// Reads `queue` or `queue/$DeadLetterQueue`.
    ///
    /// # Errors
    /// [`BrokerError::BadRequest`] if that is no name for a queue.
    pub fn parse(text: &str) -> Result<Self, BrokerError> {
        let lower = text.trim_matches('/').to_lowercase();
        let (queue, dead_letter) = match lower.strip_suffix(DEAD_LETTER) {
            Some(queue) => (queue.to_owned(), true),
            None => (lower, false),
        };
        let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | '~');
        if queue.is_empty() || queue.chars().count() > LONGEST_NAME || !queue.chars().all(fine) {
            // The service looks the name up and does not find it.
            return Err(BrokerError::not_found(text));
        }
        Ok(Self { queue, dead_letter })
    }

    /// The queue's name in lower case.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Whether this is the dead-letter sub-queue.
    pub fn is_dead_letter(&self) -> bool {
        self.dead_letter
    }
}
