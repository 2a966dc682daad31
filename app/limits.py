"""Who asks, as limits count it."""

import ipaddress

from flask import request

from services.jobs.demo import Client

UNKNOWN = "unknown"


def client() -> Client:
    """The client of this request: ProxyFix has put its address in, where proxies are trusted."""
    return count_as(request.remote_addr or UNKNOWN)


def count_as(address: str) -> Client:
    """IPv4 counts by address, IPv6 by /64 and, more widely, by /48: one caller has all of it."""
    try:
        parsed = ipaddress.ip_address(_without_port(address).split("%", 1)[0])
    except ValueError:
        return Client(key=UNKNOWN, network=UNKNOWN)
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return Client(key=_network(parsed, 64), network=_network(parsed, 48))
    plain = str(parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else parsed)
    return Client(key=plain, network=plain)


def _without_port(address: str) -> str:
    """Some proxies forward the port as well: ``192.0.2.7:4711``, ``[2001:db8::1]:4711``."""
    if address.startswith("["):
        return address[1:].partition("]")[0]
    host, _, _ = address.partition(":")
    return host if "." in host else address


def _network(address: ipaddress.IPv6Address, bits: int) -> str:
    return str(ipaddress.ip_network((address, bits), strict=False))
