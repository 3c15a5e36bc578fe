"""The same custom handler in Python: a bare ASGI application under uvicorn with uvloop and httptools, no framework.

The contract is told in handler.mjs beside this file.
"""

import base64
import json
import os
import sys
from datetime import datetime, timezone

import uvicorn

FUNCTIONS = {"start-run", "create-vm", "capture-image", "copy-image", "retire-images", "delete-vm"}
MESSAGE_VERSION = 1
JSON_HEADERS = (b"content-type", b"application/json")

client = None
token = None


async def get(url, headers):
    # Imported when it is first needed: a handler that only waits need not pay for it.
    global client
    if client is None:
        import aiohttp

        client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64))
    async with client.get(url, headers=headers) as answer:
        return answer.status, await answer.read()


async def bearer():
    """As the managed identity of App Service hands it out; asked once."""
    global token
    if token is None:
        url = os.environ["IDENTITY_ENDPOINT"] + "?api-version=2019-08-01&resource=https://storage.azure.com"
        _, body = await get(url, {"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]})
        token = json.loads(body)["access_token"]
    return token


def log(level, **fields):
    line = {"timestamp": datetime.now(timezone.utc).isoformat(), "level": level, **fields}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def answer(send, status, value):
    body = json.dumps(value).encode()
    headers = [JSON_HEADERS, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def unusable(send, status, reason, about):
    log("ERROR", message="the invocation cannot be used", reason=reason, **about)
    await answer(send, status, {"error": reason})


async def whole_body(receive):
    parts = []
    while True:
        event = await receive()
        parts.append(event.get("body", b""))
        if not event.get("more_body"):
            return b"".join(parts)


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["method"] == "GET":
        return await answer(send, 200, {})
    step = scope["path"][1:]
    headers = dict(scope["headers"])
    id = headers.get(b"x-azure-functions-invocationid", b"none").decode()
    about = {"function": step, "invocation_id": id}
    text = await whole_body(receive)
    if step not in FUNCTIONS:
        return await unusable(send, 404, f"there is no function '{step}'", about)
    try:
        message = json.loads(base64.b64decode(json.loads(text)["Data"]["message"]))
    except (ValueError, KeyError, TypeError) as error:
        return await unusable(send, 400, f"the request is not an invocation: {error}", about)
    if message.get("version") != MESSAGE_VERSION:
        reason = f"the {step} message has version {message.get('version')} at $.version; this program reads version 1"
        return await unusable(send, 400, reason, about)
    name = f"builds/{message['run']}/{os.environ['BENCH_VM_NAME']}.json"
    asked = {"Authorization": f"Bearer {await bearer()}", "x-ms-version": "2023-11-03"}
    status, found = await get(f"{os.environ['IMAGE_FACTORY_LEDGER']}/{name}", asked)
    build = json.loads(found)
    if status >= 300 or not message["attempt"] < build["steps"][step]["attempt"] - 1:
        return await answer(send, 500, {"error": "this is not what the benchmark sends"})
    told = "an earlier copy of this message was handled long ago"
    log("INFO", message=told, **about, run=message["run"], image=message["imagePath"], attempt=message["attempt"])
    await answer(send, 200, {"Outputs": {}, "Logs": [told], "ReturnValue": None})


if __name__ == "__main__":
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=int(os.environ["FUNCTIONS_CUSTOMHANDLER_PORT"]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        # The benchmark's connections wait for each other's rounds.
        timeout_keep_alive=3600,
    )
