"""Messages that become visible later."""

import datetime
import time

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageState
from azure.servicebus.exceptions import MessageNotFoundError

WAIT = 60


def soon(seconds):
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)
    # AMQP's times have milliseconds.
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def receive_all(client, queue, count):
    """Bodies with the moments at which they came."""
    got = []
    with client.get_queue_receiver(queue) as receiver:
        while len(got) < count:
            some = receiver.receive_messages(count, max_wait_time=WAIT)
            assert some, f"only {[str(m) for m, _ in got]} came"
            now = datetime.datetime.now(datetime.timezone.utc)
            for message in some:
                receiver.complete_message(message)
                got.append((message, now))
    return got


def test_a_message_is_scheduled_by_its_annotation(client, queue, counts):
    # Long enough for all requests on a machine that is busy.
    at = soon(15)
    with client.get_queue_sender(queue) as sender:
        sender.send_messages(ServiceBusMessage("later", scheduled_enqueue_time_utc=at))
        sender.send_messages(ServiceBusMessage("in the past", scheduled_enqueue_time_utc=soon(-60)))
        sender.send_messages(ServiceBusMessage("now"))
    assert counts(queue)["scheduled"] == 1
    with client.get_queue_receiver(queue) as receiver:
        scheduled = receiver.peek_messages(10)[0]
        assert (str(scheduled), scheduled.state) == ("later", ServiceBusMessageState.SCHEDULED)
        assert scheduled.scheduled_enqueue_time_utc == at
    got = receive_all(client, queue, 3)
    assert [str(m) for m, _ in got] == ["in the past", "now", "later"]
    message, came = got[2]
    assert came >= at
    assert message.enqueued_time_utc == at
    assert message.scheduled_enqueue_time_utc == at
    # It was appended as if it were sent at that moment.
    assert message.sequence_number > got[1][0].sequence_number


def test_messages_are_scheduled_by_request_and_cancelled(client, queue, counts):
    # Long enough for all requests on a machine that is busy.
    at = soon(15)
    messages = [ServiceBusMessage(f"{n}", message_id=f"id {n}", application_properties={"n": n}) for n in range(4)]
    with client.get_queue_sender(queue) as sender:
        numbers = sender.schedule_messages(messages, at)
        assert len(set(numbers)) == 4
        [single] = sender.schedule_messages(ServiceBusMessage("single"), at)
        assert single not in numbers
        sender.cancel_scheduled_messages(numbers[0])
        sender.cancel_scheduled_messages(numbers[2:])
        assert counts(queue)["scheduled"] == 2
        with pytest.raises(MessageNotFoundError):
            sender.cancel_scheduled_messages(numbers[0])
        with pytest.raises(MessageNotFoundError):
            sender.cancel_scheduled_messages([single, 4711])
        assert counts(queue)["scheduled"] == 2, "all or none"
    got = receive_all(client, queue, 2)
    assert [str(m) for m, _ in got] == ["1", "single"]
    assert (got[0][0].message_id, got[0][0].application_properties) == ("id 1", {b"n": 1})
    assert all(came >= at for _, came in got)
    with client.get_queue_sender(queue) as sender, pytest.raises(MessageNotFoundError):
        sender.cancel_scheduled_messages(single)


def test_a_scheduled_message_lives_from_the_moment_it_is_visible(client, make_queue):
    queue = make_queue(deadLetteringOnMessageExpiration=True)
    at = soon(3)
    with client.get_queue_sender(queue) as sender:
        sender.send_messages(
            ServiceBusMessage("a", scheduled_enqueue_time_utc=at, time_to_live=datetime.timedelta(seconds=2))
        )
    with client.get_queue_receiver(queue, sub_queue="deadletter") as receiver:
        [dead] = receiver.receive_messages(max_wait_time=WAIT)
        assert datetime.datetime.now(datetime.timezone.utc) >= at + datetime.timedelta(seconds=2)
        assert dead.dead_letter_reason == "TTLExpiredException"


def test_a_receiver_that_waits_is_woken_by_a_scheduled_message(client, queue):
    with client.get_queue_receiver(queue) as receiver:
        assert receiver.receive_messages(max_wait_time=1) == []
        at = soon(2)
        with client.get_queue_sender(queue) as sender:
            sender.schedule_messages(ServiceBusMessage("wakes"), at)
        started = time.monotonic()
        [got] = receiver.receive_messages(max_wait_time=WAIT)
        assert str(got) == "wakes"
        assert time.monotonic() - started < WAIT / 2
