// The simulated namespace, and queues in it.

import { ServiceBusClient } from "@azure/service-bus";

const control = process.env.AZURE_SIM_CONTROL;
export const connectionString = process.env.AZURE_SIM_SERVICE_BUS;

let queues = 0;

/** A queue with these settings; nobody else has it. */
export async function makeQueue(settings = {}) {
  queues += 1;
  const name = `js-${queues}-Queue`;
  const answer = await fetch(`${control}/queues/${name}`, { method: "PUT", body: JSON.stringify(settings) });
  if (!answer.ok) throw new Error(`the simulator refused the queue: ${await answer.text()}`);
  return name;
}

/** How many messages a queue holds, as the simulator itself knows it. */
export async function counts(queue) {
  const answer = await fetch(`${control}/queues`);
  return (await answer.json())[queue];
}

/** Calls `use` with a client, a queue, a sender to it and a receiver of it, and closes them all. */
export async function withQueue(settings, use, options = {}) {
  const queue = await makeQueue(settings);
  const client = new ServiceBusClient(connectionString, options);
  try {
    await use({ client, queue, sender: client.createSender(queue), receiver: client.createReceiver(queue) });
  } finally {
    await client.close();
  }
}

export const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
