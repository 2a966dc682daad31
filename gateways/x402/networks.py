"""The networks that are known, each with the USDC that is taken there."""

from gateways.x402 import Network

BASE = Network(
    name="eip155:8453",
    v1_name="base",
    chain_id=8453,
    asset="0x833589fcd6edb6e08f4c7c32d4f71b54bda02913",
    domain_name="USD Coin",
    domain_version="2",
)
BASE_SEPOLIA = Network(
    name="eip155:84532",
    v1_name="base-sepolia",
    chain_id=84532,
    asset="0x036cbd53842c5426634e7929541ec2318f3dcf7e",
    domain_name="USDC",
    domain_version="2",
)

NETWORKS = (BASE, BASE_SEPOLIA)
_BY_NAME = {network.name: network for network in NETWORKS}
_BY_V1_NAME = {network.v1_name: network for network in NETWORKS}


def by_name(name: str) -> Network | None:
    """The network of this CAIP-2 name."""
    return _BY_NAME.get(name)


def by_v1_name(name: str) -> Network | None:
    """The network that version 1 calls so. Some of its clients send the CAIP-2 name instead."""
    return _BY_V1_NAME.get(name) or _BY_NAME.get(name)
