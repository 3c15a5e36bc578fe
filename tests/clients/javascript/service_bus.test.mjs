// The broker judged by @azure/service-bus.

import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { ServiceBusClient } from "@azure/service-bus";
import rhea from "rhea";

import { connectionString, counts, makeQueue, sleep, withQueue } from "./namespace.mjs";

const WAIT = { maxWaitTimeInMs: 60_000 };
const MOMENT = { maxWaitTimeInMs: 1_000 };
// More than the minute after which peers and networks like to give up.
const IDLE = 70_000;

/** The next message. */
async function one(receiver) {
  const got = await receiver.receiveMessages(1, WAIT);
  assert.equal(got.length, 1, "no message came");
  return got[0];
}

/** Exactly so many messages. */
async function receive(receiver, count) {
  const got = [];
  while (got.length < count) {
    const some = await receiver.receiveMessages(count - got.length, WAIT);
    assert.notEqual(some.length, 0, `only ${got.length} of ${count} messages came`);
    got.push(...some);
  }
  return got;
}

const bodies = (messages) => messages.map((message) => message.body);
const soon = (seconds) => new Date(Date.now() + seconds * 1000);

// Most of these wait for something: they run beside each other.
describe("the broker serves @azure/service-bus", { concurrency: 64 }, () => {
  it("keeps every property of a message", () =>
    withQueue({}, async ({ client, queue, sender }) => {
      // Dates as they are, not as numbers.
      const receiver = client.createReceiver(queue, { skipConvertingDate: true });
      const before = Date.now();
      const sent = {
        body: { text: "grüße", list: [1, 2, null] },
        messageId: "id 1",
        contentType: "application/json",
        subject: "a subject",
        correlationId: "correlated",
        replyTo: "answers",
        to: "somewhere",
        sessionId: "a session",
        replyToSessionId: "another session",
        partitionKey: "a session",
        timeToLive: 7 * 60_000,
        applicationProperties: { text: "grüße", int: 5, negative: -7, float: 1.5, bool: true, date: new Date(1_766_000_000_123), none: null },
      };
      await sender.sendMessages(sent);
      const got = await one(receiver);
      for (const [name, value] of Object.entries(sent)) {
        assert.deepEqual(got[name], value, name);
      }
      assert.equal(got.sequenceNumber.toNumber(), 1);
      assert.equal(got.deliveryCount, 0, "this client shows how often it was delivered before");
      assert.equal(got.state, "active");
      assert.match(got.lockToken, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      assert.ok(Math.abs(got.enqueuedTimeUtc - before) < 60_000);
      assert.equal(got.expiresAtUtc - got.enqueuedTimeUtc, sent.timeToLive);
      assert.ok(got.lockedUntilUtc > new Date() && got.lockedUntilUtc <= new Date(Date.now() + 60_000));
      assert.equal(got.deadLetterReason, undefined);
      await receiver.completeMessage(got);
      assert.equal((await counts(queue)).active, 0);
    }));

  it("gives a bare message an id and lets it live for ever", () =>
    withQueue({}, async ({ sender, receiver }) => {
      await sender.sendMessages([{ body: "text" }, { body: Buffer.from([0, 1, 255]) }]);
      const [text, binary] = await receive(receiver, 2);
      assert.equal(text.body, "text");
      assert.deepEqual(Buffer.from(binary.body), Buffer.from([0, 1, 255]));
      assert.ok(text.messageId);
      assert.equal(text.timeToLive, undefined);
    }));

  it("keeps values and sequences of AMQP", () =>
    withQueue({}, async ({ sender, receiver }) => {
      await sender.sendMessages({ bodyType: "value", body: { a: 1, b: "two" } });
      await sender.sendMessages({ bodyType: "sequence", body: [["x", 1]] });
      const [value, sequence] = await receive(receiver, 2);
      assert.deepEqual([value._rawAmqpMessage.bodyType, value.body], ["value", { a: 1, b: "two" }]);
      assert.deepEqual([sequence._rawAmqpMessage.bodyType, sequence.body], ["sequence", [["x", 1]]]);
    }));

  it("takes batches of the size that the queue takes", () =>
    withQueue({ maxMessageSize: 256 * 1024 }, async ({ sender, receiver }) => {
      const batch = await sender.createMessageBatch();
      assert.equal(batch.maxSizeInBytes, 256 * 1024);
      while (batch.tryAddMessage({ body: "x".repeat(10_000), applicationProperties: { n: batch.count } }));
      assert.ok(batch.count >= 20);
      await sender.sendMessages(batch);
      const got = await receive(receiver, batch.count);
      assert.deepEqual(got.map((m) => m.applicationProperties.n), got.map((_, n) => n));
    }));

  it("takes messages of 200 kB, one after the other and mixed with small ones", () =>
    withQueue({}, async ({ sender, receiver }) => {
      const large = [1, 2, 3].map((seed) => Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * seed) % 251)));
      for (const body of large) await sender.sendMessages({ body });
      await sender.sendMessages({ body: "small" });
      const got = await receive(receiver, 4);
      large.forEach((body, n) => assert.ok(Buffer.from(got[n].body).equals(body)));
      assert.equal(got[3].body, "small");
      for (const message of got) await receiver.completeMessage(message);
    }));

  it("hands large messages of two queues to one connection", () =>
    withQueue({}, async ({ client, sender, receiver }) => {
      const other = await makeQueue();
      const body = Buffer.alloc(200_000, 7);
      const both = [[sender, receiver], [client.createSender(other), client.createReceiver(other)]];
      await Promise.all(both.map(async ([sender, receiver]) => {
        for (let n = 0; n < 4; n += 1) await sender.sendMessages({ body });
        const got = await receive(receiver, 4);
        got.forEach((message) => assert.ok(Buffer.from(message.body).equals(body)));
        for (const message of got) await receiver.completeMessage(message);
      }));
    }));

  it("refuses a message above the limit, and the sender goes on", () =>
    withQueue({ maxMessageSize: 256 * 1024 }, async ({ sender, receiver }) => {
      await assert.rejects(sender.sendMessages({ body: "x".repeat(300_000) }), { code: "MessageSizeExceeded" });
      await sender.sendMessages({ body: "after it" });
      assert.equal((await one(receiver)).body, "after it");
    }));

  it("drops duplicates within the window, and not after it", () =>
    // 20 seconds is the shortest that Service Bus takes; a busy machine needs more for all of this.
    withQueue({ duplicateDetectionSeconds: 50 }, async ({ queue, sender, receiver }) => {
      await sender.sendMessages({ body: "first", messageId: "one" });
      await sender.sendMessages({ body: "a duplicate", messageId: "one" });
      await sender.sendMessages(["one", "two", "two"].map((messageId) => ({ body: messageId, messageId })));
      assert.equal((await counts(queue)).active, 2);
      for (const message of await receive(receiver, 2)) await receiver.completeMessage(message);
      await sleep(51_000);
      await sender.sendMessages({ body: "after the window", messageId: "one" });
      assert.equal((await one(receiver)).body, "after the window");
    }));

  it("ignores the case of names", () =>
    withQueue({}, async ({ client, queue }) => {
      await client.createSender(queue.toUpperCase()).sendMessages({ body: "to capitals" });
      const receiver = client.createReceiver(queue.toLowerCase());
      assert.deepEqual(bodies(await receiver.peekMessages(1)), ["to capitals"]);
      const got = await one(receiver);
      await receiver.renewMessageLock(got);
      await receiver.completeMessage(got);
    }));

  it("shows messages to those who peek, and changes nothing", () =>
    withQueue({}, async ({ queue, sender, receiver }) => {
      await sender.sendMessages(["a", "b", "c"].map((body) => ({ body })));
      assert.deepEqual(bodies(await receiver.peekMessages(2)), ["a", "b"]);
      assert.deepEqual(bodies(await receiver.peekMessages(2)), ["c"], "the next peek goes on behind the last one");
      const held = await one(receiver);
      const again = await receiver.peekMessages(3, { fromSequenceNumber: held.sequenceNumber });
      assert.deepEqual(bodies(again), ["a", "b", "c"], "what is locked shows too");
      assert.equal((await counts(queue)).active, 3);
    }));

  it("hands an abandoned message out again, and buries it in the end", () =>
    withQueue({ maxDeliveryCount: 3 }, async ({ client, queue, sender, receiver }) => {
      await sender.sendMessages({ body: "poison", applicationProperties: { own: "kept" } });
      for (let earlier = 0; earlier < 3; earlier += 1) {
        const message = await one(receiver);
        assert.equal(message.deliveryCount, earlier);
        await receiver.abandonMessage(message, { times: earlier + 1 });
      }
      assert.deepEqual(await receiver.receiveMessages(1, MOMENT), []);
      const dead = await one(client.createReceiver(queue, { subQueueType: "deadLetter" }));
      assert.equal(dead.deadLetterReason, "MaxDeliveryCountExceeded");
      assert.equal(dead.deadLetterSource, queue);
      assert.equal(dead.applicationProperties.own, "kept");
      assert.equal(dead.applicationProperties.times, 3, "what was changed on the way");
    }));

  it("keeps reason, description and changes of a dead letter", () =>
    withQueue({}, async ({ client, queue, sender, receiver }) => {
      await sender.sendMessages([{ body: "a" }, { body: "b" }]);
      await receiver.deadLetterMessage(await one(receiver), {
        deadLetterReason: "Poison",
        deadLetterErrorDescription: "it does not parse",
        more: "of it",
      });
      await receiver.deadLetterMessage(await one(receiver));
      const dead = client.createReceiver(queue, { subQueueType: "deadLetter" });
      assert.deepEqual(bodies(await dead.peekMessages(5)), ["a", "b"]);
      const [first, second] = await receive(dead, 2);
      assert.deepEqual([first.deadLetterReason, first.deadLetterErrorDescription], ["Poison", "it does not parse"]);
      assert.equal(first.applicationProperties.more, "of it");
      assert.ok(!second.deadLetterReason);
      await dead.renewMessageLock(first);
      await dead.abandonMessage(first);
      await dead.completeMessage(await one(dead));
      await dead.completeMessage(second);
      assert.equal((await counts(queue)).deadLetter, 0);
    }));

  it("puts deferred messages aside and hands them out by their number", () =>
    withQueue({}, async ({ client, queue, sender, receiver }) => {
      await sender.sendMessages([{ body: "a" }, { body: "b" }, { body: "c" }]);
      const [a, b, c] = await receive(receiver, 3);
      for (const message of [a, b, c]) await receiver.deferMessage(message, { deferred: true });
      assert.deepEqual(await receiver.receiveMessages(1, MOMENT), []);
      assert.equal((await counts(queue)).deferred, 3);
      const [peeked] = await receiver.peekMessages(1, { fromSequenceNumber: a.sequenceNumber });
      assert.equal(peeked.state, "deferred");

      const [again] = await receiver.receiveDeferredMessages(a.sequenceNumber);
      assert.deepEqual([again.body, again.deliveryCount, again.applicationProperties.deferred], ["a", 1, true]);
      await assert.rejects(receiver.receiveDeferredMessages(a.sequenceNumber), { code: "MessageNotFound" });
      assert.ok((await receiver.renewMessageLock(again)) > new Date());
      await receiver.abandonMessage(again);
      const [third] = await receiver.receiveDeferredMessages(a.sequenceNumber);
      await receiver.completeMessage(third);
      const [buried] = await receiver.receiveDeferredMessages(b.sequenceNumber);
      await receiver.deadLetterMessage(buried, { deadLetterReason: "Late", deadLetterErrorDescription: "too late" });
      const deleting = client.createReceiver(queue, { receiveMode: "receiveAndDelete" });
      assert.deepEqual(bodies(await deleting.receiveDeferredMessages(c.sequenceNumber)), ["c"]);
      const { deferred, deadLetter } = await counts(queue);
      assert.deepEqual({ deferred, deadLetter }, { deferred: 0, deadLetter: 1 });
      const dead = await one(client.createReceiver(queue, { subQueueType: "deadLetter" }));
      assert.deepEqual([dead.deadLetterReason, dead.deadLetterErrorDescription], ["Late", "too late"]);
    }));

  it("deletes what is received and deleted", () =>
    withQueue({}, async ({ client, queue, sender }) => {
      await sender.sendMessages([{ body: "a" }, { body: "b" }]);
      const receiver = client.createReceiver(queue, { receiveMode: "receiveAndDelete" });
      const got = await receive(receiver, 2);
      assert.deepEqual(bodies(got), ["a", "b"]);
      assert.equal(got[0].lockToken, undefined);
      assert.equal((await counts(queue)).active, 0);
    }));

  it("prolongs a lock that is renewed", () =>
    withQueue({ lockSeconds: 10 }, async ({ client, queue, sender }) => {
      await sender.sendMessages({ body: "a" });
      const receiver = client.createReceiver(queue, { maxAutoLockRenewalDurationInMs: 0 });
      const message = await one(receiver);
      for (let n = 0; n < 4; n += 1) {
        const before = message.lockedUntilUtc;
        await sleep(3_000);
        assert.ok((await receiver.renewMessageLock(message)) > before);
      }
      const other = client.createReceiver(queue);
      assert.deepEqual(await other.receiveMessages(1, MOMENT), [], "12 seconds are more than the lock lasts by itself");
      await receiver.completeMessage(message);
    }));

  it("tells who comes too late that the lock is lost", () =>
    withQueue({ lockSeconds: 8 }, async ({ client, queue, sender }) => {
      await sender.sendMessages(["a", "b", "c", "d"].map((body) => ({ body })));
      const receiver = client.createReceiver(queue, { maxAutoLockRenewalDurationInMs: 0 });
      const messages = await receive(receiver, 4);
      while ((await counts(queue)).locked > 0) await sleep(100);
      await assert.rejects(receiver.renewMessageLock(messages[0]), { code: "MessageLockLost" });
      for (const [n, late] of ["completeMessage", "abandonMessage", "deferMessage", "deadLetterMessage"].entries()) {
        await assert.rejects(receiver[late](messages[n]), { code: "MessageLockLost" }, late);
      }
      const again = await receive(client.createReceiver(queue, { receiveMode: "receiveAndDelete" }), 4);
      assert.deepEqual(
        again.map((m) => [m.body, m.deliveryCount]),
        ["a", "b", "c", "d"].map((body) => [body, 1]),
      );
      assert.equal((await counts(queue)).deadLetter, 0);
    }));

  it("lets messages expire into the dead letters, and no later than the queue allows", () =>
    withQueue({ deadLetteringOnMessageExpiration: true, defaultTimeToLiveSeconds: 15 }, async ({ client, queue, sender, receiver }) => {
      await sender.sendMessages({ body: "short", timeToLive: 10_000 });
      await sender.sendMessages({ body: "capped", timeToLive: 3_600_000 });
      const [short, capped] = await receiver.peekMessages(2);
      assert.deepEqual([short.timeToLive, capped.timeToLive], [10_000, 15_000]);
      const dead = await receive(client.createReceiver(queue, { subQueueType: "deadLetter" }), 2);
      assert.deepEqual(bodies(dead), ["short", "capped"]);
      assert.equal(dead[0].deadLetterReason, "TTLExpiredException");
    }));

  it("drops expired messages where they are not buried", () =>
    withQueue({}, async ({ queue, sender, receiver }) => {
      await sender.sendMessages({ body: "short", timeToLive: 1_000 });
      await sleep(1_500);
      await sender.sendMessages({ body: "next" });
      assert.equal((await one(receiver)).body, "next");
      assert.equal((await counts(queue)).deadLetter, 0);
    }));

  it("schedules messages by annotation", () =>
    withQueue({}, async ({ queue, sender, receiver }) => {
      const at = soon(15);
      await sender.sendMessages([{ body: "later", scheduledEnqueueTimeUtc: at }, { body: "now" }]);
      assert.equal((await counts(queue)).scheduled, 1);
      const [peeked] = await receiver.peekMessages(1);
      assert.deepEqual([peeked.body, peeked.state, peeked.scheduledEnqueueTimeUtc], ["later", "scheduled", at]);
      const [now, later] = await receive(receiver, 2);
      assert.deepEqual([now.body, later.body], ["now", "later"]);
      assert.ok(Date.now() >= at.getTime());
      assert.deepEqual(later.enqueuedTimeUtc, at);
    }));

  it("schedules messages by request, and cancels them", () =>
    withQueue({}, async ({ queue, sender, receiver }) => {
      const at = soon(15);
      const messages = [0, 1, 2].map((n) => ({ body: `${n}`, messageId: `id ${n}` }));
      const numbers = await sender.scheduleMessages(messages, at);
      assert.equal(new Set(numbers.map(String)).size, 3);
      await sender.cancelScheduledMessages(numbers[0]);
      await assert.rejects(sender.cancelScheduledMessages(numbers[0]), { code: "MessageNotFound" });
      await sender.cancelScheduledMessages([numbers[2]]);
      assert.equal((await counts(queue)).scheduled, 1);
      const got = await one(receiver);
      assert.deepEqual([got.body, got.messageId], ["1", "id 1"]);
      assert.ok(Date.now() >= at.getTime());
    }));

  it("feeds a subscriber", () =>
    withQueue({}, async ({ queue, sender, receiver }) => {
      const seen = new Set();
      const errors = [];
      const all = new Promise((done) => {
        receiver.subscribe(
          {
            processMessage: async (message) => {
              seen.add(message.body);
              if (seen.size === 40) done();
            },
            processError: async ({ error }) => errors.push(error),
          },
          { maxConcurrentCalls: 5 },
        );
      });
      await sender.sendMessages(Array.from({ length: 40 }, (_, n) => ({ body: n })));
      await all;
      await receiver.close();
      assert.deepEqual(errors, []);
      assert.equal((await counts(queue)).active, 0);
    }));

  it("tells of an unknown queue, and of topics, that they cannot be found", () =>
    withQueue({}, async ({ client, queue }) => {
      const unknown = { code: "MessagingEntityNotFound" };
      await assert.rejects(client.createSender("nowhere").sendMessages({ body: "a" }), unknown);
      await assert.rejects(client.createReceiver("nowhere").receiveMessages(1, MOMENT), unknown);
      await assert.rejects(client.createReceiver("nowhere").peekMessages(1), unknown);
      for (const topic of ["topic", queue]) {
        await assert.rejects(client.createReceiver(topic, "all").receiveMessages(1, MOMENT), unknown);
      }
    }, { retryOptions: { maxRetries: 0 } }));

  it("refuses a wrong key", async () => {
    const queue = await makeQueue();
    const wrong = connectionString.replace("SharedAccessKey=", "SharedAccessKey=wrong");
    const client = new ServiceBusClient(wrong, { retryOptions: { maxRetries: 0 } });
    const refused = { code: "UnauthorizedAccess" };
    await assert.rejects(client.createSender(queue).sendMessages({ body: "a" }), refused);
    await assert.rejects(client.createReceiver(queue).receiveMessages(1, MOMENT), refused);
    await client.close();
  });

  it("refuses sessions where there are none", () =>
    withQueue({}, async ({ client, queue }) => {
      await assert.rejects(client.acceptNextSession(queue), /does not require sessions/);
      // The client puts its own words over a refusal of a session with a name.
      await assert.rejects(client.acceptSession(queue, "a session"), { code: "SessionCannotBeLocked" });
    }, { retryOptions: { maxRetries: 0 } }));

  // The client offers no transactions; the AMQP library beneath it does.
  it("refuses a transaction coordinator as a namespace of the Basic tier does", async () => {
    const endpoint = new URL(connectionString.match(/Endpoint=sb:\/\/([^;]*)/)[1].replace(/^/, "http://"));
    const container = rhea.create_container();
    const told = new Promise((done, fail) => {
      container.on("sender_error", ({ sender }) => done(sender.error));
      container.on("sendable", () => fail(new Error("it was granted")));
      container.on("disconnected", () => fail(new Error("the connection broke")));
    });
    const connection = container.connect({ host: endpoint.hostname, port: endpoint.port, reconnect: false, username: "anonymous" });
    const capabilities = ["amqp:local-transactions"];
    const sender = connection.open_sender({ name: "coordinator" });
    sender.local.attach.target = rhea.types.wrap_described([rhea.types.wrap_array(capabilities, 0xa3)], 0x30);
    const error = await told;
    assert.equal(error.condition, "amqp:not-allowed");
    assert.match(error.description, /Transaction is unsupported/);
    connection.close();
  });

  it("keeps connections that are idle for more than a minute", () =>
    withQueue({}, async ({ sender, receiver }) => {
      await sender.sendMessages({ body: "before" });
      await receiver.completeMessage(await one(receiver));
      const waiting = receiver.receiveMessages(1, { maxWaitTimeInMs: 4 * IDLE });
      await sleep(IDLE);
      await sender.sendMessages({ body: "after" });
      const [got] = await waiting;
      assert.equal(got.body, "after");
      await receiver.completeMessage(got);
    }, { retryOptions: { maxRetries: 0 } }));

  it("serves fifty connections at once", async () => {
    const queue = await makeQueue();
    const clients = Array.from({ length: 50 }, () => new ServiceBusClient(connectionString));
    await Promise.all(clients.map(async (client, n) => {
      const sender = client.createSender(queue);
      for (let i = 0; i < 4; i += 1) await sender.sendMessages({ body: `${n}/${i}` });
    }));
    assert.equal((await counts(queue)).active, 200);
    const seen = [];
    await Promise.all(clients.map(async (client) => {
      const receiver = client.createReceiver(queue);
      while (seen.length < 200) {
        for (const message of await receiver.receiveMessages(5, MOMENT)) {
          await receiver.completeMessage(message);
          seen.push(message.body);
        }
      }
    }));
    assert.equal(new Set(seen).size, 200);
    assert.equal((await counts(queue)).active, 0);
    await Promise.all(clients.map((client) => client.close()));
  });
});
