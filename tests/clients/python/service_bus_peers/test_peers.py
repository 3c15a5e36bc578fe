"""What our client sent is read with every property intact; then messages are sent that our client reads."""

import datetime
import json
import os
import re
import uuid

import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceiveMode, TransportType

WAIT = 60
AT = datetime.datetime.fromtimestamp(0, datetime.timezone.utc) + datetime.timedelta(milliseconds=int(os.environ["AT"]))
ID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


@pytest.fixture
def client():
    string = os.environ["AZURE_SIM_SERVICE_BUS"]
    secured = {}
    if authority := os.environ.get("AZURE_SIM_CERTIFICATE_AUTHORITY"):
        # The simulator's own authority is the only one that is trusted.
        secured["connection_verify"] = authority
        # With TLS this client reads no port from a connection string, only from here; and then it prefers WebSockets.
        secured["custom_endpoint_address"] = re.search("Endpoint=([^;]*)", string)[1]
        secured["transport_type"] = TransportType.Amqp
    with ServiceBusClient.from_connection_string(string, retry_total=0, **secured) as client:
        yield client


def receive(client, queue, count):
    got = []
    with client.get_queue_receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver:
        while len(got) < count:
            some = receiver.receive_messages(count - len(got), max_wait_time=WAIT)
            assert some, f"only {len(got)} of {count} messages came"
            got += some
    return got


def test_what_our_client_sends_is_read_with_every_property(client):
    first, second, large, full = receive(client, os.environ["OUTGOING"], 4)
    assert [str(first), str(second)] == ["in a batch 1", "in a batch 2"]
    assert b"".join(large.body) == b"\x07" * 200_000
    assert b"".join(full.body) == b"\x00\x01\xff"
    assert full.message_id == "id 1"
    assert full.content_type == "application/octet-stream"
    assert full.subject == "a subject"
    assert full.correlation_id == "correlated"
    assert full.reply_to == "answers"
    assert full.to == "somewhere"
    assert full.session_id == "a session"
    assert full.partition_key == "a session"
    assert full.time_to_live == datetime.timedelta(minutes=7)
    assert full.scheduled_enqueue_time_utc == AT
    assert full.enqueued_time_utc == AT
    assert full.application_properties == {
        b"text": "grüße".encode(),
        b"bool": True,
        b"i32": -7,
        b"i64": 2**40,
        b"u32": 4_000_000_000,
        b"f64": 1.5,
        b"uuid": ID,
        b"timestamp": 1_766_000_000_123,
        b"binary": b"\x00\x01\xff",
        b"null": None,
    }


def test_what_the_products_outbox_sends_is_read_with_every_property(client):
    expected = json.loads(os.environ["ENVELOPES"])
    queue = os.environ["OUTBOX"]
    for index, message in enumerate(receive(client, queue, 2)):
        assert message.message_id == expected[index]["messageId"]
        assert json.loads(str(message)) == expected[index]["body"]
        assert message.content_type == "application/json"
        assert message.subject == queue
        assert message.correlation_id == "commit-abc1234"
        assert message.scheduled_enqueue_time_utc == (None if index == 0 else AT)


def test_messages_for_our_client_are_sent(client):
    full = ServiceBusMessage(
        b"\x00\x01\xff",
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
        application_properties={"text": "grüße", "bool": True, "int": -7, "float": 1.5, "uuid": ID},
    )
    with client.get_queue_sender(os.environ["INCOMING"]) as sender:
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
        sender.schedule_messages(full, soon)
        # The others come after it.
        with client.get_queue_receiver(os.environ["INCOMING"]) as receiver:
            [message] = receiver.receive_messages(max_wait_time=WAIT)
            assert message.message_id == "id 1"
            receiver.abandon_message(message)
        batch = sender.create_message_batch()
        batch.add_message(ServiceBusMessage("in a batch 1"))
        batch.add_message(ServiceBusMessage("in a batch 2"))
        sender.send_messages(batch)
        sender.send_messages(ServiceBusMessage(b"\x07" * 200_000))
