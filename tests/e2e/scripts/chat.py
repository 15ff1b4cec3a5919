"""Accept POST requests as a chat's incoming webhook does, and print each message as a line of the log."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Chat(BaseHTTPRequestHandler):
    """Handler that answers every POST with 200."""

    def do_POST(self) -> None:
        """Print the message, if it is JSON in the format of chats."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        sys.stdout.write(json.dumps(json.loads(body)) + "\n")
        sys.stdout.flush()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the base class calls it so)
        """Log no requests, because the log must contain only messages."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", json.loads(sys.argv[1])["port"]), Chat).serve_forever()
