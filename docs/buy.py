"""Buy a run: ``python buy.py URL BODY``. The private key of the wallet is in ``WALLET_KEY``."""

import json
import os
import sys
import time

from eth_account import Account
from x402 import x402ClientSync
from x402.http.clients import x402_requests
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client

url, body = sys.argv[1], json.loads(sys.argv[2])
client = x402ClientSync()
register_exact_evm_client(client, EthAccountSigner(Account.from_key(os.environ["WALLET_KEY"])))

with x402_requests(client) as session:
    answer = session.post(url, json=body, timeout=120)
    status_url = answer.json().get("statusUrl")
    while answer.status_code == 202:  # it takes longer: the same body, at an address of its own
        time.sleep(2)
        answer = session.get(status_url, timeout=120)

answer.raise_for_status()
print(json.dumps(answer.json(), indent=2))
