"""EIP-712: who signed an authorization. eth-account is imported late: it takes a second."""

from gateways.x402 import Authorization, Network

ONE_KEY_SIGNATURE_CHARS = 2 + 2 * 65
HIGHEST_S = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0
"""Half the order of the curve: above it is the mirror image of a signature, which USDC refuses."""

_TYPES = {
    "TransferWithAuthorization": [
        {"name": "from", "type": "address"},
        {"name": "to", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "validAfter", "type": "uint256"},
        {"name": "validBefore", "type": "uint256"},
        {"name": "nonce", "type": "bytes32"},
    ]
}


def is_of_one_key(signature: str) -> bool:
    """Whether this can be a plain wallet's; what a smart wallet signs is for the chain to judge."""
    return len(signature) == ONE_KEY_SIGNATURE_CHARS


def signer(network: Network, authorization: Authorization, signature: str) -> str | None:
    """The address, lower case, that made this 65-byte signature; None = nobody's.

    Facilitators have verified what the token then would not settle: that is work for nothing.
    """
    if int(signature[66:130], 16) > HIGHEST_S:
        return None
    from eth_account import Account
    from eth_account.messages import encode_typed_data

    signable = encode_typed_data(
        domain_data={
            "name": network.domain_name,
            "version": network.domain_version,
            "chainId": network.chain_id,
            "verifyingContract": network.asset,
        },
        message_types=_TYPES,
        message_data=_message(authorization),
    )
    try:
        address: str = Account.recover_message(signable, signature=bytes.fromhex(signature[2:]))
    except Exception:  # noqa: BLE001  the library has no common base for "this is no signature"
        return None
    return address.lower()


def _message(authorization: Authorization) -> dict[str, object]:
    return {
        "from": authorization.payer,
        "to": authorization.pay_to,
        "value": authorization.amount,
        "validAfter": authorization.valid_after,
        "validBefore": authorization.valid_before,
        "nonce": bytes.fromhex(authorization.nonce[2:]),
    }
