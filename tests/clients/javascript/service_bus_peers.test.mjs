// What our client sent is read with every property intact; then messages are sent that our client reads.

import assert from "node:assert/strict";
import { after, it } from "node:test";

import { ServiceBusClient } from "@azure/service-bus";

const { AZURE_SIM_SERVICE_BUS, OUTGOING, INCOMING, OUTBOX, ENVELOPES, AT } = process.env;
const at = new Date(Number(AT));
// Over TLS, NODE_EXTRA_CA_CERTS names the simulator's own authority.
const client = new ServiceBusClient(AZURE_SIM_SERVICE_BUS, { retryOptions: { maxRetries: 0 } });
after(() => client.close());

async function receive(queue, count) {
  const receiver = client.createReceiver(queue, { receiveMode: "receiveAndDelete", skipConvertingDate: true });
  const got = [];
  while (got.length < count) {
    const some = await receiver.receiveMessages(count - got.length, { maxWaitTimeInMs: 60_000 });
    assert.notEqual(some.length, 0, `only ${got.length} of ${count} messages came`);
    got.push(...some);
  }
  return got;
}

// Bodies of other clients are bytes; this one shows them as text or JSON where they can be read so.
const text = (body) => (Buffer.isBuffer(body) ? body.toString() : body);

it("reads what our client sends with every property", async () => {
  const [first, second, large, full] = await receive(OUTGOING, 4);
  assert.deepEqual([text(first.body), text(second.body)], ["in a batch 1", "in a batch 2"]);
  assert.ok(Buffer.from(large.body).equals(Buffer.alloc(200_000, 7)));
  assert.deepEqual(Buffer.from(full.body), Buffer.from([0, 1, 255]));
  const expected = {
    messageId: "id 1",
    contentType: "application/octet-stream",
    subject: "a subject",
    correlationId: "correlated",
    replyTo: "answers",
    to: "somewhere",
    sessionId: "a session",
    partitionKey: "a session",
    timeToLive: 7 * 60_000,
    scheduledEnqueueTimeUtc: at,
    enqueuedTimeUtc: at,
  };
  for (const [name, value] of Object.entries(expected)) {
    assert.deepEqual(full[name], value, name);
  }
  const { uuid, binary, ...properties } = full.applicationProperties;
  assert.deepEqual(properties, {
    text: "grüße",
    bool: true,
    i32: -7,
    i64: 2 ** 40,
    u32: 4_000_000_000,
    f64: 1.5,
    timestamp: new Date(1_766_000_000_123),
    null: null,
  });
  assert.equal(Buffer.from(uuid).toString("hex"), "00112233445566778899aabbccddeeff");
  assert.deepEqual(Buffer.from(binary), Buffer.from([0, 1, 255]));
});

it("reads what the product's outbox sends with every property", async () => {
  const expected = JSON.parse(ENVELOPES);
  for (const [index, message] of (await receive(OUTBOX, 2)).entries()) {
    assert.equal(message.messageId, expected[index].messageId);
    assert.deepEqual(message.body, expected[index].body);
    assert.equal(message.contentType, "application/json");
    assert.equal(message.subject, OUTBOX);
    assert.equal(message.correlationId, "commit-abc1234");
    assert.deepEqual(message.scheduledEnqueueTimeUtc, index === 0 ? undefined : at);
  }
});

it("sends messages for our client", async () => {
  const sender = client.createSender(INCOMING);
  const full = {
    body: Buffer.from([0, 1, 255]),
    messageId: "id 1",
    contentType: "application/octet-stream",
    subject: "a subject",
    correlationId: "correlated",
    replyTo: "answers",
    to: "somewhere",
    sessionId: "a session",
    replyToSessionId: "another session",
    partitionKey: "a session",
    timeToLive: 7 * 60_000,
    applicationProperties: { text: "grüße", bool: true, int: -7, float: 1.5, timestamp: new Date(1_766_000_000_123), null: null },
  };
  await sender.scheduleMessages(full, new Date(Date.now() + 1_000));
  // The others come after it.
  const receiver = client.createReceiver(INCOMING);
  const [message] = await receiver.receiveMessages(1, { maxWaitTimeInMs: 60_000 });
  assert.equal(message.messageId, "id 1");
  await receiver.abandonMessage(message);
  const batch = await sender.createMessageBatch();
  assert.ok(batch.tryAddMessage({ body: Buffer.from("in a batch 1") }));
  assert.ok(batch.tryAddMessage({ body: Buffer.from("in a batch 2") }));
  await sender.sendMessages(batch);
  await sender.sendMessages({ body: Buffer.alloc(200_000, 7) });
});
