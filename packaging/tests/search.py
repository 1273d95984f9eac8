"""A stand-in for OpenSearch that takes `_bulk` as it does: each id once, then a conflict.

    search.py [CERTIFICATE KEY]       prints its port; HTTPS if it is given a certificate

GET / counts what it holds, GET /documents tells all of it, a line each, in the order of ids.
"""
import gzip
import http.server
import json
import ssl
import sys

seen = {}


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def say(self, data):
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/documents":
            self.say(b"".join(line + b"\n" for _, line in sorted(seen.items())))
            return
        documents = [json.loads(line) for line in seen.values()]
        attacks = sum("attack" in document for document in documents)
        self.say(json.dumps({"count": len(documents), "attacks": attacks}).encode())

    def do_POST(self):
        if not self.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            self.send_response(403)
            self.end_headers()
            return
        lines = gzip.decompress(self.rfile.read(int(self.headers["content-length"]))).splitlines()
        items = []
        for action, document in zip(lines[::2], lines[1::2]):
            [(verb, what)] = json.loads(action).items()
            new = what["_id"] not in seen
            seen[what["_id"]] = document
            items.append({verb: {"status": 201 if new else 409}})
        self.say(json.dumps({"took": 1, "errors": False, "items": items}).encode())


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
if len(sys.argv) > 1:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
