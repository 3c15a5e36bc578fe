// The same custom handler in Node, as plain as it goes: node:http, no framework, no dependency.
//
// The contract is that of src/handler.rs: GET / is the readiness probe; POST /{function} carries {"Data":{"message":base64},…};
// a message that cannot be used is refused with 400, and an unknown function with 404; a copy of a message that was handled long
// ago is answered with 200 after one look into the ledger. Each invocation writes one JSON line to stdout. Steps are not here: the
// benchmark sends only what needs none.
import http from "node:http";

const FUNCTIONS = new Set(["start-run", "create-vm", "capture-image", "copy-image", "retire-images", "delete-vm"]);
const MESSAGE_VERSION = 1;
const ledger = new URL(process.env.IMAGE_FACTORY_LEDGER ?? "http://127.0.0.1:1/");
const vmName = process.env.BENCH_VM_NAME;
const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
let token;

function get({ hostname, port }, path, headers) {
  return new Promise((resolve, reject) => {
    http.get({ hostname, port, path, agent, headers }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ status: answer.statusCode, body: Buffer.concat(parts) }));
      answer.on("error", reject);
    }).on("error", reject);
  });
}

// As the managed identity of App Service hands it out; asked once.
async function bearer() {
  if (!token) {
    const endpoint = new URL(process.env.IDENTITY_ENDPOINT);
    const path = `${endpoint.pathname}?api-version=2019-08-01&resource=https://storage.azure.com`;
    const answer = await get(endpoint, path, { "X-IDENTITY-HEADER": process.env.IDENTITY_HEADER });
    token = JSON.parse(answer.body).access_token;
  }
  return token;
}

function log(level, fields) {
  process.stdout.write(JSON.stringify({ timestamp: new Date().toISOString(), level, ...fields }) + "\n");
}

function answer(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

function unusable(response, status, reason, about) {
  log("ERROR", { message: "the invocation cannot be used", reason, ...about });
  answer(response, status, { error: reason });
}

async function invoke(request, response, text) {
  const step = request.url.slice(1);
  const about = { function: step, invocation_id: request.headers["x-azure-functions-invocationid"] ?? "none" };
  if (!FUNCTIONS.has(step)) return unusable(response, 404, `there is no function '${step}'`, about);
  let message;
  try {
    message = JSON.parse(Buffer.from(JSON.parse(text).Data.message, "base64"));
  } catch (error) {
    return unusable(response, 400, `the request is not an invocation: ${error.message}`, about);
  }
  if (message.version !== MESSAGE_VERSION) {
    const reason = `the ${step} message has version ${message.version} at $.version; this program reads version 1`;
    return unusable(response, 400, reason, about);
  }
  const path = `${ledger.pathname}/builds/${message.run}/${vmName}.json`;
  const found = await get(ledger, path, {
    Authorization: `Bearer ${await bearer()}`,
    "x-ms-version": "2023-11-03",
  });
  const build = JSON.parse(found.body);
  if (found.status >= 300 || !(message.attempt < build.steps[step].attempt - 1)) {
    return answer(response, 500, { error: "this is not what the benchmark sends" });
  }
  const told = "an earlier copy of this message was handled long ago";
  log("INFO", { message: told, ...about, run: message.run, image: message.imagePath, attempt: message.attempt });
  answer(response, 200, { Outputs: {}, Logs: [told], ReturnValue: null });
}

const server = http.createServer((request, response) => {
  if (request.method === "GET") return answer(response, 200, {});
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    invoke(request, response, Buffer.concat(parts)).catch((error) => answer(response, 500, { error: String(error) }));
  });
});
// The benchmark's connections wait for each other's rounds.
server.keepAliveTimeout = 0;
server.listen(Number(process.env.FUNCTIONS_CUSTOMHANDLER_PORT), "127.0.0.1");
