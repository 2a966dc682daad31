"""A facilitator on loopback, made of x402's own class; run by the environment that has it.

``facilitator.py PORT RPC_URL KEY``. Beside ``/verify``, ``/settle`` and ``/supported`` it has
``PUT /faults`` (what goes wrong from now on, by endpoint) and ``GET /calls`` (what was asked).
"""

import json
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from x402 import x402FacilitatorSync
from x402.mechanisms.evm import FacilitatorWeb3Signer
from x402.mechanisms.evm.exact import register_exact_evm_facilitator
from x402.schemas.helpers import parse_payment_payload, parse_payment_requirements

NETWORK = "eip155:84532"
CONFIRMATION_SECONDS = 1.0
"""A block is there at once, unless a test has stopped the chain."""
LONGEST_HANG_SECONDS = 300.0
INVENTED = "0x" + "ab" * 32
NOBODY = "0x" + "77" * 20


class Fault(StrEnum):
    NONE = ""
    HANG_BEFORE = "hang_before"
    """Takes the request, does nothing, and answers nobody until the fault is taken back."""
    HANG_AFTER = "hang_after"
    """Does what it was asked, then answers nobody until the fault is taken back."""
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    """Does what it was asked and hangs up."""
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    """Does what it was asked and answers 500."""
    GARBAGE_AFTER = "garbage_after"
    """Does what it was asked and answers 200 with what is no JSON."""
    LIE = "lie"
    """Says yes to everything and does nothing."""
    DENY_AFTER = "deny_after"
    """Does what it was asked and says that it failed."""
    CAREFUL = "careful"
    """No fault: tries a transfer out before it sends it, and so refuses what would fail."""
    OTHER_NETWORK = "other_network"
    OTHER_PAYER = "other_payer"
    """Says yes, of somebody else's payment, and does nothing."""


BEFORE = {Fault.HANG_BEFORE, Fault.DROP_BEFORE, Fault.ERROR_BEFORE}
IDLE = {Fault.LIE, Fault.OTHER_NETWORK, Fault.OTHER_PAYER, *BEFORE}
HANGS = {Fault.HANG_BEFORE, Fault.HANG_AFTER}
DROPS = {Fault.DROP_BEFORE, Fault.DROP_AFTER}
ERRORS = {Fault.ERROR_BEFORE, Fault.ERROR_AFTER}

Json = dict[str, Any]


class Signer(FacilitatorWeb3Signer):
    """x402's own, but for its gap: a number reserved for what was never sent blocks all later."""

    def write_contract(self, *args: Any, **options: Any) -> str:
        try:
            return str(super().write_contract(*args, **options))
        except Exception:
            self.count_anew()
            raise

    def count_anew(self) -> None:
        """Ask the chain which number is next: it may have been taken back, or never been sent."""
        with self._nonce_lock:
            self._next_nonce = None


class Facilitator:
    def __init__(self, rpc_url: str, key: str) -> None:
        self._signer = Signer(key, rpc_url, confirmation_timeout_seconds=CONFIRMATION_SECONDS)
        self._core = _core(self._signer, is_careful=False)
        self._careful = _core(self._signer, is_careful=True)
        self._lock = threading.Lock()
        self._faults: dict[str, Fault] = {}
        self._released = threading.Event()
        self.calls: list[Json] = []

    def set_faults(self, faults: dict[str, str]) -> None:
        """Exactly these from now on; who hangs is let go."""
        with self._lock:
            self._faults = {endpoint: Fault(name) for endpoint, name in faults.items()}
            self._released.set()
            self._released = threading.Event()

    def fault(self, endpoint: str) -> tuple[Fault, threading.Event]:
        with self._lock:
            return self._faults.get(endpoint, Fault.NONE), self._released

    def forget(self) -> None:
        """All that was asked, and what the chain was like then."""
        self.calls.clear()
        self._signer.count_anew()

    def supported(self) -> Json:
        return _json(self._core.get_supported())

    def verify(self, body: Json) -> Json:
        try:
            return _json(self._core.verify(*_parsed(body)))
        except Exception as error:  # noqa: BLE001 - it raises for what it should call invalid
            return {"isValid": False, "invalidReason": "unexpected_verify_error", **_said(error)}

    def settle(self, body: Json) -> Json:
        is_careful = self.fault("settle")[0] is Fault.CAREFUL
        core = self._careful if is_careful else self._core
        try:
            return _json(core.settle(*_parsed(body)))
        except Exception as error:  # noqa: BLE001
            refusal = {"success": False, "transaction": "", "network": _network(body)}
            return {**refusal, "errorReason": "unexpected_settle_error", **_said(error)}


def _core(signer: Signer, *, is_careful: bool) -> x402FacilitatorSync:
    core = x402FacilitatorSync()
    register_exact_evm_facilitator(core, signer, networks=[NETWORK], simulate_in_settle=is_careful)
    return core


def _parsed(body: Json) -> tuple[Any, Any]:
    payload, requirements = (
        json.dumps(body[name]).encode() for name in ("paymentPayload", "paymentRequirements")
    )
    return (
        parse_payment_payload(payload),
        parse_payment_requirements(body["x402Version"], requirements),
    )


def _said(error: Exception) -> Json:
    return {"errorMessage": f"{type(error).__name__}: {error}"}


def _json(model: Any) -> Json:
    made: Json = json.loads(model.model_dump_json(by_alias=True, exclude_none=True))
    return made


def _network(body: Json) -> str:
    return str(body.get("paymentRequirements", {}).get("network", NETWORK))


def _authorization(body: Json) -> Json:
    payload = body.get("paymentPayload", {}).get("payload", {})
    made: Json = payload.get("authorization", {})
    return made


def _yes(endpoint: str, body: Json, fault: Fault) -> Json:
    payer = NOBODY if fault is Fault.OTHER_PAYER else _authorization(body).get("from")
    network = "eip155:1" if fault is Fault.OTHER_NETWORK else _network(body)
    if endpoint == "verify":
        return {"isValid": True, "payer": payer}
    return {"success": True, "transaction": INVENTED, "network": network, "payer": payer}


def _no(endpoint: str, body: Json) -> Json:
    if endpoint == "verify":
        return {"isValid": False, "invalidReason": "insufficient_funds"}
    reason = "transaction_failed"
    return {
        "success": False,
        "errorReason": reason,
        "transaction": "",
        "network": _network(body),
        "payer": _authorization(body).get("from"),
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    facilitator: Facilitator

    def log_message(self, *args: object) -> None:
        """Nothing: a busy test asks thousands of times."""

    def do_GET(self) -> None:
        if self.path == "/supported":
            return self._answer(200, self.facilitator.supported())
        return self._answer(200, {"calls": self.facilitator.calls})

    def do_PUT(self) -> None:
        self.facilitator.set_faults(self._body())
        self._answer(200, {})

    def do_DELETE(self) -> None:
        self.facilitator.forget()
        self._answer(200, {})

    def do_POST(self) -> None:
        endpoint = self.path.removeprefix("/")
        fault, released = self.facilitator.fault(endpoint)
        body = self._body()
        answer = self._done(endpoint, body, fault)
        self.facilitator.calls.append(
            {"endpoint": endpoint, "nonce": _authorization(body).get("nonce"), "answer": answer}
        )
        self._deliver(fault, released, answer)

    def _done(self, endpoint: str, body: Json, fault: Fault) -> Json:
        if fault in BEFORE:
            return {}
        if fault in IDLE:
            return _yes(endpoint, body, fault)
        work: Callable[[Json], Json] = getattr(self.facilitator, endpoint)
        answer = work(body)
        return _no(endpoint, body) if fault is Fault.DENY_AFTER else answer

    def _deliver(self, fault: Fault, released: threading.Event, answer: Json) -> None:
        if fault in HANGS:
            released.wait(LONGEST_HANG_SECONDS)
        if fault in HANGS | DROPS:
            self.close_connection = True
            return
        if fault in ERRORS:
            self._answer(500, {"error": "the facilitator is in pieces"})
        elif fault is Fault.GARBAGE_AFTER:
            self._send(200, b"<html>no JSON at all")
        else:
            self._answer(200, answer)

    def _body(self) -> Json:
        made: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return made

    def _answer(self, status: int, body: Json) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    port, rpc_url, key = sys.argv[1:]
    Handler.facilitator = Facilitator(rpc_url, key)
    Server(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()
