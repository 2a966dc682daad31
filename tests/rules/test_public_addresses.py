"""Which addresses a stranger may send us to."""

import pytest

from gateways.public_addresses import is_public, is_public_name

PUBLIC = (
    *("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a01:4f8::1"),
    *("::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::808:808"),
)
NOT_PUBLIC = {
    "loopback": "127.0.0.1",
    "loopback elsewhere": "127.8.9.10",
    "this host": "0.0.0.0",
    "this network": "0.1.2.3",
    "private 10": "10.0.0.1",
    "private 172": "172.16.0.1",
    "private 192": "192.168.1.1",
    "carrier's": "100.64.0.1",
    "link": "169.254.1.1",
    "cloud metadata": "169.254.169.254",
    "documentation": "203.0.113.5",
    "benchmarking": "198.18.0.1",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "loopback 6": "::1",
    "nobody 6": "::",
    "link 6": "fe80::1",
    "link 6 with its scope": "fe80::1%eth0",
    "public 6 with a scope": "2606:4700::1111%1",
    "unique local": "fd00::1",
    "cloud metadata 6": "fd00:ec2::254",
    "site local": "fec0::1",
    "multicast 6": "ff02::1",
    "documentation 6": "2001:db8::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped metadata": "::ffff:a9fe:a9fe",
    "compatible loopback": "::127.0.0.1",
    "6to4 loopback": "2002:7f00:1::1",
    "6to4 private": "2002:a00:1::1",
    "NAT64 loopback": "64:ff9b::7f00:1",
    "NAT64 metadata": "64:ff9b::a9fe:a9fe",
    "local NAT64": "64:ff9b:1::808:808",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "no address": "wallet.example",
    "octal": "0177.0.0.1",
    "a number": "2130706433",
    "nothing": "",
}


@pytest.mark.parametrize("address", PUBLIC)
def test_a_host_of_the_open_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC)
def test_what_only_we_could_reach_is_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host", ["wallet.example", "WALLET.example.", "8.8.8.8", "xn--bcher-kva.example"]
)
def test_a_name_with_a_domain_may_be_public(host: str) -> None:
    assert is_public_name(host)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "wallet", "a.localhost", "printer.local", "db.internal", "x.onion", ""),
        *("127.0.0.1", "[::1]", "10.0.0.1", "router.lan", "LOCALHOST.", "nas.home.arpa"),
        *("127.1", "0x7f.1", "wallet.0x7f000001", "2130706433", "wallet.example.1", "0177.0.0.1."),
    ],
)
def test_a_name_of_our_own_network_is_not(host: str) -> None:
    assert not is_public_name(host)
