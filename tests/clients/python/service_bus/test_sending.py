"""Messages arrive as they were sent."""

import datetime
import time
import uuid

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageState, ServiceBusReceiveMode
from azure.servicebus.exceptions import MessageSizeExceededError

WAIT = 60


def receive(client, queue, count, **options):
    """Receives and deletes exactly `count` messages."""
    got = []
    with client.get_queue_receiver(
        queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE, **options
    ) as receiver:
        while len(got) < count:
            some = receiver.receive_messages(count - len(got), max_wait_time=WAIT)
            assert some, f"only {len(got)} of {count} messages came"
            got += some
        assert receiver.receive_messages(1, max_wait_time=1) == []
    return got


def test_a_message_keeps_every_property(client, queue, counts):
    tag = uuid.uuid4()
    sent = ServiceBusMessage(
        b"\x00\x01\xff body",
        message_id="id 1",
        content_type="application/octet-stream",
        subject="a subject",
        correlation_id="correlated",
        reply_to="answers",
        to="somewhere",
        session_id="a session",
        reply_to_session_id="another session",
        partition_key="a session",
        time_to_live=datetime.timedelta(minutes=7),
        application_properties={
            "text": "grüße",
            "int": 5,
            "negative": -7,
            "float": 1.5,
            "bool": True,
            "uuid": tag,
        },
    )
    before = datetime.datetime.now(datetime.timezone.utc)
    with client.get_queue_sender(queue) as sender:
        sender.send_messages(sent)
    with client.get_queue_receiver(queue) as receiver:
        [got] = receiver.receive_messages(max_wait_time=WAIT)
        assert b"".join(got.body) == b"\x00\x01\xff body"
        assert got.message_id == "id 1"
        assert got.content_type == "application/octet-stream"
        assert got.subject == "a subject"
        assert got.correlation_id == "correlated"
        assert got.reply_to == "answers"
        assert got.to == "somewhere"
        assert got.session_id == "a session"
        assert got.reply_to_session_id == "another session"
        assert got.partition_key == "a session"
        assert got.time_to_live == datetime.timedelta(minutes=7)
        assert got.application_properties == {
            b"text": b"gr\xc3\xbc\xc3\x9fe",
            b"int": 5,
            b"negative": -7,
            b"float": 1.5,
            b"bool": True,
            b"uuid": tag,
        }
        # What the broker says of itself.
        assert got.sequence_number == 1
        assert got.delivery_count == 0, "this client shows how often it was delivered before"
        assert got.state == ServiceBusMessageState.ACTIVE
        assert before - datetime.timedelta(seconds=1) <= got.enqueued_time_utc
        assert got.enqueued_time_utc <= datetime.datetime.now(datetime.timezone.utc)
        assert abs(got.expires_at_utc - got.enqueued_time_utc - got.time_to_live) < datetime.timedelta(seconds=1)
        left = got.locked_until_utc - datetime.datetime.now(datetime.timezone.utc)
        assert datetime.timedelta(seconds=0) < left <= datetime.timedelta(seconds=60)
        assert isinstance(uuid.UUID(str(got.lock_token)), uuid.UUID)
        assert got.dead_letter_reason is None and got.dead_letter_source is None
        assert got.scheduled_enqueue_time_utc is None
        receiver.complete_message(got)
    assert counts(queue)["active"] == 0


def test_a_message_without_properties_gets_an_id_and_lives_for_ever(client, queue):
    with client.get_queue_sender(queue) as sender:
        sender.send_messages(ServiceBusMessage("bare"))
    [got] = receive(client, queue, 1)
    assert str(got) == "bare"
    assert got.message_id
    assert got.time_to_live is None
    assert not got.application_properties
    assert got.content_type is None and got.subject is None


def test_values_and_sequences_of_amqp_come_as_they_went(client, queue):
    from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType

    with client.get_queue_sender(queue) as sender:
        sender.send_messages(AmqpAnnotatedMessage(value_body={"a": [1, 2], "b": None}))
        sender.send_messages(AmqpAnnotatedMessage(sequence_body=[["x", 1], ["y", 2]]))
        sender.send_messages(AmqpAnnotatedMessage(data_body=[b"one", b"two"], annotations={"x-own": "kept"}))
    value, sequence, data = receive(client, queue, 3)
    assert value.body_type == AmqpMessageBodyType.VALUE
    assert value.body == {b"a": [1, 2], b"b": None}
    assert sequence.body_type == AmqpMessageBodyType.SEQUENCE
    assert list(sequence.body) == [[b"x", 1], [b"y", 2]]
    assert list(data.body) == [b"one", b"two"]
    assert data.raw_amqp_message.annotations[b"x-own"] == b"kept"


def test_a_list_and_a_batch_arrive_in_their_order(client, queue):
    with client.get_queue_sender(queue) as sender:
        sender.send_messages([ServiceBusMessage(f"list {n}", message_id=str(n)) for n in range(20)])
        batch = sender.create_message_batch()
        for n in range(100):
            batch.add_message(ServiceBusMessage(f"batch {n}", subject="of the batch", application_properties={"n": n}))
        sender.send_messages(batch)
    got = receive(client, queue, 120)
    assert [str(m) for m in got] == [f"list {n}" for n in range(20)] + [f"batch {n}" for n in range(100)]
    assert [m.message_id for m in got[:20]] == [str(n) for n in range(20)]
    assert all(m.subject == "of the batch" for m in got[20:])
    assert [m.application_properties[b"n"] for m in got[20:]] == list(range(100))
    numbers = [m.sequence_number for m in got]
    assert numbers == sorted(set(numbers))


def test_a_batch_is_full_at_the_size_that_the_queue_takes(client, make_queue):
    queue = make_queue(maxMessageSize=256 * 1024)
    with client.get_queue_sender(queue) as sender:
        batch = sender.create_message_batch()
        assert batch.max_size_in_bytes == 256 * 1024
        with pytest.raises(MessageSizeExceededError):
            while True:
                batch.add_message(ServiceBusMessage(b"x" * 10_000))
        assert len(batch) >= 20
        sender.send_messages(batch)
        count = len(batch)
    assert len(receive(client, queue, count)) == count


def test_messages_of_200_kb_arrive_whole(client, queue):
    bodies = [bytes((n * 7 + i) % 251 for i in range(200_000)) for n in range(5)]
    with client.get_queue_sender(queue) as sender:
        for body in bodies:
            sender.send_messages(ServiceBusMessage(body))
        sender.send_messages(ServiceBusMessage("a small one after them"))
    with client.get_queue_receiver(queue, prefetch_count=10) as receiver:
        got = []
        while len(got) < 6:
            some = receiver.receive_messages(6, max_wait_time=WAIT)
            assert some
            got += some
        assert [b"".join(m.body) for m in got[:5]] == bodies
        assert str(got[5]) == "a small one after them"
        for message in got:
            receiver.complete_message(message)


def test_a_message_above_the_limit_is_refused_and_the_sender_goes_on(client, make_queue):
    queue = make_queue(maxMessageSize=256 * 1024)
    with client.get_queue_sender(queue) as sender:
        with pytest.raises(MessageSizeExceededError):
            sender.send_messages(ServiceBusMessage(b"x" * 300_000))
        sender.send_messages(ServiceBusMessage("after it"))
    assert [str(m) for m in receive(client, queue, 1)] == ["after it"]


def test_duplicates_are_dropped_within_the_window_and_not_after_it(client, make_queue, counts):
    # 20 seconds is the shortest that Service Bus takes; a busy machine needs more for all of this.
    queue = make_queue(duplicateDetectionSeconds=50)
    with client.get_queue_sender(queue) as sender:
        sender.send_messages(ServiceBusMessage("first", message_id="one"))
        sender.send_messages(ServiceBusMessage("a duplicate", message_id="one"))
        sender.send_messages([ServiceBusMessage("in a batch", message_id=i) for i in ("one", "two", "two")])
        assert counts(queue)["active"] == 2
        # What is gone is remembered all the same.
        assert [m.message_id for m in receive(client, queue, 2)] == ["one", "two"]
        sender.send_messages(ServiceBusMessage("a late duplicate", message_id="two"))
        assert counts(queue)["active"] == 0
        time.sleep(51)
        sender.send_messages(ServiceBusMessage("after the window", message_id="one"))
    assert [str(m) for m in receive(client, queue, 1)] == ["after the window"]


def test_without_duplicate_detection_the_same_id_comes_twice(client, queue):
    with client.get_queue_sender(queue) as sender:
        sender.send_messages([ServiceBusMessage("a", message_id="one"), ServiceBusMessage("b", message_id="one")])
    assert [str(m) for m in receive(client, queue, 2)] == ["a", "b"]


def test_entity_names_ignore_case(client, make_queue):
    queue = make_queue()
    with client.get_queue_sender(queue.upper()) as sender:
        sender.send_messages(ServiceBusMessage("to capitals"))
    with client.get_queue_receiver(queue.title()) as receiver:
        assert [str(m) for m in receiver.peek_messages()] == ["to capitals"]
        [got] = receiver.receive_messages(max_wait_time=WAIT)
        receiver.renew_message_lock(got)
        receiver.dead_letter_message(got)
    with client.get_queue_receiver(queue.swapcase(), sub_queue="deadletter") as receiver:
        [got] = receiver.receive_messages(max_wait_time=WAIT)
        assert got.dead_letter_source == queue, "the name as it was given"
        receiver.complete_message(got)
