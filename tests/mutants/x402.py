"""Defects of paying over x402: each gives something away, or sells one payment twice."""

from tests.mutants.catalogue import Change, Mutant

CHECKS = "services/instant/requirements.py"
WIRE = "gateways/x402/wire.py"
CHECKED_BY = ("tests/services/instant/test_requirements.py",)
READ_BY = ("tests/rules/test_x402_wire.py",)


def _one(name: str, file: str, old: str, new: str, caught_by: tuple[str, ...]) -> Mutant:
    change = Change(file=file, old=old, new=new)
    return Mutant(name=name, changes=(change,), caught_by=caught_by)


X402_MUTANTS = (
    _one(
        "x402: the facilitator is sent the payer's spelling",
        CHECKS,
        '        "accepted": dict(requirement),\n',
        "",
        CHECKED_BY,
    ),
    _one(
        "x402: a parity that the token refuses",
        WIRE,
        '_PARITIES = {"00": "1b", "01": "1c"}',
        '_PARITIES = {"": ""}',
        READ_BY,
    ),
    _one(
        "x402: anybody's signature",
        CHECKS,
        "payment.signature) != authorization.payer:",
        "payment.signature) is None:",
        CHECKED_BY,
    ),
    _one(
        "x402: anybody is paid",
        CHECKS,
        "    if authorization.pay_to != requirement.pay_to:\n",
        "    if authorization.pay_to == authorization.payer:\n",
        CHECKED_BY,
    ),
    _one(
        "x402: more is as good as enough",
        CHECKS,
        "    if authorization.amount != requirement.amount:\n",
        "    if authorization.amount < requirement.amount:\n",
        CHECKED_BY,
    ),
    _one(
        "x402: no time left to run",
        CHECKS,
        "    if not run + TIME_BESIDE_THE_RUN <= left <= LONGEST:\n",
        "    if not TIME_BESIDE_THE_RUN <= left <= LONGEST:\n",
        CHECKED_BY,
    ),
    _one(
        "x402: good for ever",
        CHECKS,
        "    if not run + TIME_BESIDE_THE_RUN <= left <= LONGEST:\n",
        "    if not run + TIME_BESIDE_THE_RUN <= left:\n",
        CHECKED_BY,
    ),
    _one(
        "x402: valid some day",
        CHECKS,
        "    if authorization.valid_after > now.timestamp():\n",
        "    if authorization.valid_after > now.timestamp() + 3600:\n",
        CHECKED_BY,
    ),
    _one(
        "x402: what the client says it fulfils is not looked at",
        CHECKS,
        "    if _comparable(payment.accepted or {}) != _comparable(requirement.v2()):\n",
        "    if not payment.accepted:\n",
        CHECKED_BY,
    ),
    _one(
        "x402: paid for another resource's offer",
        CHECKS,
        "    if named != wanted or not offer.is_current(now):\n",
        "    if named[1:] != wanted[1:] or not offer.is_current(now):\n",
        CHECKED_BY,
    ),
    _one(
        "x402: an offer for ever",
        CHECKS,
        "    if named != wanted or not offer.is_current(now):\n",
        "    if named != wanted:\n",
        CHECKED_BY,
    ),
    _one(
        "x402: an unsigned offer",
        "services/instant/offers.py",
        "    if not any(hmac.compare_digest(tag, ours) for ours in tags):\n",
        "    if not tags:\n",
        ("tests/services/instant/test_offers.py",),
    ),
    _one(
        "x402: two spellings of one nonce",
        WIRE,
        '_matching(stated, "nonce", _NONCE).lower()',
        '_matching(stated, "nonce", _NONCE)',
        READ_BY,
    ),
    _one(
        "x402: base64 read leniently",
        WIRE,
        "base64.b64decode(text, validate=True)",
        "base64.b64decode(text)",
        READ_BY,
    ),
    _one(
        "x402: another transfer method beside the one looked at",
        WIRE,
        '    if set(inner) != {"signature", "authorization"}:\n',
        '    if not {"signature", "authorization"} <= set(inner):\n',
        READ_BY,
    ),
    _one(
        "x402: a used nonce is taken for a refusal",
        "gateways/x402/facilitator.py",
        '        "insufficient_funds",\n',
        '        "insufficient_funds",\n        "invalid_exact_evm_nonce_already_used",\n',
        ("tests/conformance/test_x402_facilitator.py",),
    ),
    _one(
        "x402: a time-out is taken for a refusal",
        "gateways/x402/facilitator.py",
        "            return Settlement(outcome=SettlementOutcome.UNKNOWN, reason=error.code)\n",
        "            return Settlement(outcome=SettlementOutcome.REFUSED, reason=error.code)\n",
        ("tests/conformance/test_x402_facilitator.py",),
    ),
    _one(
        "x402: success on whatever network",
        "gateways/x402/facilitator.py",
        "    if said.network not in _spellings(network):\n",
        "    if not said.network:\n",
        ("tests/conformance/test_x402_facilitator.py",),
    ),
    _one(
        "x402: unused now is unused for ever",
        "gateways/x402/__init__.py",
        "        return self.is_spent or self.as_of >= valid_before\n",
        "        return True\n",
        ("tests/conformance/test_x402_chain.py",),
    ),
    _one(
        "x402: any transfer of the transaction",
        "gateways/x402/chain.py",
        '            and int(log["logIndex"], 16) > int(use["logIndex"], 16)\n',
        "",
        ("tests/conformance/test_x402_chain.py",),
    ),
)
