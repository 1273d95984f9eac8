"""An instance metadata service, version 2, and a bucket, for a host that is booted in a test.

    imds.py PORT FOLDER

A request for metadata without a token gets 401, as IMDSv2 answers. What lies in FOLDER is given to
GET /bucket/NAME, if the request is signed in form by the credentials that are handed out.
"""
import http.server
import json
import pathlib
import sys

TOKEN, KEY, SESSION = "token-for-tests", "ASIATEST", "session-for-tests"
CREDENTIALS = {
    "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": KEY, "SecretAccessKey": "secret/with+signs", "Token": SESSION,
    "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2036-01-01T00:00:00Z",
}
PAGES = {
    "meta-data/instance-id": "i-0123456789abcdef0",
    "meta-data/placement/region": "us-east-1",
    "meta-data/placement/availability-zone": "us-east-1a",
    "meta-data/tags/instance/twosec-stream": "from-the-tag",
    "meta-data/iam/security-credentials/": "twosec-agent",
    "meta-data/iam/security-credentials/twosec-agent": json.dumps(CREDENTIALS),
    "dynamic/instance-identity/document": json.dumps(
        {"region": "us-east-1", "availabilityZone": "us-east-1a", "instanceId": "i-0123456789abcdef0", "instanceType": "t4g.small", "accountId": "123456789012", "imageId": "ami-1"}),
}


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def say(self, code, body=b""):
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "300")
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        ok = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self.say(200 if ok else 400, TOKEN.encode() if ok else b"")

    def do_GET(self):
        if self.path.startswith("/bucket/"):
            signed = f"Credential={KEY}/" in self.headers.get("Authorization", "") and self.headers.get("X-Amz-Security-Token") == SESSION
            file = FOLDER / self.path.removeprefix("/bucket/")
            if not signed:
                return self.say(403)
            return self.say(200, file.read_bytes()) if file.is_file() else self.say(404)
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            return self.say(401)
        page = PAGES.get(self.path.removeprefix("/latest/"))
        self.say(404) if page is None else self.say(200, page.encode())


FOLDER = pathlib.Path(sys.argv[2])
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
