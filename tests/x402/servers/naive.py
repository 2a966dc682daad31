"""What a shop looks like that trusts the official Flask middleware: the attacks must work on it.

``naive.py PORT FACILITATOR_URL PAY_TO``. ``GET /ran`` says how often each resource was made.
"""

import sys
import threading
from collections import Counter

from flask import Flask
from x402.http import FacilitatorConfig, HTTPFacilitatorClientSync
from x402.http.middleware.flask import payment_middleware_from_config
from x402.http.types import PaymentOption, RouteConfig
from x402.mechanisms.evm.exact import ExactEvmServerScheme

NETWORK = "eip155:84532"
PRICE = "$0.01"
PATIENCE_SECONDS = 8.0


def make_app(facilitator_url: str, pay_to: str) -> Flask:
    app = Flask(__name__)
    ran: Counter[str] = Counter()
    lock = threading.Lock()

    @app.post("/api/instant/shop/<slug>")
    def sell(slug: str) -> dict[str, str]:
        with lock:
            ran[slug] += 1
        return {"response": f"the {slug} you paid for"}

    @app.get("/ran")
    def tell() -> dict[str, int]:
        return dict(ran)

    option = PaymentOption(
        scheme="exact", pay_to=pay_to, price=PRICE, network=NETWORK, max_timeout_seconds=600
    )
    payment_middleware_from_config(
        app,
        {"POST /api/instant/shop/*": RouteConfig(accepts=option)},
        HTTPFacilitatorClientSync(FacilitatorConfig(url=facilitator_url, timeout=PATIENCE_SECONDS)),
        [{"network": NETWORK, "server": ExactEvmServerScheme()}],  # type: ignore[no-untyped-call]
    )
    return app


if __name__ == "__main__":
    make_app(*sys.argv[2:]).run("127.0.0.1", int(sys.argv[1]), threaded=True)
