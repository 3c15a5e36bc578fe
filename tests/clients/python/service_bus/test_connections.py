"""Connections: idle ones, many at once, and the client for asyncio."""

import asyncio
import time

from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.aio import AutoLockRenewer
from azure.servicebus.aio import ServiceBusClient as AsyncClient

WAIT = 60
# More than the minute after which peers and networks like to give up.
IDLE = 70


def test_an_idle_sender_and_receiver_go_on_after_more_than_a_minute(connection_string, queue, monkeypatch):
    with ServiceBusClient.from_connection_string(connection_string, retry_total=0) as client:
        with client.get_queue_sender(queue) as sender, client.get_queue_receiver(queue) as receiver:
            sender.send_messages(ServiceBusMessage("before"))
            [got] = receiver.receive_messages(max_wait_time=WAIT)
            receiver.complete_message(got)
            time.sleep(IDLE)
            sender.send_messages(ServiceBusMessage("after"))
            [got] = receiver.receive_messages(max_wait_time=WAIT)
            assert str(got) == "after"
            receiver.complete_message(got)


def test_a_lock_is_kept_by_the_clients_own_renewer(connection_string, make_queue):
    queue = make_queue(lockSeconds=12)

    async def run():
        async with AsyncClient.from_connection_string(connection_string) as client, AutoLockRenewer() as renewer:
            async with client.get_queue_sender(queue) as sender, client.get_queue_receiver(queue) as receiver:
                await sender.send_messages(ServiceBusMessage("a"))
                [got] = await receiver.receive_messages(max_wait_time=WAIT)
                renewer.register(receiver, got, max_lock_renewal_duration=300)
                await asyncio.sleep(20)
                assert got.auto_renew_error is None
                await receiver.complete_message(got)

    asyncio.run(run())


def test_fifty_connections_at_once(connection_string, queue, counts):
    connections, each = 50, 4

    async def send(number):
        async with AsyncClient.from_connection_string(connection_string) as client:
            async with client.get_queue_sender(queue) as sender:
                for n in range(each):
                    await sender.send_messages(ServiceBusMessage(f"{number}/{n}"))

    async def receive(bodies, all_there):
        async with AsyncClient.from_connection_string(connection_string) as client:
            async with client.get_queue_receiver(queue) as receiver:
                while not all_there.is_set():
                    for message in await receiver.receive_messages(5, max_wait_time=2):
                        await receiver.complete_message(message)
                        bodies.append(str(message))
                    if len(bodies) == connections * each:
                        all_there.set()

    async def run():
        bodies, all_there = [], asyncio.Event()
        senders = [send(number) for number in range(connections)]
        await asyncio.gather(*senders)
        assert counts(queue)["active"] == connections * each
        receivers = [receive(bodies, all_there) for _ in range(connections)]
        await asyncio.wait_for(asyncio.gather(*receivers), 4 * WAIT)
        assert sorted(bodies) == sorted(f"{i}/{n}" for i in range(connections) for n in range(each))

    asyncio.run(run())
    assert counts(queue)["active"] == 0


def test_the_client_for_asyncio_does_all_of_it(connection_string, queue, counts):
    import datetime

    async def run():
        async with AsyncClient.from_connection_string(connection_string) as client:
            async with client.get_queue_sender(queue) as sender:
                await sender.send_messages([ServiceBusMessage(str(n)) for n in range(6)])
                batch = await sender.create_message_batch()
                batch.add_message(ServiceBusMessage(b"x" * 200_000))
                await sender.send_messages(batch)
                at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
                numbers = await sender.schedule_messages([ServiceBusMessage("never")], at)
                await sender.cancel_scheduled_messages(numbers)
            async with client.get_queue_receiver(queue) as receiver:
                assert [str(m) for m in await receiver.peek_messages(3)] == ["0", "1", "2"]
                got = []
                while len(got) < 7:
                    got += await receiver.receive_messages(7 - len(got), max_wait_time=WAIT)
                before = got[0].locked_until_utc
                assert await receiver.renew_message_lock(got[0]) >= before
                await receiver.complete_message(got[0])
                await receiver.abandon_message(got[1])
                await receiver.defer_message(got[2])
                await receiver.dead_letter_message(got[3], reason="Poison", error_description="why")
                for message in got[4:]:
                    await receiver.complete_message(message)
                [deferred] = await receiver.receive_deferred_messages(got[2].sequence_number)
                await receiver.complete_message(deferred)
                [again] = await receiver.receive_messages(max_wait_time=WAIT)
                assert (str(again), again.delivery_count) == ("1", 1)
                await receiver.complete_message(again)
            async with client.get_queue_receiver(queue, sub_queue="deadletter") as receiver:
                [dead] = await receiver.receive_messages(max_wait_time=WAIT)
                assert (str(dead), dead.dead_letter_reason) == ("3", "Poison")
                await receiver.complete_message(dead)

    asyncio.run(run())
    left = counts(queue)
    assert [left[state] for state in ("active", "scheduled", "deferred", "deadLetter")] == [0, 0, 0, 0]


def test_a_receiver_waits_for_more_than_a_minute(connection_string, queue):
    async def run():
        async with AsyncClient.from_connection_string(connection_string, retry_total=0) as client:
            async with client.get_queue_receiver(queue) as receiver, client.get_queue_sender(queue) as sender:
                waiting = asyncio.create_task(receiver.receive_messages(max_wait_time=4 * IDLE))
                await asyncio.sleep(IDLE)
                assert not waiting.done()
                await sender.send_messages(ServiceBusMessage("at last"))
                [got] = await asyncio.wait_for(waiting, WAIT)
                assert str(got) == "at last"
                await receiver.complete_message(got)

    asyncio.run(run())
