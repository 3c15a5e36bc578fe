use std::time::Duration;

use factory_clock::Clock;
use time::{OffsetDateTime, macros::datetime};
use uuid::Uuid;

use super::*;

const START: OffsetDateTime = datetime!(2026-11-22 13:00 UTC);
const MINUTE: Duration = Duration::from_secs(60);

fn broker_with(settings: QueueSettings) -> Arc<Broker> {
    let broker = Broker::new(Clock::virtual_from(START));
    broker.create_queue("q", settings).unwrap();
    broker
}

fn broker() -> Arc<Broker> {
    broker_with(QueueSettings::default())
}

fn take(broker: &Broker, entity: &str) -> Option<Delivery> {
    broker.try_receive(entity, ReceiveMode::PeekLock).unwrap()
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn messages_come_in_the_order_in_which_they_were_sent() {
    let broker = broker();
    let numbers = broker.send("q", vec![BrokerMessage::new("a"), BrokerMessage::new("b")]).unwrap();
    assert_eq!(numbers, [1, 2]);
    let (a, b) = (take(&broker, "q").unwrap(), take(&broker, "q").unwrap());
    assert_eq!((a.message.body(), b.message.body()), (b"a".to_vec(), b"b".to_vec()));
    assert_eq!((a.sequence_number, a.delivery_count(), a.enqueued_time), (1, 1, START));
    assert!(take(&broker, "q").is_none());
}

#[tokio::test(start_paused = true)]
async fn queue_names_ignore_case_and_an_unknown_queue_is_named() {
    let broker = broker();
    broker.create_queue("Create-VM", QueueSettings::default()).unwrap();
    broker.send("CREATE-vm", vec![BrokerMessage::new("a")]).unwrap();
    assert_eq!(broker.counts("create-vm").unwrap().active, 1);
    assert_eq!(broker.queues(), ["Create-VM", "q"]);
    let error = broker.send("nowhere", vec![]).unwrap_err();
    assert_eq!(error.condition(), "amqp:not-found");
    assert_eq!(error.to_string(), "The messaging entity 'nowhere' could not be found.");
}

#[tokio::test(start_paused = true)]
async fn a_locked_message_is_invisible_until_its_lock_ends_and_then_counts_one_more_delivery() {
    let broker = broker();
    broker.send("q", vec![BrokerMessage::new("a")]).unwrap();
    let first = take(&broker, "q").unwrap();
    assert_eq!(first.locked_until, Some(START + MINUTE));
    assert_eq!(broker.counts("q").unwrap(), QueueCounts { active: 1, locked: 1, ..QueueCounts::default() });
    assert_eq!(broker.next_due("q").unwrap(), Some(START + MINUTE));
    pass(MINUTE - Duration::from_secs(1)).await;
    assert!(take(&broker, "q").is_none());
    pass(Duration::from_secs(1)).await;
    assert_eq!(broker.complete("q", first.lock_token), Err(BrokerError::LockLost));
    let second = take(&broker, "q").unwrap();
    assert_eq!((second.delivery_count(), second.lock_token == first.lock_token), (2, false));
    broker.complete("q", second.lock_token).unwrap();
    assert_eq!(broker.complete("q", second.lock_token), Err(BrokerError::LockLost));
    assert_eq!(broker.counts("q").unwrap(), QueueCounts::default());
}

#[tokio::test(start_paused = true)]
async fn renewing_holds_a_lock_longer() {
    let broker = broker();
    broker.send("q", vec![BrokerMessage::new("a")]).unwrap();
    let held = take(&broker, "q").unwrap();
    pass(MINUTE / 2).await;
    assert_eq!(broker.renew("q", held.lock_token).unwrap(), START + MINUTE + MINUTE / 2);
    pass(MINUTE - Duration::from_secs(1)).await;
    broker.complete("q", held.lock_token).unwrap();
    assert_eq!(broker.renew("q", held.lock_token), Err(BrokerError::LockLost));
}

#[tokio::test(start_paused = true)]
async fn abandoning_counts_and_releasing_does_not() {
    let broker = broker();
    broker.send("q", vec![BrokerMessage::new("a")]).unwrap();
    broker.abandon("q", take(&broker, "q").unwrap().lock_token).unwrap();
    let again = take(&broker, "q").unwrap();
    assert_eq!(again.delivery_count(), 2);
    broker.release("q", again.lock_token).unwrap();
    assert_eq!(take(&broker, "q").unwrap().delivery_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_delivered_too_often_is_dead_lettered() {
    let broker = broker_with(QueueSettings { max_delivery_count: 3, ..QueueSettings::default() });
    broker.send("q", vec![BrokerMessage::new("a")]).unwrap();
    broker.abandon("q", take(&broker, "q").unwrap().lock_token).unwrap();
    broker.abandon("q", take(&broker, "q").unwrap().lock_token).unwrap();
    take(&broker, "q").unwrap();
    pass(MINUTE).await; // the third lock runs out
    assert!(take(&broker, "q").is_none());
    let dead = take(&broker, "Q/$deadletterqueue").unwrap();
    assert_eq!(dead.message.property_text("DeadLetterReason"), Some("MaxDeliveryCountExceeded"));
    assert_eq!(
        dead.message.property_text("DeadLetterErrorDescription"),
        Some("Message could not be consumed after 3 delivery attempts.")
    );
    assert_eq!((dead.dead_letter_source.as_deref(), dead.sequence_number), (Some("q"), 1));
    // There is no dead-letter queue of the dead-letter queue: it comes back for ever.
    for _ in 0..5 {
        pass(MINUTE).await;
        let again = take(&broker, "q/$DeadLetterQueue").unwrap();
        broker.abandon("q/$DeadLetterQueue", again.lock_token).unwrap();
        let again = take(&broker, "q/$DeadLetterQueue").unwrap();
        pass(MINUTE).await;
        assert!(broker.complete("q/$DeadLetterQueue", again.lock_token).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn a_receiver_can_dead_letter_with_its_reason() {
    let broker = broker();
    broker.send("q", vec![BrokerMessage::new("a").with_property("keep", "me".to_owned())]).unwrap();
    let held = take(&broker, "q").unwrap();
    broker.dead_letter("q", held.lock_token, "Poison", "does not parse").unwrap();
    assert_eq!(broker.counts("q").unwrap(), QueueCounts { dead_letter: 1, ..QueueCounts::default() });
    let dead = take(&broker, "q/$DeadLetterQueue").unwrap();
    assert_eq!(dead.message.property_text("DeadLetterReason"), Some("Poison"));
    assert_eq!(dead.message.property_text("DeadLetterErrorDescription"), Some("does not parse"));
    assert_eq!(dead.message.property_text("keep"), Some("me"));
    broker.complete("q/$DeadLetterQueue", dead.lock_token).unwrap();
    assert_eq!(broker.counts("q").unwrap().dead_letter, 0);
}

#[tokio::test(start_paused = true)]
async fn expired_messages_are_dropped_or_dead_lettered_as_the_queue_says() {
    for (bury, dead_letters) in [(false, 0), (true, 1)] {
        let broker = broker_with(QueueSettings {
            dead_lettering_on_message_expiration: bury,
            ..QueueSettings::default()
        });
        broker.send("q", vec![BrokerMessage::new("a").with_time_to_live(MINUTE)]).unwrap();
        pass(MINUTE).await;
        let expected = QueueCounts { dead_letter: dead_letters, ..QueueCounts::default() };
        assert_eq!(broker.counts("q").unwrap(), expected);
        if let Some(dead) = take(&broker, "q/$DeadLetterQueue") {
            assert_eq!(dead.message.property_text("DeadLetterReason"), Some("TTLExpiredException"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_queues_default_caps_the_time_to_live_and_a_lock_keeps_a_message_from_expiring() {
    let broker = broker_with(QueueSettings {
        default_message_time_to_live: Some(MINUTE / 2),
        ..QueueSettings::default()
    });
    broker
        .send("q", vec![BrokerMessage::new("a").with_time_to_live(10 * MINUTE), BrokerMessage::new("b")])
        .unwrap();
    let held = take(&broker, "q").unwrap();
    assert_eq!(held.expires_at, Some(START + MINUTE / 2));
    let lost = take(&broker, "q").unwrap();
    pass(MINUTE - Duration::from_secs(1)).await;
    broker.complete("q", held.lock_token).unwrap();
    broker.abandon("q", lost.lock_token).unwrap();
    assert_eq!(broker.counts("q").unwrap(), QueueCounts::default());
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_message_waits_for_its_time_and_gets_a_new_number_then() {
    let broker = broker();
    let due = START + 5 * MINUTE;
    let numbers = broker
        .send(
            "q",
            vec![BrokerMessage::new("late").with_scheduled_enqueue_time(due), BrokerMessage::new("now")],
        )
        .unwrap();
    assert_eq!(
        broker.counts("q").unwrap(),
        QueueCounts { active: 1, scheduled: 1, ..QueueCounts::default() }
    );
    assert_eq!(take(&broker, "q").unwrap().message.body(), b"now");
    assert!(take(&broker, "q").is_none());
    assert_eq!(broker.peek("q", 0, 10).unwrap()[0].state, MessageState::Scheduled);
    pass(5 * MINUTE).await;
    let (now, late) = (take(&broker, "q").unwrap(), take(&broker, "q").unwrap());
    assert_eq!((now.message.body(), late.message.body()), (b"now".to_vec(), b"late".to_vec()));
    assert_eq!(late.enqueued_time, due);
    assert!(late.sequence_number > numbers[1]);
}

#[tokio::test(start_paused = true)]
async fn a_scheduled_message_can_be_cancelled_until_it_is_visible() {
    let broker = broker();
    let late = |minutes| BrokerMessage::new("late").with_scheduled_enqueue_time(START + minutes * MINUTE);
    let numbers = broker.send("q", vec![late(1), late(2)]).unwrap();
    broker.cancel_scheduled("q", &numbers[..1]).unwrap();
    assert_eq!(broker.cancel_scheduled("q", &numbers), Err(BrokerError::MessageNotFound(numbers[0])));
    assert_eq!(broker.counts("q").unwrap().scheduled, 1);
    pass(2 * MINUTE).await;
    assert!(broker.cancel_scheduled("q", &numbers[1..]).is_err());
    assert_eq!(broker.drain("q").unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_message_with_the_same_id_is_dropped_within_the_window() {
    let window = QueueSettings::DEFAULT_DUPLICATE_DETECTION_WINDOW;
    let broker =
        broker_with(QueueSettings { duplicate_detection_window: Some(window), ..QueueSettings::default() });
    let message = || BrokerMessage::new("a").with_message_id("one");
    assert_eq!(broker.send("q", vec![message(), message()]).unwrap(), [1, 1]);
    assert_eq!(broker.drain("q").unwrap().len(), 1);
    pass(window - Duration::from_secs(1)).await;
    broker.send("q", vec![message().with_scheduled_enqueue_time(START + window * 2)]).unwrap();
    broker.send("q", vec![BrokerMessage::new("no id"), BrokerMessage::new("no id")]).unwrap();
    assert_eq!(broker.counts("q").unwrap(), QueueCounts { active: 2, ..QueueCounts::default() });
    pass(Duration::from_secs(1)).await;
    broker.send("q", vec![message().with_scheduled_enqueue_time(START + window * 2), message()]).unwrap();
    assert_eq!(
        broker.counts("q").unwrap(),
        QueueCounts { active: 2, scheduled: 1, ..QueueCounts::default() }
    );
}

#[tokio::test(start_paused = true)]
async fn a_deferred_message_comes_back_by_its_number_only() {
    let broker = broker();
    broker.send("q", vec![BrokerMessage::new("a")]).unwrap();
    broker.defer("q", take(&broker, "q").unwrap().lock_token).unwrap();
    assert!(take(&broker, "q").is_none());
    assert_eq!(broker.counts("q").unwrap(), QueueCounts { deferred: 1, ..QueueCounts::default() });
    let held = broker.receive_deferred("q", &[1], ReceiveMode::PeekLock).unwrap().remove(0);
    assert_eq!((held.state, held.delivery_count()), (MessageState::Deferred, 2));
    assert_eq!(
        broker.receive_deferred("q", &[1], ReceiveMode::PeekLock),
        Err(BrokerError::MessageNotFound(1)),
        "it is locked"
    );
    broker.abandon("q", held.lock_token).unwrap();
    assert!(take(&broker, "q").is_none(), "an abandoned deferred message stays deferred");
    let held = broker.receive_deferred("q", &[1], ReceiveMode::PeekLock).unwrap().remove(0);
    broker.complete("q", held.lock_token).unwrap();
    assert!(broker.receive_deferred("q", &[1], ReceiveMode::PeekLock).is_err());
}

#[tokio::test(start_paused = true)]
async fn receive_and_delete_leaves_nothing_behind() {
    let broker = broker();
    broker.send("q", vec![BrokerMessage::new("a")]).unwrap();
    let got = broker.try_receive("q", ReceiveMode::ReceiveAndDelete).unwrap().unwrap();
    assert_eq!((got.lock_token, got.locked_until), (Uuid::nil(), None));
    assert_eq!(broker.counts("q").unwrap(), QueueCounts::default());
}

#[tokio::test(start_paused = true)]
async fn peeking_sees_every_state_and_changes_nothing() {
    let broker = broker();
    broker
        .send(
            "q",
            vec![
                BrokerMessage::new("a"),
                BrokerMessage::new("b").with_scheduled_enqueue_time(START + MINUTE),
            ],
        )
        .unwrap();
    take(&broker, "q").unwrap();
    let seen = broker.peek("q", 0, 10).unwrap();
    assert_eq!(seen.iter().map(|d| d.sequence_number).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(broker.peek("q", 2, 10).unwrap().len(), 1);
    assert_eq!(broker.peek("q", 0, 1).unwrap().len(), 1);
    assert_eq!(
        broker.counts("q").unwrap(),
        QueueCounts { active: 1, locked: 1, scheduled: 1, ..Default::default() }
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_receiver_wakes_for_a_sent_a_scheduled_and_an_unlocked_message() {
    let broker = broker();
    let receive = |wait| {
        let broker = broker.clone();
        tokio::spawn(async move { broker.receive("q", 10, wait).await.unwrap() })
    };
    let waiting = receive(10 * MINUTE);
    pass(MINUTE).await;
    broker.send("q", vec![BrokerMessage::new("a").with_scheduled_enqueue_time(START + 3 * MINUTE)]).unwrap();
    assert_eq!(waiting.await.unwrap().len(), 1);
    assert_eq!(broker.clock().now(), START + 3 * MINUTE);
    // Its lock ends by itself a minute later.
    assert_eq!(receive(10 * MINUTE).await.unwrap()[0].delivery_count(), 2);
    assert_eq!(broker.clock().now(), START + 4 * MINUTE);
    assert!(receive(MINUTE / 2).await.unwrap().is_empty());
    assert_eq!(broker.clock().now(), START + 4 * MINUTE + MINUTE / 2);
}

#[tokio::test(start_paused = true)]
async fn a_restart_ends_all_locks_and_keeps_all_messages() {
    let broker = broker();
    broker.send("q", vec![BrokerMessage::new("a"), BrokerMessage::new("b")]).unwrap();
    let held = take(&broker, "q").unwrap();
    broker.restart();
    assert_eq!(broker.complete("q", held.lock_token), Err(BrokerError::LockLost));
    assert_eq!(broker.counts("q").unwrap(), QueueCounts { active: 2, ..QueueCounts::default() });
    assert_eq!(take(&broker, "q").unwrap().delivery_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_the_queue_takes_is_refused_and_nothing_of_its_batch_is_kept() {
    let broker = broker_with(QueueSettings { max_message_size: 1000, ..QueueSettings::default() });
    let error =
        broker.send("q", vec![BrokerMessage::new("a"), BrokerMessage::new(vec![0; 1000])]).unwrap_err();
    assert_eq!(error.condition(), "amqp:link:message-size-exceeded");
    assert_eq!(broker.counts("q").unwrap(), QueueCounts::default());
}

#[tokio::test(start_paused = true)]
async fn settings_outside_azures_bounds_are_refused() {
    let broker = Broker::new(Clock::virtual_from(START));
    for settings in [
        QueueSettings { lock_duration: 6 * MINUTE, ..QueueSettings::default() },
        QueueSettings { lock_duration: Duration::ZERO, ..QueueSettings::default() },
        QueueSettings { max_delivery_count: 0, ..QueueSettings::default() },
        QueueSettings {
            duplicate_detection_window: Some(Duration::from_secs(1)),
            ..QueueSettings::default()
        },
    ] {
        assert!(broker.create_queue("x", settings).is_err());
    }
    for name in ["", "/", "a b", "x/$DeadLetterQueue", "$management"] {
        assert!(broker.create_queue(name, QueueSettings::default()).is_err(), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn lock_tokens_are_the_same_in_every_run() {
    let tokens = || {
        let broker = broker();
        broker.send("q", vec![BrokerMessage::new("a"), BrokerMessage::new("b")]).unwrap();
        [take(&broker, "q").unwrap().lock_token, take(&broker, "q").unwrap().lock_token]
    };
    assert_eq!(tokens(), tokens());
    assert_ne!(tokens()[0], tokens()[1]);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_an_id_gets_one() {
    let broker = broker();
    broker
        .send(
            "q",
            vec![
                BrokerMessage::new("a"),
                BrokerMessage::new("b"),
                BrokerMessage::new("c").with_message_id("mine"),
            ],
        )
        .unwrap();
    let ids: Vec<_> =
        broker.drain("q").unwrap().into_iter().map(|d| d.message.message_id().unwrap()).collect();
    assert!(ids[0].len() == 32 && ids[0] != ids[1] && ids[2] == "mine", "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn receivers_see_the_time_to_live_that_the_queue_allows() {
    let broker =
        broker_with(QueueSettings { default_message_time_to_live: Some(MINUTE), ..QueueSettings::default() });
    let messages = [10 * MINUTE, MINUTE / 2].map(|ttl| BrokerMessage::new("a").with_time_to_live(ttl));
    broker.send("q", messages.into_iter().chain([BrokerMessage::new("a")]).collect()).unwrap();
    let shown: Vec<_> = broker.peek("q", 0, 3).unwrap().iter().map(|m| m.message.time_to_live()).collect();
    assert_eq!(shown, [Some(MINUTE), Some(MINUTE / 2), Some(MINUTE)]);
}

#[tokio::test(start_paused = true)]
async fn a_deferred_message_carries_its_lock_token() {
    let broker = broker();
    broker.send("q", vec![BrokerMessage::new("a")]).unwrap();
    let message = take(&broker, "q").unwrap();
    broker.defer("q", message.lock_token).unwrap();
    let deferred = broker.receive_deferred("q", &[1], ReceiveMode::PeekLock).unwrap().remove(0);
    let sent = BrokerMessage::decode(&deferred.to_amqp_with_token()).unwrap();
    let annotations = &sent.amqp().delivery_annotations.as_ref().unwrap().0;
    let token = fe2o3_amqp_types::primitives::Value::Uuid(deferred.lock_token.into_bytes().into());
    let name = fe2o3_amqp_types::messaging::annotations::OwnedKey::from("x-opt-lock-token");
    assert_eq!(annotations.get(&name), Some(&token));
}
