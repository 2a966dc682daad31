"""``with_requests.py URL KEY BODY``: buy with the official client for requests."""

import json
import sys

from eth_account import Account
from x402 import x402ClientSync
from x402.http.clients import x402_requests
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client

url, key, body = sys.argv[1:]
client = x402ClientSync()
register_exact_evm_client(client, EthAccountSigner(Account.from_key(key)))
with x402_requests(client) as session:
    answer = session.post(url, json=json.loads(body), timeout=60)

said = {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.json()}
json.dump(said, sys.stdout)
