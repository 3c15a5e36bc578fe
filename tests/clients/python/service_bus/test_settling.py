"""What becomes of a message that was received."""

import datetime
import time

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageState, ServiceBusReceiveMode
from azure.servicebus.exceptions import (
    MessageAlreadySettled,
    MessageLockLostError,
    MessageNotFoundError,
    ServiceBusError,
)

WAIT = 60


def send(client, queue, *bodies, **properties):
    with client.get_queue_sender(queue) as sender:
        for body in bodies:
            sender.send_messages(ServiceBusMessage(body, **properties))


def one(receiver):
    got = receiver.receive_messages(max_wait_time=WAIT)
    assert len(got) == 1
    return got[0]


@pytest.fixture
def slow_clock(monkeypatch):
    """This client refuses to settle what it believes to be expired, without asking the broker. With a clock that is an hour
    slow it asks."""
    from azure.servicebus._common import message

    now = message.utc_now
    monkeypatch.setattr(message, "utc_now", lambda: now() - datetime.timedelta(hours=1))


def until(done):
    """Waits until something is done."""
    deadline = time.monotonic() + WAIT
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def settlements(receiver):
    return receiver.complete_message, receiver.abandon_message, receiver.defer_message, receiver.dead_letter_message


def test_peeking_changes_nothing(client, queue, counts):
    send(client, queue, "a", "b", "c")
    with client.get_queue_receiver(queue) as receiver:
        assert [str(m) for m in receiver.peek_messages(10)] == ["a", "b", "c"]
        # The next peek goes on behind the last one.
        assert receiver.peek_messages(10) == []
        assert [str(m) for m in receiver.peek_messages(2, sequence_number=2)] == ["b", "c"]
        held = one(receiver)
        assert str(held) == "a"
        [locked] = receiver.peek_messages(1, sequence_number=1)
        assert (str(locked), locked.state) == ("a", ServiceBusMessageState.ACTIVE), "what is locked shows too"
        receiver.abandon_message(held)
    assert counts(queue)["active"] == 3


def test_a_completed_message_is_gone_and_locked_ones_are_hidden(client, queue, counts):
    send(client, queue, "a", "b")
    with client.get_queue_receiver(queue) as first, client.get_queue_receiver(queue) as second:
        held = one(first)
        other = one(second)
        assert (str(held), str(other)) == ("a", "b")
        assert second.receive_messages(max_wait_time=1) == []
        first.complete_message(held)
        second.complete_message(other)
        with pytest.raises(MessageAlreadySettled):
            first.complete_message(held)
    assert counts(queue) == {"active": 0, "scheduled": 0, "deadLetter": 0, "locked": 0, "deferred": 0, "accepted": 2}


def test_an_abandoned_message_comes_again_with_one_delivery_more(client, queue):
    send(client, queue, "a")
    with client.get_queue_receiver(queue) as receiver:
        for earlier in range(3):
            message = one(receiver)
            assert message.delivery_count == earlier
            receiver.abandon_message(message)
        receiver.complete_message(one(receiver))


def test_after_so_many_deliveries_a_message_is_dead(client, make_queue):
    queue = make_queue(maxDeliveryCount=3)
    send(client, queue, "poison", application_properties={"own": "kept"})
    with client.get_queue_receiver(queue) as receiver:
        for _ in range(3):
            receiver.abandon_message(one(receiver))
        assert receiver.receive_messages(max_wait_time=1) == []
    with client.get_queue_receiver(queue, sub_queue="deadletter") as receiver:
        dead = one(receiver)
        assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
        assert "3" in dead.dead_letter_error_description
        assert dead.dead_letter_source == queue
        assert dead.application_properties[b"own"] == b"kept"
        receiver.complete_message(dead)


def test_a_dead_letter_has_its_reason_and_description(client, queue, counts):
    send(client, queue, "a", "b")
    with client.get_queue_receiver(queue) as receiver:
        receiver.dead_letter_message(one(receiver), reason="Poison", error_description="it does not parse")
        receiver.dead_letter_message(one(receiver))
    assert (counts(queue)["active"], counts(queue)["deadLetter"]) == (0, 2)
    with client.get_queue_receiver(queue, sub_queue="deadletter") as receiver:
        assert [str(m) for m in receiver.peek_messages(5)] == ["a", "b"]
        first, second = one(receiver), one(receiver)
        assert first.dead_letter_reason == "Poison"
        assert first.dead_letter_error_description == "it does not parse"
        assert first.application_properties[b"DeadLetterReason"] == b"Poison"
        assert first.dead_letter_source == queue
        assert not second.dead_letter_reason
        # Dead letters come again like others, and never die a second time.
        receiver.abandon_message(first)
        again = one(receiver)
        assert str(again) == "a"
        receiver.renew_message_lock(again)
        receiver.complete_message(again)
        receiver.complete_message(second)
    assert counts(queue)["deadLetter"] == 0


def test_a_deferred_message_comes_by_its_number_only(client, queue, counts):
    send(client, queue, "a", "b")
    with client.get_queue_receiver(queue) as receiver:
        message = one(receiver)
        receiver.defer_message(message)
        number = message.sequence_number
        assert str(one(receiver)) == "b"
        assert receiver.receive_messages(max_wait_time=1) == []
        assert counts(queue)["deferred"] == 1
        [peeked] = receiver.peek_messages(1, sequence_number=number)
        assert peeked.state == ServiceBusMessageState.DEFERRED

        [again] = receiver.receive_deferred_messages(number)
        assert (str(again), again.sequence_number, again.delivery_count) == ("a", number, 1)
        left = again.locked_until_utc - datetime.datetime.now(datetime.timezone.utc)
        assert left > datetime.timedelta(seconds=30)
        with pytest.raises(MessageNotFoundError):
            receiver.receive_deferred_messages([number])
        before = again.locked_until_utc
        time.sleep(0.1)
        assert receiver.renew_message_lock(again) > before
        # An abandoned one stays deferred.
        receiver.abandon_message(again)
        [again] = receiver.receive_deferred_messages([number])
        assert again.delivery_count == 2
        receiver.defer_message(again)
        [again] = receiver.receive_deferred_messages([number])
        receiver.complete_message(again)
        with pytest.raises(MessageNotFoundError):
            receiver.receive_deferred_messages([number])
        with pytest.raises(MessageNotFoundError):
            receiver.receive_deferred_messages([4711])
    assert counts(queue)["deferred"] == 0


def test_a_deferred_message_can_be_dead_lettered_or_deleted_as_it_is_received(client, queue, counts):
    send(client, queue, "a", "b")
    with client.get_queue_receiver(queue) as receiver:
        messages = [one(receiver), one(receiver)]
        for message in messages:
            receiver.defer_message(message)
        [deferred] = receiver.receive_deferred_messages(messages[0].sequence_number)
        receiver.dead_letter_message(deferred, reason="Late", error_description="too late for it")
    with client.get_queue_receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver:
        [deleted] = receiver.receive_deferred_messages(messages[1].sequence_number)
        assert str(deleted) == "b"
    assert (counts(queue)["deferred"], counts(queue)["deadLetter"]) == (0, 1)
    with client.get_queue_receiver(queue, sub_queue="deadletter") as receiver:
        dead = one(receiver)
        assert (dead.dead_letter_reason, dead.dead_letter_error_description) == ("Late", "too late for it")


def test_receive_and_delete_deletes(client, queue, counts):
    send(client, queue, "a", "b")
    with client.get_queue_receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver:
        message = one(receiver)
        assert (str(message), message.locked_until_utc) == ("a", None)
        with pytest.raises(ValueError):
            receiver.complete_message(message)
        assert str(one(receiver)) == "b"
    assert counts(queue)["active"] == 0


def test_a_lock_that_is_renewed_holds(client, make_queue, counts):
    queue = make_queue(lockSeconds=10)
    send(client, queue, "a")
    with client.get_queue_receiver(queue) as receiver, client.get_queue_receiver(queue) as other:
        message = one(receiver)
        for _ in range(4):
            before = message.locked_until_utc
            time.sleep(3)
            until = receiver.renew_message_lock(message)
            assert until == message.locked_until_utc and until > before
        assert other.receive_messages(max_wait_time=1) == [], "12 seconds are more than the lock lasts by itself"
        receiver.complete_message(message)
    assert counts(queue)["active"] == 0


def test_a_lock_that_ran_out_is_lost_and_the_message_comes_again(client, make_queue):
    queue = make_queue(lockSeconds=2)
    send(client, queue, "a")
    with client.get_queue_receiver(queue) as receiver, client.get_queue_receiver(queue) as other:
        message = one(receiver)
        again = one(other)
        assert (str(again), again.delivery_count) == ("a", 1)
        with pytest.raises(MessageLockLostError):
            receiver.complete_message(message)


def test_what_comes_too_late_changes_nothing(client, make_queue, slow_clock, counts):
    queue = make_queue(lockSeconds=8)
    send(client, queue, "a", "b", "c", "d")
    with client.get_queue_receiver(queue) as receiver:
        messages = [one(receiver) for _ in range(4)]
        until(lambda: counts(queue)["locked"] == 0)
        with pytest.raises(MessageLockLostError):
            receiver.renew_message_lock(messages[0])
        # This version of the client does not wait for the answer that they are late; the broker knows it all the same.
        for message, late in zip(messages, settlements(receiver)):
            late(message)
        # A request over the same connection: the broker has read what came before it.
        assert [str(m) for m in receiver.peek_messages(10, sequence_number=1)] == ["a", "b", "c", "d"]
    with client.get_queue_receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver:
        again = [one(receiver) for _ in range(4)]
        assert [(str(m), m.delivery_count) for m in again] == [("a", 1), ("b", 1), ("c", 1), ("d", 1)]
    assert counts(queue)["deadLetter"] == 0


def test_a_late_settlement_of_a_deferred_message_is_told(client, make_queue, slow_clock, counts):
    queue = make_queue(lockSeconds=8)
    send(client, queue, "a", "b", "c", "d")
    with client.get_queue_receiver(queue) as receiver:
        numbers = []
        for _ in range(4):
            message = one(receiver)
            receiver.defer_message(message)
            numbers.append(message.sequence_number)
        late = receiver.receive_deferred_messages(numbers)
        until(lambda: counts(queue)["locked"] == 0)
        for message, settle in zip(late, settlements(receiver)):
            with pytest.raises(MessageLockLostError):
                settle(message)
        assert counts(queue)["deferred"] == 4


def test_the_last_lock_that_runs_out_makes_a_dead_letter(client, make_queue):
    queue = make_queue(lockSeconds=1, maxDeliveryCount=2)
    send(client, queue, "a")
    with client.get_queue_receiver(queue) as receiver:
        assert [one(receiver).delivery_count for _ in range(2)] == [0, 1]
    with client.get_queue_receiver(queue, sub_queue="deadletter") as receiver:
        assert one(receiver).dead_letter_reason == "MaxDeliveryCountExceeded"


def test_a_lock_survives_its_connection(connection_string, client, queue):
    from azure.servicebus import ServiceBusClient

    send(client, queue, "a")
    with ServiceBusClient.from_connection_string(connection_string) as gone:
        with gone.get_queue_receiver(queue) as receiver:
            one(receiver)
    with client.get_queue_receiver(queue) as receiver:
        assert receiver.receive_messages(max_wait_time=2) == []


def test_an_expired_message_is_dropped_or_dead_lettered(client, make_queue, counts):
    dropping = make_queue()
    burying = make_queue(deadLetteringOnMessageExpiration=True)
    short = datetime.timedelta(seconds=2)
    for queue in (dropping, burying):
        send(client, queue, "short", time_to_live=short)
        send(client, queue, "long")
    with client.get_queue_receiver(burying, sub_queue="deadletter") as receiver:
        dead = one(receiver)
        assert (str(dead), dead.dead_letter_reason) == ("short", "TTLExpiredException")
        assert dead.dead_letter_error_description
        receiver.complete_message(dead)
    with client.get_queue_receiver(dropping) as receiver:
        until(lambda: counts(dropping)["active"] == 1)
        assert str(one(receiver)) == "long"
    assert counts(dropping)["deadLetter"] == 0


def test_the_queue_caps_the_time_to_live(client, make_queue):
    queue = make_queue(defaultTimeToLiveSeconds=15, deadLetteringOnMessageExpiration=True)
    send(client, queue, "an hour", time_to_live=datetime.timedelta(hours=1))
    send(client, queue, "for ever")
    with client.get_queue_receiver(queue) as receiver:
        for message in receiver.peek_messages(2):
            assert message.time_to_live == datetime.timedelta(seconds=15)
            assert message.expires_at_utc - message.enqueued_time_utc == datetime.timedelta(seconds=15)
    with client.get_queue_receiver(queue, sub_queue="deadletter") as receiver:
        assert [str(one(receiver)), str(one(receiver))] == ["an hour", "for ever"]


def test_a_lock_keeps_a_message_from_expiring(client, make_queue, counts):
    queue = make_queue(deadLetteringOnMessageExpiration=True)
    send(client, queue, "a", "b", time_to_live=datetime.timedelta(seconds=15))
    with client.get_queue_receiver(queue) as receiver:
        held = [one(receiver), one(receiver)]
        time.sleep(16)
        receiver.complete_message(held[0])
        assert counts(queue)["deadLetter"] == 0
        # It goes back to the queue, and is expired there.
        receiver.abandon_message(held[1])
    with client.get_queue_receiver(queue, sub_queue="deadletter") as receiver:
        assert str(one(receiver)) == "b"


def test_what_was_received_by_one_link_is_settled_by_another(client, queue, counts):
    send(client, queue, "a")
    receiver = client.get_queue_receiver(queue)
    message = one(receiver)
    receiver.close()
    with client.get_queue_receiver(queue) as other:
        message._receiver = other
        try:
            other.complete_message(message)
        except ServiceBusError as error:
            pytest.fail(f"by its lock token it can be settled: {error!r}")
    assert counts(queue)["active"] == 0


def test_messages_are_iterated_over_until_no_more_come(client, queue, counts):
    send(client, queue, *[str(n) for n in range(30)])
    seen = []
    with client.get_queue_receiver(queue, max_wait_time=5, prefetch_count=10) as receiver:
        for message in receiver:
            seen.append(str(message))
            receiver.complete_message(message)
    assert seen == [str(n) for n in range(30)]
    assert counts(queue)["active"] == 0
