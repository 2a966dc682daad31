"""``with_httpx.py URL KEY BODY``: buy with the official client for httpx."""

import asyncio
import json
import sys

from eth_account import Account
from x402 import x402Client
from x402.http.clients import x402HttpxClient
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact import register_exact_evm_client


async def main() -> None:
    url, key, body = sys.argv[1:]
    client = x402Client()
    register_exact_evm_client(client, EthAccountSigner(Account.from_key(key)))
    async with x402HttpxClient(client, timeout=60) as session:
        answer = await session.post(url, json=json.loads(body))
    said = {"status": answer.status_code, "headers": dict(answer.headers), "body": answer.json()}
    json.dump(said, sys.stdout)


asyncio.run(main())
