# ws_service - a WebSocket server by another project (python3-websockets), started by spec/support/ws.lua.
#
#   /usr/bin/python3 ws_service.py <settings.json>
#
# Settings: ready (file that gets "port\n" when it serves), journal (file, one JSON object a line), port, protocols,
# cert and key (wss), client_ca (clients must show a certificate of it), max_size. What it does is in the path: see the functions of Routes.
import asyncio
import http
import json
import os
import ssl
import sys
import time
from urllib.parse import parse_qs, urlsplit

import websockets

with open(sys.argv[1], encoding="utf-8") as file:
    settings = json.load(file)

journal = open(settings["journal"], "a", encoding="utf-8")


def note(event, **fields):
    fields.update(event=event, time=time.time())
    journal.write(json.dumps(fields) + "\n")
    journal.flush()


def kind_of(message):
    return "text" if isinstance(message, str) else "binary"


class Routes:
    """Each route serves one connection; `query` has the numbers and strings after the question mark."""

    @staticmethod
    async def echo(ws, query):
        async for message in ws:
            await ws.send(message)

    # The same, every message cut into frames of `size` characters or bytes.
    @staticmethod
    async def fragments(ws, query):
        size = int(query.get("size", 1000))
        async for message in ws:
            empty = message[:0]
            parts = [message[i : i + size] for i in range(0, len(message), size)]
            await ws.send(parts or [empty])

    # The header fields of the handshake, as JSON; then it echoes.
    @staticmethod
    async def headers(ws, query):
        fields = {}
        for name, value in ws.request_headers.raw_items():
            fields[name.lower()] = fields[name.lower()] + ", " + value if name.lower() in fields else value
        await ws.send(json.dumps(fields))
        await Routes.echo(ws, query)

    # Its port, to every message: who are you?
    @staticmethod
    async def name(ws, query):
        async for _ in ws:
            await ws.send(str(port))

    # One message of so many bytes, of one letter.
    @staticmethod
    async def big(ws, query):
        size = int(query["bytes"])
        await ws.send("x" * size if query.get("kind") == "text" else b"x" * size)
        await Routes.echo(ws, query)

    # So many numbered messages, as fast as they are taken.
    @staticmethod
    async def count(ws, query):
        for i in range(1, int(query["n"]) + 1):
            await ws.send(str(i) + ":" + "x" * int(query.get("bytes", 0)))
        await ws.wait_closed()

    # Closes, at once or after the first message.
    @staticmethod
    async def close(ws, query):
        if query.get("first"):
            await ws.recv()
        await ws.close(int(query.get("code", 1000)), query.get("reason", ""))

    # What the client's last close frame said goes to the journal, for all routes; this one just waits for it.
    @staticmethod
    async def silent(ws, query):
        async for message in ws:
            note("message", kind=kind_of(message), length=len(message))

    # A ping, and a message once the pong came.
    @staticmethod
    async def ping(ws, query):
        for i in range(int(query.get("n", 1))):
            await asyncio.wait_for(await ws.ping("ping %d" % i), 10)
        await ws.send("ponged")
        await Routes.echo(ws, query)

    # Reads nothing until a file is there; then it answers each message by its length.
    @staticmethod
    async def deaf(ws, query):
        ws.transport.pause_reading()
        while not os.path.exists(query["until"]):
            await asyncio.sleep(0.01)
        ws.transport.resume_reading()
        async for message in ws:
            await ws.send(str(len(message)))

    # Cuts the connection, without a close frame, at the first message.
    @staticmethod
    async def abort(ws, query):
        await ws.recv()
        ws.transport.abort()

    # Ends the process at the first message.
    @staticmethod
    async def die(ws, query):
        await ws.recv()
        os._exit(1)


def split(path):
    parts = urlsplit(path)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return parts.path.strip("/").split("/"), query


async def before(path, headers):
    """Answers that are no handshake: /status/<n>, /slow?ms= (then as /echo)."""
    words, query = split(path)
    note("request", path=path, headers={name.lower(): value for name, value in headers.raw_items()})
    if words[0] == "slow":
        await asyncio.sleep(float(query["ms"]) / 1000)
        return None
    if words[0] == "status":
        status = http.HTTPStatus(int(words[1]))
        return status, [("X-Why", "told to")], b"told to\n"
    return None if hasattr(Routes, words[0]) else (http.HTTPStatus.NOT_FOUND, [], b"no such route\n")


async def serve(ws):
    words, query = split(ws.path)
    note("open", path=ws.path, protocol=ws.subprotocol)
    try:
        await getattr(Routes, "echo" if words[0] == "slow" else words[0])(ws, query)
    except websockets.ConnectionClosed:
        pass
    finally:
        await ws.wait_closed()
        note("close", path=ws.path, code=ws.close_code, reason=ws.close_reason)


async def main():
    global port
    context = None
    if settings.get("cert"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["cert"], settings["key"])
        if settings.get("client_ca"):
            context.load_verify_locations(settings["client_ca"])
            context.verify_mode = ssl.CERT_REQUIRED
    server = await websockets.serve(
        serve,
        "127.0.0.1",
        settings.get("port") or 0,
        ssl=context,
        process_request=before,
        subprotocols=settings.get("protocols"),
        max_size=settings.get("max_size"),
        ping_interval=None,
        close_timeout=5,
    )
    port = server.sockets[0].getsockname()[1]
    with open(settings["ready"] + ".new", "w", encoding="utf-8") as ready:
        ready.write("%d\n" % port)
    os.rename(settings["ready"] + ".new", settings["ready"])
    await asyncio.Future()


asyncio.run(main())
