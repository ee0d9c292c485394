# sink - an HTTP server for large and odd bodies, by another project (python3's http.server); see spec/support/sink.lua.
#
#   /usr/bin/python3 sink.py <settings.json>
#
# Settings: ready (a file that gets "port\n"), port. Routes:
#   ANY  /digest                 what came: length, crc (crc32), type, framing ("length", "chunked" or "none")
#   ANY  /form                   the pairs of a urlencoded body, its text, type
#   POST /parts                  the parts of a multipart body, by the email package: name, filename, type, hex
#   GET  /flow?bytes=&piece=&pause=&chunked=1&cut=&status=   a body of pattern bytes, piece by piece (pause in ms),
#                                broken off after `cut` bytes
#   ANY  /early?status=&linger=  answers before it reads the body; reads it after `linger` ms, or not at all
#   GET  /stats                  requests, aborted (writes that failed), open (connections)
import email.parser
import email.policy
import json
import os
import socket
import socketserver
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote_plus, urlsplit

settings = json.load(open(sys.argv[1]))
stats = {"requests": 0, "aborted": 0, "open": 0}
lock = threading.Lock()
PATTERN = bytes((i * 7 + i // 256) % 256 for i in range(1 << 20))


def count(name, n=1):
    with lock:
        stats[name] += n


def without_none(value):
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    return [without_none(v) for v in value] if isinstance(value, list) else value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rbufsize = 1 << 18

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        count("open")
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def finish(self):
        count("open", -1)
        try:
            super().finish()
        except OSError:
            pass

    def pieces(self):
        """The body as it comes: framing as the head says."""
        if "chunked" in self.headers.get("transfer-encoding", ""):
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                left = size
                while left:
                    data = self.rfile.read(min(left, 1 << 18))
                    if not data:
                        raise ConnectionError("broken off")
                    left -= len(data)
                    yield data
                self.rfile.readline()
                if size == 0:
                    return
        left = int(self.headers.get("content-length") or 0)
        while left:
            data = self.rfile.read1(min(left, 1 << 18))
            if not data:
                raise ConnectionError("broken off")
            left -= len(data)
            yield data

    def answer(self, value, status=200):
        text = json.dumps(without_none(value)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def framing(self):
        if self.headers.get("transfer-encoding"):
            return "chunked"
        return "length" if self.headers.get("content-length") else "none"

    def digest(self, query):
        length, crc = 0, 0
        for data in self.pieces():
            length += len(data)
            crc = zlib.crc32(data, crc)
        self.answer({"length": length, "crc": crc, "type": self.headers.get("content-type"),
                     "framing": self.framing(), "method": self.command})

    def parts(self, query):
        head = b"Content-Type: " + self.headers["content-type"].encode("latin-1") + b"\r\n\r\n"
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + b"".join(self.pieces()))
        found = []
        for part in message.iter_parts():
            data = part.get_payload(decode=True)
            found.append({"name": part.get_param("name", header="content-disposition"),
                          "filename": part.get_param("filename", header="content-disposition"),
                          "head": {k.lower(): v for k, v in part.items()}, "hex": data.hex()})
        self.answer({"parts": found, "defects": [str(d) for d in message.defects],
                     "length": int(self.headers["content-length"])})

    def form(self, query):
        text = b"".join(self.pieces()).decode("latin-1")
        pairs = [[unquote_plus(p, "latin-1") for p in pair.split("=", 1)] for pair in text.split("&")] if text else []
        self.answer({"pairs": pairs, "text": text, "type": self.headers.get("content-type")})

    def flow(self, query):
        for _ in self.pieces():
            pass
        total = int(query.get("bytes", 0))
        piece = min(int(query.get("piece", 1 << 18)), 1 << 20)
        pause = int(query.get("pause", 0)) / 1000
        cut = int(query.get("cut", total + 1))
        chunked = "chunked" in query
        self.send_response(int(query.get("status", 200)))
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(total))
        self.end_headers()
        sent = 0
        try:
            while sent < min(total, cut):
                at = sent % (1 << 20)
                data = PATTERN[at:at + min(piece, min(total, cut) - sent)]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked else data)
                sent += len(data)
                if pause:
                    time.sleep(pause)
            if cut <= total:
                self.close_connection = True
            elif chunked:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            count("aborted")
            self.close_connection = True

    def early(self, query):
        self.close_connection = "linger" not in query
        self.answer({"early": True}, int(query.get("status", 200)))
        if "linger" in query:
            time.sleep(int(query["linger"]) / 1000)
            length = sum(len(data) for data in self.pieces())
            stats["early"] = length

    def stats(self, query):
        with lock:
            self.answer(dict(stats))

    def handle_any(self):
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        name = url.path.strip("/")
        if name != "stats":
            count("requests")
        if name not in ("digest", "parts", "form", "flow", "early", "stats"):
            return self.answer({"error": "no such route"}, 404)
        try:
            getattr(self, name)(query)
        except (ConnectionError, BrokenPipeError, ValueError):
            count("aborted")
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256


server = Server(("127.0.0.1", settings.get("port") or 0), Handler)
with open(settings["ready"] + ".new", "w") as file:
    file.write("%d\n" % server.server_address[1])
os.rename(settings["ready"] + ".new", settings["ready"])
server.serve_forever()
