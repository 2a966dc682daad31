"""``python -m workers.creators``: list who may publish instant resources, and let somebody in.

    python -m workers.creators                                        list
    python -m workers.creators register ada --pay eip155:8453=0x…     print the new API key, once
    python -m workers.creators renew ada                              another API key, for one lost

Wants the environment of the web process. Exit code 1 when what was wished was refused.
"""

import argparse
import sys

from services.instant import creators
from services.instant.creators import Account
from services.toolbox import Toolbox
from workers import command


def main(arguments: list[str]) -> int:
    wish = _parser().parse_args(arguments)
    return command.run(lambda tools: _do(tools, wish))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="creators")
    wishes = parser.add_subparsers(dest="wish")
    register = wishes.add_parser("register", help="let a creator in")
    register.add_argument("handle")
    register.add_argument(
        "--pay",
        action="append",
        default=[],
        type=_address,
        metavar="NETWORK=ADDRESS",
        help="where callers pay, such as eip155:8453=0x…; once a network",
    )
    renew = wishes.add_parser("renew", help="make another API key; the old one opens nothing")
    renew.add_argument("handle")
    return parser


def _address(said: str) -> tuple[str, str]:
    network, is_there, address = said.partition("=")
    if not is_there:
        raise argparse.ArgumentTypeError(f"{said} is not NETWORK=ADDRESS")
    return network, address


def _do(tools: Toolbox, wish: argparse.Namespace) -> int:
    sys.stdout.write(_said(tools, wish))
    return 0


def _said(tools: Toolbox, wish: argparse.Namespace) -> str:
    """What is to be printed. Raises RuleBroken."""
    if wish.wish == "register":
        return f"{creators.register(tools, wish.handle, dict(wish.pay)).api_key}\n"
    if wish.wish == "renew":
        return f"{creators.renew_api_key(tools, wish.handle)}\n"
    return "".join(_line_of(account) for account in creators.every(tools))


def _line_of(account: Account) -> str:
    of = account.creator
    paid = " ".join(f"{network}={address}" for network, address in account.addresses.items())
    keys = " ".join(f"{key.provider.value}:…{key.last4}" for key in account.keys)
    parts = (of.handle, f"key …{of.api_key_last4}", paid or "no payout address", keys or "no keys")
    return "  ".join(parts) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
