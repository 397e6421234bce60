"""The guestbook's API: entries in Redis, as JSON over HTTP."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import redis

HOST, _, PORT = os.environ["REDIS"].partition(":")
ENTRIES = redis.Redis(HOST, int(PORT), decode_responses=True)


class Api(BaseHTTPRequestHandler):
    """GET /health, GET /entries, POST /entries with name and text as a form."""

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"redis": ENTRIES.ping()})
        elif self.path == "/entries":
            self.answer(200, [json.loads(entry) for entry in ENTRIES.lrange("entries", 0, 49)])
        else:
            self.answer(404, {"error": "there is nothing here"})

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())
        name, text = (form.get(field, [""])[0][:200] for field in ("name", "text"))
        if self.path != "/entries" or not name or not text:
            self.answer(400, {"error": "POST /entries takes name and text"})
            return
        ENTRIES.lpush("entries", json.dumps({"name": name, "text": text, "at": int(time.time())}))
        self.answer(201, {"entries": ENTRIES.llen("entries")})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", 4000), Api).serve_forever()
