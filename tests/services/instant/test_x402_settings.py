"""Which networks, facilitator and chain a deployment has, by its settings."""

import pytest

from config.settings import Settings, SettingsError
from gateways.x402.networks import BASE, BASE_SEPOLIA
from services import toolbox
from services.toolbox import Role, Toolbox

FACILITATOR = "https://facilitator.example"
BENCH = {
    "DATABASE_URL": "postgresql://localhost/nothing",
    "REDIS_URL": "redis://localhost:1/0",
    "STAND_IN_URL": "http://127.0.0.1:8001",
}
REAL = BENCH | {
    "LNBITS_URL": "https://lnbits.example",
    "LNBITS_INVOICE_KEY": "income",
    "LNBITS_ADMIN_KEY": "payouts",
}


def built(environ: dict[str, str], **more: str) -> Toolbox:
    return toolbox.build(Settings.load(environ | more), Role.MODELS)


def test_on_the_bench_play_money_moves_on_a_chain_that_can_be_asked() -> None:
    tools = built(BENCH)

    assert tools.networks == (BASE_SEPOLIA,)
    assert tools.facilitator is not None
    assert tools.chain is not None
    assert tools.chain.knows(BASE_SEPOLIA.name)


def test_beside_a_real_lnbits_nothing_is_played() -> None:
    tools = built(REAL)

    assert toolbox.facilitator_url(tools.settings) is None
    assert tools.facilitator is None
    assert tools.chain is None


def test_a_facilitator_of_ours_is_asked_and_by_default_takes_real_money() -> None:
    for environ in (BENCH, REAL):
        tools = built(environ, X402_FACILITATOR_URL=FACILITATOR)

        assert toolbox.facilitator_url(tools.settings) == FACILITATOR
        assert tools.networks == (BASE,)
        assert tools.chain is None


def test_networks_are_those_that_are_named_in_their_order() -> None:
    tools = built(BENCH, X402_NETWORKS="eip155:84532, eip155:8453")

    assert tools.networks == (BASE_SEPOLIA, BASE)


def test_a_node_is_asked_about_its_own_network_only() -> None:
    node = '{"eip155:8453": "https://node.example/key"}'
    tools = built(REAL, X402_FACILITATOR_URL=FACILITATOR, X402_RPC_URLS=node)

    assert tools.chain is not None
    assert tools.chain.knows(BASE.name)
    assert not tools.chain.knows(BASE_SEPOLIA.name)


@pytest.mark.parametrize(
    "wrong", [{"X402_NETWORKS": "base"}, {"X402_RPC_URLS": '{"eip155:1": "https://node.example"}'}]
)
def test_a_network_that_nobody_knows_is_refused_at_start(wrong: dict[str, str]) -> None:
    (variable,) = wrong

    with pytest.raises(SettingsError, match=variable):
        built(BENCH, **wrong)
