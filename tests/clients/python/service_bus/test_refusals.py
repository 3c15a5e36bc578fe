"""What the broker refuses, and with which words."""

import contextlib
import re

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusClient, ServiceBusMessage
from azure.servicebus.exceptions import (
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusError,
)


@contextlib.contextmanager
def refused_token(status, description):
    """The token is refused with this status and description, which the client keeps in the inner exception."""
    with pytest.raises(ServiceBusAuthenticationError) as told:
        yield
    refusal = told.value.inner_exception
    assert refusal.status_code == status
    words = refusal.status_description
    words = words.decode() if isinstance(words, bytes) else words
    assert re.search(description, words), words


def test_an_unknown_queue_is_told_when_the_token_is_put(client):
    # Microsoft's own live tests of this client await just this class (test_sb_client.py, test_sb_client_bad_entity).
    with refused_token(404, "'sb://.*/nowhere' could not be found"):
        with client.get_queue_sender("nowhere") as sender:
            sender.send_messages(ServiceBusMessage("a"))
    with refused_token(404, "'sb://.*/nowhere' could not be found"):
        with client.get_queue_receiver("nowhere") as receiver:
            receiver.receive_messages(max_wait_time=5)
    with refused_token(404, "could not be found"):
        with client.get_queue_receiver("nowhere", sub_queue="deadletter") as receiver:
            receiver.peek_messages()


def test_there_are_no_topics_and_a_queue_has_no_subscriptions(client, queue):
    with refused_token(404, "could not be found"):
        with client.get_topic_sender("topic") as sender:
            sender.send_messages(ServiceBusMessage("a"))
    for topic in ("topic", queue):
        with refused_token(404, f"{topic}/Subscriptions/all' could not be found"):
            with client.get_subscription_receiver(topic, "all") as receiver:
                receiver.receive_messages(max_wait_time=5)


def test_a_wrong_key_is_refused(connection_string, queue):
    wrong = connection_string.replace("SharedAccessKey=", "SharedAccessKey=wrong")
    with ServiceBusClient.from_connection_string(wrong, retry_total=0) as client:
        with refused_token(401, "InvalidSignature"):
            with client.get_queue_sender(queue) as sender:
                sender.send_messages(ServiceBusMessage("a"))
        with refused_token(401, "InvalidSignature"):
            with client.get_queue_receiver(queue) as receiver:
                receiver.receive_messages(max_wait_time=5)


def test_an_unknown_key_name_is_refused(connection_string, queue):
    wrong = connection_string.replace("SharedAccessKeyName=", "SharedAccessKeyName=Other")
    with ServiceBusClient.from_connection_string(wrong, retry_total=0) as client:
        with refused_token(401, "InvalidSignature"):
            with client.get_queue_sender(queue) as sender:
                sender.send_messages(ServiceBusMessage("a"))


@pytest.mark.parametrize("session", ["a session", NEXT_AVAILABLE_SESSION])
def test_a_queue_without_sessions_refuses_a_session_receiver(client, queue, session):
    with pytest.raises(ServiceBusError, match="does not require sessions") as told:
        with client.get_queue_receiver(queue, session_id=session) as receiver:
            receiver.receive_messages(max_wait_time=5)
    assert not isinstance(told.value, (OperationTimeoutError, MessagingEntityNotFoundError))


def test_nobody_sends_to_dead_letters(client, queue):
    with pytest.raises(ServiceBusError):
        with client.get_queue_sender(f"{queue}/$DeadLetterQueue") as sender:
            sender.send_messages(ServiceBusMessage("a"))


def test_a_refusal_harms_no_other_link_of_the_client(client, queue):
    with client.get_queue_sender(queue) as sender:
        sender.send_messages(ServiceBusMessage("before"))
        with pytest.raises(ServiceBusError):
            client.get_queue_sender("nowhere").send_messages(ServiceBusMessage("lost"))
        sender.send_messages(ServiceBusMessage("after"))
        with client.get_queue_receiver(queue) as receiver:
            assert [str(m) for m in receiver.peek_messages(5)] == ["before", "after"]
