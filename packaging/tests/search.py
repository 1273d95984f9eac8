"""A stand-in for OpenSearch that takes `_bulk` as it does: each id once, then a conflict.

    search.py [CERTIFICATE KEY]       prints its port; HTTPS if it is given a certificate

GET / tells a version and counts what it holds, GET /documents tells all of it, a line each, in the
order of ids. `setup` finds nothing there, and may put anything. POST /mode/refuses refuses each
document of a `_bulk` for good, /mode/busy for now, until /mode/takes. With SEARCH_CALLS, the name of
a file, each signed request is written there as moto's recorder does it.
"""
import gzip
import http.server
import json
import os
import ssl
import sys

VERSION = {"number": "2.19.1", "distribution": "opensearch"}

# What a document is answered that is not taken.
MODES = {"takes": None, "refuses": (400, "mapper_parsing_exception"), "busy": (429, "rejected_execution_exception")}

seen = {}
mode = "takes"


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def say(self, data, status=200):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def say_json(self, value, status=200):
        self.say(json.dumps(value).encode(), status)

    def is_signed(self):
        """Whether it is, and writes it down."""
        if not self.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            return False
        if "SEARCH_CALLS" in os.environ:
            with open(os.environ["SEARCH_CALLS"], "a") as calls:
                calls.write(json.dumps({"headers": dict(self.headers), "method": self.command, "url": self.path}) + "\n")
        return True

    def do_GET(self):
        if self.path == "/documents":
            self.say(b"".join(line + b"\n" for _, line in sorted(seen.items())))
            return
        self.is_signed()
        if self.path == "/":
            documents = [json.loads(line) for line in seen.values()]
            attacks = sum("attack" in document for document in documents)
            self.say_json({"version": VERSION, "count": len(documents), "attacks": attacks})
            return
        self.say_json({"status": 404}, 404)

    def do_PUT(self):
        self.rfile.read(int(self.headers["content-length"]))
        if self.is_signed():
            self.say_json({"acknowledged": True})
        else:
            self.say_json({}, 403)

    def do_POST(self):
        global mode
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/mode/"):
            mode = self.path.removeprefix("/mode/")
            self.say_json({}, 200 if mode in MODES else 404)
        elif not self.is_signed():
            self.say_json({}, 403)
        elif self.path.startswith("/_bulk"):
            self.say_json(bulk(gzip.decompress(body).splitlines()))
        elif self.path.endswith("/api/saved_objects/_bulk_get"):
            self.say_json({"saved_objects": [it | {"error": {"statusCode": 404}} for it in json.loads(body)]})
        else:
            # A search that finds no monitor, a new monitor or channel, an import.
            self.say_json({"hits": {"hits": []}, "success": True})


def bulk(lines):
    items = []
    for action, document in zip(lines[::2], lines[1::2]):
        [(verb, what)] = json.loads(action).items()
        if MODES[mode]:
            status, kind = MODES[mode]
            items.append({verb: {"_id": what["_id"], "status": status, "error": {"type": kind, "reason": "as it was told"}}})
            continue
        new = what["_id"] not in seen
        seen[what["_id"]] = document
        items.append({verb: {"_id": what["_id"], "status": 201 if new else 409}})
    return {"took": 1, "errors": MODES[mode] is not None, "items": items}


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
