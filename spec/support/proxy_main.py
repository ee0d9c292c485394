# proxy - a TCP proxy that misbehaves as it is told; see spec/support/proxy.lua.
#
#   /usr/bin/python3 proxy_main.py <file that gets "port\n">
#
# The port is that of the control connection: one JSON object a line each way. A line is a listener with a target and a
# rule of its own. Bytes are counted per connection and direction: "up" to the server, "down" to the client.
import asyncio
import json
import os
import socket
import struct
import sys
import time

LINGER_NONE = struct.pack("ii", 1, 0)


class Conn:
    """Two streams and what happens to their bytes."""

    def __init__(self, line, number, rule):
        self.line, self.number, self.rule = line, number, rule
        self.bytes = {"up": 0, "down": 0}
        self.base = {"up": 0, "down": 0}  # where the rule's offsets begin
        self.sides, self.over, self.hung = [], False, False

    def end(self, how):
        if self.over:
            return
        self.over = True
        self.line.live.discard(self)
        for writer in self.sides:
            sock = writer.get_extra_info("socket")
            if how == "reset" and sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
                writer.transport.abort()
            else:
                writer.close()

    def break_now(self, how):
        self.line.hits += 1
        if how == "hang":
            self.hung = True
        else:
            self.end(how)

    def change(self, way, rule, data):
        """The bytes as the rule lets them through, and whether that is the end."""
        at = self.bytes[way] - self.base[way]
        self.bytes[way] += len(data)
        cut, spot, twice = rule.get("cut"), rule.get("corrupt"), rule.get("twice")
        over = cut is not None and at + len(data) >= cut
        if over:
            data = data[:max(0, cut - at)]
        if spot is not None and at <= spot < at + len(data):
            self.line.hits += 1
            one = bytes([data[spot - at] ^ rule.get("mask", 0xFF)])
            data = data[:spot - at] + one + data[spot - at + 1:]
        if twice is not None and at <= twice < at + len(data):
            self.line.hits += 1
            data = data + data[twice - at:]
        return data, over

    async def write(self, writer, rule, data):
        size, pause = rule.get("trickle") or (len(data), 0)
        for at in range(0, len(data), max(1, size)):
            writer.write(data[at:at + size])
            await writer.drain()
            if pause:
                await asyncio.sleep(pause / 1000)

    def deliver(self, writer, data):
        if not self.over and not self.hung:
            writer.write(data)

    async def pump(self, reader, writer, way):
        late = 0
        while not self.over:
            data = await reader.read(65536)
            rule = self.rule.get(way) or {}
            if not data:
                break
            if self.hung:
                continue
            data, over = self.change(way, rule, data)
            if self.hung:
                continue
            if rule.get("delay") and not over:
                late = rule["delay"] / 1000
                asyncio.get_running_loop().call_later(late, self.deliver, writer, data)
                continue
            await self.write(writer, rule, data)
            if over:
                self.break_now(rule.get("how", "close"))
        await asyncio.sleep(late)
        # One side is through, so is the other. A client that hangs up gets the server's side closed, too.
        self.end("close")

    async def run(self, reader, writer):
        self.sides.append(writer)
        how = self.rule.get("accept")
        for way in ("up", "down"):
            if (self.rule.get(way) or {}).get("cut") == 0:
                how = self.rule[way].get("how", "close")
        if how:
            self.break_now(how)
        if self.over:
            return
        while self.hung:
            if not await reader.read(65536):
                return
        there, back = await asyncio.open_connection("127.0.0.1", self.line.target)
        self.sides.append(back)
        try:
            await asyncio.gather(self.pump(reader, back, "up"), self.pump(there, writer, "down"))
        except OSError:
            self.end("close")


class Line:
    def __init__(self, target, port):
        self.target, self.rule, self.port, self.server = target, {}, port, None
        self.live, self.accepted, self.since, self.hits, self.times = set(), 0, 0, 0, []

    async def listen(self):
        # Thousands may come at once.
        self.server = await asyncio.start_server(self.accept, "127.0.0.1", self.port, backlog=4096)
        self.port = self.server.sockets[0].getsockname()[1]

    def applies(self, number):
        only, first = self.rule.get("only"), self.rule.get("first")
        return (only is None or number == only) and (first is None or number <= first)

    async def accept(self, reader, writer):
        self.accepted += 1
        self.since += 1
        self.times.append(time.time())
        conn = Conn(self, self.since, self.rule if self.applies(self.since) else {})
        self.live.add(conn)
        try:
            await conn.run(reader, writer)
        except OSError:
            pass
        conn.end("close")

    async def set(self, rule, live):
        self.rule, self.since, self.hits = rule, 0, 0
        for conn in self.live if live else ():
            conn.rule, conn.base = rule, dict(conn.bytes)
        if rule.get("refuse"):
            if self.server:
                self.server.close()
                self.server = None
        elif not self.server:
            await self.listen()

    def stats(self):
        live = [dict(conn.bytes) for conn in sorted(self.live, key=lambda c: c.number)]
        return {"accepted": self.accepted, "hits": self.hits, "live": live}


lines = {}


async def command(job):
    what = job["do"]
    if what == "open":
        line = Line(job["target"], job.get("port") or 0)
        line.rule = job.get("rule") or {}
        await line.listen()
        lines[line.port] = line
        return {"port": line.port}
    line = lines[job["port"]]
    if what == "set":
        await line.set(job["rule"], job.get("live"))
    elif what == "target":
        line.target = job["target"]
    elif what == "now":
        for conn in list(line.live):
            conn.break_now(job["how"])
    elif what == "times":
        return {"times": line.times}
    return line.stats()


async def control(reader, writer):
    while True:
        text = await reader.readline()
        if not text:
            os._exit(0)
        writer.write(json.dumps(await command(json.loads(text))).encode() + b"\n")
        await writer.drain()


async def main():
    server = await asyncio.start_server(control, "127.0.0.1", 0, limit=1 << 24)
    with open(sys.argv[1] + ".new", "w") as file:
        file.write("%d\n" % server.sockets[0].getsockname()[1])
    os.rename(sys.argv[1] + ".new", sys.argv[1])
    await asyncio.Event().wait()


asyncio.run(main())
