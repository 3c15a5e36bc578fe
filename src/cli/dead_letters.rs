//! `dead-letters`: messages that could not be handled, with their reasons; and handling them once more.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use anyhow::bail;
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::json;
use servicebus::{ReceivedMessage, Receiver, ReceiverOptions, ServiceBusClient, ServiceBusMessage, SubQueue};

use super::reach::Reach;
use crate::domain::Queue;

/// Messages that one call shows.
const PAGE: usize = 100;
/// A queue that gives nothing for so long has no more.
const LAST_WAIT: Duration = Duration::from_secs(3);
/// So much of a body is shown in a table.
const SHOWN: usize = 120;

/// What to do about them.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows them with their reasons; takes nothing away.
    List(List),
    /// Sends them to their queue again, then takes them away. One that is sent twice, because this command died between the
    /// two, does no harm.
    Replay(Replay),
}

#[derive(Debug, Args)]
struct List {
    /// Only this queue's.
    #[arg(long)]
    queue: Option<Queue>,
    /// Prints JSON, bodies in whole.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Debug, Args)]
struct Replay {
    /// The queue.
    #[arg(long)]
    queue: Option<Queue>,
    /// All of them.
    #[arg(long, conflicts_with = "sequence")]
    all: bool,
    /// The numbers of messages of the queue, as `list` shows them.
    #[arg(value_name = "SEQUENCE", requires = "queue", required_unless_present = "all")]
    sequence: Vec<i64>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Arguments {
    /// Does it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::List(list) => list.run(),
            Command::Replay(replay) => replay.run(),
        }
    }
}

fn queues(only: Option<Queue>) -> Vec<Queue> {
    Queue::ALL.into_iter().filter(|queue| only.is_none_or(|only| only == *queue)).collect()
}

fn receiver(client: &ServiceBusClient, queue: Queue) -> Receiver {
    let options = ReceiverOptions { sub_queue: Some(SubQueue::DeadLetter), ..ReceiverOptions::default() };
    client.receiver(queue.name(), options)
}

/// The reason that the broker or the host noted.
fn reason(message: &ReceivedMessage) -> String {
    let parts = [&message.dead_letter_reason, &message.dead_letter_description];
    parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(": ")
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        self.reach.run(async |office| {
            let mut found = Vec::new();
            for queue in queues(self.queue) {
                let receiver = receiver(&office.client, queue);
                let mut from = 0;
                loop {
                    let page = receiver.peek(from, PAGE).await?;
                    let Some(last) = page.last() else { break };
                    from = last.sequence_number + 1;
                    found.extend(page.into_iter().map(|message| (queue, message)));
                }
            }
            if self.json {
                let line = |(queue, message): &(Queue, ReceivedMessage)| {
                    json!({"queue": queue, "sequence": message.sequence_number, "messageId": message.message_id,
                        "reason": message.dead_letter_reason, "description": message.dead_letter_description,
                        "deliveries": message.delivery_count,
                        "enqueuedAt": message.enqueued_time.map(|at| at.to_string()),
                        "body": String::from_utf8_lossy(&message.body)})
                };
                let letters: Vec<_> = found.iter().map(line).collect();
                println!("{}", serde_json::to_string_pretty(&json!({ "deadLetters": letters }))?);
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new();
            table.load_preset(presets::UTF8_FULL_CONDENSED);
            table.set_header(["Queue", "Sequence", "Reason", "Message"]);
            for (queue, message) in &found {
                let body: String = String::from_utf8_lossy(&message.body).chars().take(SHOWN).collect();
                table.add_row([queue.to_string(), message.sequence_number.to_string(), reason(message), body]);
            }
            match found.len() {
                0 => println!("there are no dead letters"),
                _ => println!("{table}"),
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

impl Replay {
    fn run(self) -> anyhow::Result<ExitCode> {
        let wanted: BTreeSet<i64> = self.sequence.iter().copied().collect();
        self.reach.run(async |office| {
            let mut replayed = Vec::new();
            for queue in queues(self.queue) {
                replayed.extend(replay(&office.client, queue, (!self.all).then_some(&wanted)).await?);
            }
            let missing: Vec<String> =
                wanted.iter().filter(|number| !replayed.contains(number)).map(i64::to_string).collect();
            match self.json {
                true => println!("{}", json!({ "replayed": replayed, "missing": missing })),
                false => println!("{} messages are sent again", replayed.len()),
            }
            if !missing.is_empty() {
                bail!("there are no dead letters with the numbers {}", missing.join(", "));
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Replays a queue's dead letters, all or those of these numbers; answers their numbers. The rest is given back in the end: given
/// back at once it would be received again.
async fn replay(
    client: &ServiceBusClient,
    queue: Queue,
    wanted: Option<&BTreeSet<i64>>,
) -> anyhow::Result<Vec<i64>> {
    let (receiver, sender) = (receiver(client, queue), client.sender(queue.name()));
    let (mut replayed, mut others) = (Vec::new(), Vec::new());
    while wanted.is_none_or(|wanted| replayed.len() < wanted.len()) {
        let messages = receiver.receive(PAGE, LAST_WAIT).await?;
        if messages.is_empty() {
            break;
        }
        for message in messages {
            if wanted.is_some_and(|wanted| !wanted.contains(&message.sequence_number)) {
                others.push(message);
                continue;
            }
            sender.send(again(&message)).await?;
            receiver.complete(&message).await?;
            replayed.push(message.sequence_number);
        }
    }
    for message in &others {
        receiver.abandon(message).await?;
    }
    Ok(replayed)
}

/// The message once more. Its id tells it from the dead one, which duplicate detection may remember, and is the same at every try.
fn again(dead: &ReceivedMessage) -> ServiceBusMessage {
    let id = dead.message_id.as_deref().unwrap_or("message");
    let mark = format!(".d{}", dead.sequence_number);
    let id: String = id.chars().take(crate::domain::messages::LONGEST_MESSAGE_ID - mark.len()).collect();
    ServiceBusMessage {
        message_id: Some(format!("{id}{mark}")),
        content_type: dead.content_type.clone(),
        subject: dead.subject.clone(),
        correlation_id: dead.correlation_id.clone(),
        ..ServiceBusMessage::new(dead.body.clone())
    }
}

#[cfg(all(test, feature = "dev"))]
mod tests {
    use azure_sim::broker::{
        Broker,
        amqp::{Authorization, serve},
    };
    use factory_clock::Clock;

    use super::*;
    use crate::dev::in_process::queue_settings;

    const QUEUE: Queue = Queue::CreateVm;

    /// The bodies and ids that the queue gives.
    async fn received(client: &ServiceBusClient) -> Vec<(String, String)> {
        let receiver = client.receiver(QUEUE.name(), ReceiverOptions::default());
        let mut found = Vec::new();
        loop {
            let messages = receiver.receive(PAGE, Duration::from_millis(300)).await.unwrap();
            if messages.is_empty() {
                return found;
            }
            for message in messages {
                receiver.complete(&message).await.unwrap();
                let body = String::from_utf8(message.body.clone()).unwrap();
                found.push((body, message.message_id.clone().unwrap()));
            }
        }
    }

    async fn listed(client: &ServiceBusClient) -> Vec<(i64, String)> {
        let letters = receiver(client, QUEUE).peek(0, PAGE).await.unwrap();
        letters.iter().map(|letter| (letter.sequence_number, reason(letter))).collect()
    }

    #[tokio::test]
    async fn dead_letters_are_listed_with_reasons_and_replayed_one_by_one_or_all() {
        let broker = Broker::new(Clock::system());
        broker.create_queue(QUEUE.name(), queue_settings()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server =
            serve(listener, broker.clone(), Authorization::default().with_key("Root", "a2V5")).unwrap();
        let client = ServiceBusClient::from_connection_string(&format!(
            "Endpoint=sb://{};SharedAccessKeyName=Root;SharedAccessKey=a2V5;UseDevelopmentEmulator=true;",
            server.local_address()
        ))
        .unwrap();
        let (sender, own) =
            (client.sender(QUEUE.name()), client.receiver(QUEUE.name(), ReceiverOptions::default()));
        for name in ["one", "two", "three"] {
            let message = ServiceBusMessage { message_id: Some(name.to_owned()), ..name.into() };
            sender.send(message).await.unwrap();
            let got = own.receive(1, Duration::from_secs(5)).await.unwrap();
            own.dead_letter(&got[0], "Poison", name).await.unwrap();
        }
        let letters = listed(&client).await;
        let reasons: Vec<&str> = letters.iter().map(|(_, reason)| reason.as_str()).collect();
        assert_eq!(reasons, ["Poison: one", "Poison: two", "Poison: three"]);

        let second = letters[1].0;
        let wanted = BTreeSet::from([second]);
        assert_eq!(replay(&client, QUEUE, Some(&wanted)).await.unwrap(), [second]);
        let id = format!("two.d{second}");
        assert_eq!(received(&client).await, [("two".to_owned(), id)], "though the broker has seen its id");
        assert_eq!(listed(&client).await.len(), 2, "the others are given back");

        assert_eq!(replay(&client, QUEUE, None).await.unwrap().len(), 2);
        assert_eq!(received(&client).await.len(), 2);
        assert!(listed(&client).await.is_empty());
        assert!(replay(&client, QUEUE, Some(&BTreeSet::from([99]))).await.unwrap().is_empty());
        server.shutdown().await;
    }
}
