"""The guestbook's page: what the API has, as HTML."""

import json
import os
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

API = os.environ["API"]
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Guestbook</title>
<style>
  body {{ font: 18px/1.5 system-ui, sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem; color: #223 }}
  li {{ margin: .4rem 0 }} input, button {{ font: inherit; padding: .3rem .6rem }} form {{ margin-top: 2rem }}
</style>
<h1>Guestbook</h1>
<ul>{entries}</ul>
<form method="post"><input name="name" placeholder="name" required>
<input name="text" placeholder="text" required> <button>Sign</button></form></html>
"""


class Web(BaseHTTPRequestHandler):
    """GET / shows the entries, POST / signs."""

    def do_GET(self):
        entries = json.load(urlopen(f"{API}/entries", timeout=5))
        shown = "".join(f"<li><b>{escape(one['name'])}</b> {escape(one['text'])}</li>" for one in entries)
        body = PAGE.format(entries=shown).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        form = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        urlopen(Request(f"{API}/entries", form), timeout=5).read()
        self.send_response(303)
        self.send_header("Location", "/")
        self.end_headers()


ThreadingHTTPServer(("127.0.0.1", 3000), Web).serve_forever()
