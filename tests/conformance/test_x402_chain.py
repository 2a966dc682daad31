"""What the chain says of an authorization: moved, not moved, or nothing that proves either."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateways.http import HttpClient
from gateways.x402 import Moved, NotMoved, PaymentKey, Unknown, chain
from gateways.x402.chain import RpcChain
from gateways.x402.networks import BASE_SEPOLIA
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.testing import StandInClient
from models.money import UsdMicros
from tests.conformance.scripted_server import HANG, Heard, Say, ScriptedServer, json_answer

CREATOR = "0x" + "c0" * 20
PAYER = "0x" + "aa" * 20
NONCE = "0x" + "5e" * 32
PRICE = UsdMicros(10_000)
KEY = PaymentKey(network=BASE_SEPOLIA.name, asset=BASE_SEPOLIA.asset, payer=PAYER, nonce=NONCE)
FINALITY = timedelta(seconds=10)


@pytest.fixture
def node(stand_in: StandInClient, http: HttpClient) -> RpcChain:
    return RpcChain({BASE_SEPOLIA.name: f"{stand_in.url}/x402/rpc"}, http)


def asked(node: RpcChain, since: datetime | None = None) -> Moved | NotMoved | Unknown:
    return node.authorization(
        KEY, pay_to=CREATOR, amount=PRICE, since=since or datetime.now(UTC) - timedelta(hours=1)
    )


def moved(node: RpcChain) -> str:
    """The transaction that paid us."""
    finding = asked(node)
    assert isinstance(finding, Moved)
    return finding.transaction


def test_an_authorization_that_paid_us_has_moved(stand_in: StandInClient, node: RpcChain) -> None:
    transaction = stand_in.use_authorization(PAYER, NONCE, pay_to=CREATOR, micros=PRICE)

    assert moved(node) == transaction


def test_a_transfer_is_dated_by_its_block(stand_in: StandInClient, node: RpcChain) -> None:
    stand_in.advance_chain(-3600)
    used_at = datetime.now(UTC) - timedelta(hours=1)
    stand_in.use_authorization(PAYER, NONCE, pay_to=CREATOR, micros=PRICE)
    stand_in.advance_chain(3600)

    finding = asked(node)

    assert isinstance(finding, Moved)
    assert abs(finding.at - used_at) < timedelta(seconds=30)


def test_an_unused_authorization_has_not_moved_as_of_the_last_final_block(
    stand_in: StandInClient, node: RpcChain
) -> None:
    finding = asked(node)

    assert isinstance(finding, NotMoved)
    assert not finding.is_spent
    assert finding.as_of <= datetime.now(UTC) - FINALITY + timedelta(seconds=2)


def test_unused_is_for_ever_once_a_final_block_is_past_its_time(
    stand_in: StandInClient, node: RpcChain
) -> None:
    valid_before = datetime.now(UTC) + timedelta(minutes=10)
    before = asked(node)
    stand_in.advance_chain(560)
    not_final = asked(node)
    stand_in.advance_chain(100)
    after = asked(node)

    assert isinstance(before, NotMoved)
    assert isinstance(not_final, NotMoved)
    assert isinstance(after, NotMoved)
    assert not before.is_for_ever(valid_before)
    assert not not_final.is_for_ever(valid_before)
    assert after.is_for_ever(valid_before)


@pytest.mark.parametrize(
    ("pay_to", "micros"), [("0x" + "d0" * 20, PRICE), (CREATOR, PRICE - 1), (CREATOR, PRICE + 1)]
)
def test_a_nonce_used_for_something_else_has_not_moved_once_that_is_final(
    stand_in: StandInClient, node: RpcChain, pay_to: str, micros: int
) -> None:
    stand_in.use_authorization(PAYER, NONCE, pay_to=pay_to, micros=micros)
    at_once = asked(node)
    stand_in.advance_chain(30)
    later = asked(node)

    assert at_once == Unknown(reason="not_final")
    assert isinstance(later, NotMoved)
    assert later.is_for_ever(datetime.now(UTC) + timedelta(hours=1))


def test_a_cancelled_authorization_has_not_moved_once_that_is_final(
    stand_in: StandInClient, node: RpcChain
) -> None:
    stand_in.cancel_authorization(PAYER, NONCE)
    stand_in.advance_chain(30)

    finding = asked(node)

    assert isinstance(finding, NotMoved)
    assert finding.is_spent


@pytest.mark.parametrize("hours", [0.5, 1, 3, 24 * 30])
def test_a_use_of_long_ago_is_found_if_it_was_when_the_payment_was_seen(
    stand_in: StandInClient, node: RpcChain, hours: float
) -> None:
    transaction = stand_in.use_authorization(PAYER, NONCE, pay_to=CREATOR, micros=PRICE)
    stand_in.advance_chain(int(hours * 3600))

    assert moved(node) == transaction


def test_a_use_of_another_time_is_not_found(stand_in: StandInClient, node: RpcChain) -> None:
    stand_in.use_authorization(PAYER, NONCE, pay_to=CREATOR, micros=PRICE)
    stand_in.advance_chain(3 * 3600)

    assert asked(node, since=datetime.now(UTC) + timedelta(hours=2)) == Unknown(
        reason="use_not_found"
    )


def test_another_payers_nonce_is_not_ours(stand_in: StandInClient, node: RpcChain) -> None:
    stand_in.use_authorization("0x" + "bb" * 20, NONCE, pay_to=CREATOR, micros=PRICE)

    assert isinstance(asked(node), NotMoved)


def test_a_network_without_a_node_is_unknown(http: HttpClient) -> None:
    nowhere = RpcChain({}, http)

    assert not nowhere.knows(BASE_SEPOLIA.name)
    assert asked(nowhere) == Unknown(reason="no_node")


@pytest.mark.parametrize(
    "kind", [FaultKind.STATUS, FaultKind.RESET, FaultKind.TRUNCATED, FaultKind.BODY]
)
def test_a_node_that_fails_leaves_it_unknown(
    stand_in: StandInClient, node: RpcChain, kind: FaultKind
) -> None:
    stand_in.arm(Fault(target="x402.rpc", kind=kind, status=503))

    assert isinstance(asked(node), Unknown)


def test_a_node_that_hangs_leaves_it_unknown(
    server: ScriptedServer, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "CALL_SECONDS", 0.3)
    server.says(HANG)

    assert isinstance(asked(RpcChain({BASE_SEPOLIA.name: server.url}, http)), Unknown)


class ScriptedNode:
    """Answers by method; what is changed lies about one of them."""

    def __init__(self, server: ScriptedServer, http: HttpClient) -> None:
        self.answers: dict[str, Any] = {
            "eth_getBlockByNumber": {"number": "0x10", "timestamp": "0x70000000"},
            "eth_call": "0x" + f"{1:064x}",
            "eth_getLogs": [use_log()],
            "eth_getTransactionReceipt": {"status": "0x1", "logs": [use_log(), transfer_log()]},
        }
        server.respond = self._answer
        self.chain = RpcChain({BASE_SEPOLIA.name: server.url}, http)

    def _answer(self, heard: Heard) -> Say:
        said = self.answers[json.loads(heard.body)["method"]]
        key = "error" if said == "error" else "result"
        return json_answer({"jsonrpc": "2.0", "id": 1, key: said})


def _topic(address: str) -> str:
    return "0x" + "0" * 24 + address[2:]


def use_log(**more: Any) -> dict[str, Any]:
    topics = [chain.AUTHORIZATION_USED, _topic(PAYER), NONCE]
    return _log(topics, "0x", "0x3") | more


def transfer_log(**more: Any) -> dict[str, Any]:
    topics = [chain.TRANSFER, _topic(PAYER), _topic(CREATOR)]
    return _log(topics, hex(PRICE), "0x4") | more


def _log(topics: list[str], data: str, index: str) -> dict[str, Any]:
    return {
        "address": "0x036CbD53842c5426634e7929541eC2318f3dCF7e",
        "topics": topics,
        "data": data,
        "blockNumber": "0xf",
        "transactionHash": "0x" + "7a" * 32,
        "logIndex": index,
    }


@pytest.fixture
def scripted(server: ScriptedServer, http: HttpClient) -> ScriptedNode:
    return ScriptedNode(server, http)


def test_a_nodes_honest_answers_are_read(scripted: ScriptedNode) -> None:
    at = datetime.fromtimestamp(0x70000000, UTC)
    assert asked(scripted.chain) == Moved(transaction="0x" + "7a" * 32, at=at)


def test_a_transfer_whose_block_cannot_be_read_is_unknown(
    scripted: ScriptedNode, server: ScriptedServer
) -> None:
    """When it was decides whose it was."""
    rest = scripted._answer

    def without_block(heard: Heard) -> Say:
        if b'"0xf"' in heard.body and b"eth_getBlock" in heard.body:
            return json_answer({"jsonrpc": "2.0", "id": 1, "result": None})
        return rest(heard)

    server.respond = without_block

    assert asked(scripted.chain) == Unknown(reason="rpc_nothing")


def test_a_node_that_knows_no_final_blocks_is_asked_for_the_latest(
    scripted: ScriptedNode, server: ScriptedServer
) -> None:
    honest = scripted.answers["eth_getBlockByNumber"]

    def without_final(heard: Heard) -> Say:
        call = json.loads(heard.body)
        if call["params"][0] == "finalized":
            return json_answer({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602}})
        return json_answer({"jsonrpc": "2.0", "id": 1, "result": honest})

    scripted.answers["eth_call"] = "0x" + "0" * 64
    rest = scripted._answer
    server.respond = lambda heard: (
        without_final(heard) if b"eth_getBlock" in heard.body else rest(heard)
    )

    finding = asked(scripted.chain)

    assert finding == NotMoved(as_of=datetime.fromtimestamp(0x70000000, UTC), is_spent=False)


def test_only_the_transfer_right_after_the_use_belongs_to_it(scripted: ScriptedNode) -> None:
    """One transaction may use two authorizations, and only one of them pay us."""
    elsewhere = transfer_log(
        topics=[chain.TRANSFER, _topic(PAYER), _topic("0x" + "d0" * 20)], logIndex="0x4"
    )
    receipt = {"status": "0x1", "logs": [transfer_log(logIndex="0x5"), elsewhere, use_log()]}
    scripted.answers["eth_getTransactionReceipt"] = receipt

    finding = asked(scripted.chain)

    assert isinstance(finding, NotMoved)
    assert finding.is_spent


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("eth_getBlockByNumber", None),
        ("eth_getBlockByNumber", {"number": 16, "timestamp": "0x1"}),
        ("eth_getBlockByNumber", {"number": "0x10", "timestamp": "0x" + "f" * 20}),
        ("eth_call", "0x"),
        ("eth_call", "error"),
        ("eth_call", 1),
        ("eth_getLogs", "error"),
        ("eth_getLogs", {}),
        ("eth_getLogs", [{}]),
        ("eth_getLogs", []),
        ("eth_getLogs", [use_log(removed=True)]),
        ("eth_getLogs", [use_log(address="0x" + "00" * 20)]),
        ("eth_getLogs", [use_log(topics=[chain.AUTHORIZATION_USED, _topic(CREATOR), NONCE])]),
        ("eth_getTransactionReceipt", None),
        ("eth_getTransactionReceipt", {"status": "0x0", "logs": []}),
        ("eth_getTransactionReceipt", {"status": "0x1", "logs": []}),
        ("eth_getTransactionReceipt", {"status": "0x1", "logs": [use_log()]}),
    ],
)
def test_a_node_that_makes_no_sense_proves_nothing(
    scripted: ScriptedNode, method: str, said: Any
) -> None:
    scripted.answers[method] = said

    assert isinstance(asked(scripted.chain), Unknown)
