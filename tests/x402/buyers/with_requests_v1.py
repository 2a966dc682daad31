"""``with_requests_v1.py URL KEY BODY``: buy with the official client of the first generation."""

import json
import sys

from eth_account import Account
from x402.clients.requests import x402_requests  # type: ignore[import-not-found]

url, key, body = sys.argv[1:]
session = x402_requests(Account.from_key(key))
answer = session.post(url, json=json.loads(body), timeout=60)

said = {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.json()}
json.dump(said, sys.stdout)
