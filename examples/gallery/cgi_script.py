"""The script that cgi_server.py runs for each request."""

import os
import sys

name = sys.stdin.read(int(os.environ.get("CONTENT_LENGTH") or 0)) or "you"
print("Content-Type: text/plain")
print("Status: 200 OK")
print()
print(f"Hello, {name}: {os.environ['REQUEST_METHOD']} {os.environ['QUERY_STRING']}")
