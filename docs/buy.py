"""Buy a run: ``python buy.py URL BODY``. The private key of the wallet is in ``WALLET_KEY``."""

import json
import os
import sys
import time
import uuid

import requests
from eth_account import Account
from x402 import x402ClientSync
from x402.http.clients import x402_requests
from x402.http.clients.requests import PaymentError
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client

PAUSES_SECONDS = [2, 4, 8, 16, 32]

url, body = sys.argv[1], json.loads(sys.argv[2])
# A name of this purchase: under one name a run is bought once, however often it is asked for.
name = {"Idempotency-Key": str(uuid.uuid4())}
client = x402ClientSync()
register_exact_evm_client(client, EthAccountSigner(Account.from_key(os.environ["WALLET_KEY"])))


def buy(session: requests.Session) -> requests.Response:
    """The shop's answer. Asks again while nobody can say whether the payment was taken."""
    for pause in PAUSES_SECONDS:
        try:
            answer = session.post(url, json=body, headers=name, timeout=120)
            if answer.status_code != 503 or "not_ready" not in answer.text:
                return answer
        except (requests.RequestException, PaymentError) as problem:
            print("Once more:", problem, file=sys.stderr)
        time.sleep(pause)
    return session.post(url, json=body, headers=name, timeout=120)


with x402_requests(client) as session:
    answer = buy(session)
    status_url = answer.json().get("statusUrl")
    # it takes longer: the same body, at an address of its own, where 503 is no more than "not now"
    while status_url and answer.status_code in (202, 503):
        time.sleep(2)
        answer = session.get(status_url, timeout=120)

answer.raise_for_status()
print(json.dumps(answer.json(), indent=2))
