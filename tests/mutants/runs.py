"""Defects of runs: each sells a payment twice, charges for nothing, or gives a result away."""

from tests.mutants.catalogue import Change, Mutant

INTAKE = "services/instant/intake.py"
RUNS = "services/instant/runs.py"
SETTLEMENT = "services/instant/settlement.py"
BY_RACES = "tests/races/test_runs.py"
BY_CALLERS = "tests/app/test_instant.py"
BY_LIMITS = "tests/services/instant/test_limits.py"
BY_WORK = "tests/services/instant/test_runs.py"
BY_MONEY = "tests/services/instant/test_settlement.py"


_PAYMENTS_TWICE = (
    Change(
        file="models/run.py",
        old='            "nonce",\n            unique=True,\n',
        new='            "nonce",\n',
    ),
    Change(
        file="models/migrations/versions/0005_instant_resources.py",
        old='        ["network", "asset", "payer", "nonce"],\n        unique=True,\n',
        new='        ["network", "asset", "payer", "nonce"],\n',
    ),
)


def _one(name: str, file: str, old: str, new: str, *caught_by: str) -> Mutant:
    change = Change(file=file, old=old, new=new)
    return Mutant(name=f"runs: {name}", changes=(change,), caught_by=caught_by)


RUN_MUTANTS = (
    _one(
        "anybody fills up a payer's places",
        "services/instant/limits.py",
        "    theirs = and_(runs, ~_MAY_BE_MADE_UP) if is_of_one_key(signature) else runs\n",
        "    theirs = runs\n",
        *(BY_LIMITS, "-k", "made_up"),
    ),
    _one(
        "what nobody can judge waits in a resource's places",
        RUNS,
        "        if is_of_one_key(_signature(held.run)) or error.code in MAY_BE_THE_HOUR:",
        "        if error.code:",
        *(BY_LIMITS, "-k", "judge"),
    ),
    _one(
        "what was paused meanwhile is sold",
        INTAKE,
        "        require_still_on_sale(session, sale)\n",
        "",
        *(BY_RACES, "-k", "goes_off"),
    ),
    _one(
        "a caller's Host is listed",
        INTAKE,
        "is_listed=tools.settings.public_url is not None",
        "is_listed=True",
        *("tests/app/test_payment_required.py", "-k", "address_of_their"),
    ),
    _one(
        "a run sleeps for as long as the facilitator likes",
        RUNS,
        "delay=delay, at_latest=_last_asked_at(tools)",
        "delay=delay",
        *(BY_WORK, "-k", "in_vain"),
    ),
    _one(
        "copies are counted at once",
        "services/instant/limits.py",
        "    if payer is not None:\n",
        "    if payer is None:\n",
        *(BY_RACES, "-k", "many_payments"),
    ),
    _one(
        "a public payment opens the result",
        INTAKE,
        "    if not is_theirs or run.resource_id != sale.resource.id:",
        "    if run.resource_id != sale.resource.id:",
        *(BY_CALLERS, "-k", "rebuilt"),
    ),
    _one(
        "another resource's payment opens the result",
        INTAKE,
        "    if not is_theirs or run.resource_id != sale.resource.id:",
        "    if not is_theirs:",
        *(BY_CALLERS, "-k", "not_taken_at_another"),
    ),
    _one(
        "an identifier stands for any request",
        INTAKE,
        "    if known.request_hash == new.request_hash:",
        "    if known.request_hash:",
        *(BY_CALLERS, "-k", "identifier"),
    ),
    _one(
        "a claim that was lost still records",
        "services/instant/journal.py",
        "    return held == claim\n",
        "    return held is not None\n",
        *(BY_WORK, "-k", "taken_over"),
    ),
    _one(
        "crashes are no poison",
        RUNS,
        "    if crashes >= CRASHES_ARE_POISON:",
        "    if crashes > CRASHES_ARE_POISON:",
        *(BY_WORK, "-k", "kills_its_workers"),
    ),
    _one(
        "a billed call is made again",
        "services/instant/failures.py",
        "    if error.billed is Billed.UNKNOWN or isinstance(error, Refused):",
        "    if isinstance(error, Refused):",
        *(BY_WORK, "-k", "not_charged"),
    ),
    _one(
        "an empty answer is sold",
        "services/instant/failures.py",
        "    return None if answer.text.strip() else RunFailure.EMPTY_OUTPUT",
        "    return None",
        *(BY_WORK, "-k", "not_charged"),
    ),
    _one(
        "a request to settle is not counted",
        SETTLEMENT,
        "            .values(settle_posts=Run.settle_posts + 1)\n",
        "            .values(settle_posts=Run.settle_posts)\n",
        *(BY_MONEY, "-k", "counted"),
    ),
    _one(
        "a second refusal is believed",
        SETTLEMENT,
        "SettlementOutcome.REFUSED and held.run.settle_posts == 0:",
        "SettlementOutcome.REFUSED:",
        *(BY_MONEY, "-k", "after_an_unknown"),
    ),
    _one(
        "a doubt ends as not charged",
        SETTLEMENT,
        "    elif held.run.settle_posts == 0 and not _is_of_another_time(finding):\n",
        "    elif tools.chain is None:\n",
        *(BY_MONEY, "-k", "waits_for_the_operator"),
    ),
    _one(
        "our own clock says that nothing moved",
        SETTLEMENT,
        "    if isinstance(finding, NotMoved) and finding.is_for_ever(held.run.valid_before):",
        "    if isinstance(finding, NotMoved):",
        *(BY_MONEY, "-k", "pending"),
    ),
    _one(
        "whatever the facilitator says is believed",
        SETTLEMENT,
        '    if tools.chain is None or not tools.chain.knows(run.network or ""):\n',
        "    if run.id:\n",
        *(BY_MONEY, "-k", "believed"),
    ),
    _one(
        "another shop's transfer sells",
        SETTLEMENT,
        "    return asked_at is not None and moved.at >= asked_at - CLOCKS_DIFFER\n",
        "    return True\n",
        *(BY_MONEY, "-k", "another_shop"),
    ),
    _one(
        "a worker that has not looked at the chain ends its doubt",
        SETTLEMENT,
        "        if state is RunState.DOUBTFUL and _had_moved_unasked(session, run.id):\n",
        "        if not run.id:\n",
        *(BY_MONEY, "-k", "put_in_doubt"),
    ),
    _one(
        "a transfer too old to be found sells",
        SETTLEMENT,
        "        return isinstance(finding, Unknown) and not finding.is_of_another_time\n",
        "        return isinstance(finding, Unknown)\n",
        *(BY_MONEY, "-k", "too_old_to_be_found"),
    ),
    _one(
        "a transaction once told is forgotten",
        SETTLEMENT,
        'settlement.transaction or last_told(held.run) or ""',
        'settlement.transaction or ""',
        *(BY_MONEY, "-k", "once_told"),
    ),
    _one(
        "the fee is rounded up",
        SETTLEMENT,
        "rounding=ROUND_FLOOR)),",
        'rounding="ROUND_CEILING")),',
        *(BY_MONEY, "-k", "fee"),
    ),
    _one(
        "a result is shown before it is paid",
        "app/api/instant.py",
        "    if seen.state in WORKING_RUNS or seen.state is RunState.DOUBTFUL:",
        "    if not seen.result:",
        *(BY_MONEY, "-k", "sealed"),
    ),
    _one(
        "a paused resource sells",
        "services/instant/preflight.py",
        "    if sale.resource.paused_at is not None:",
        "    if sale.resource.archived_at is not None:",
        *(BY_CALLERS, "-k", "cannot_be_delivered"),
    ),
    Mutant(
        name="runs: one payment may stand on record twice",
        changes=_PAYMENTS_TWICE,
        caught_by=(BY_RACES, "-k", "database_itself"),
    ),
    _one(
        "what nobody knows is not charged",
        SETTLEMENT,
        "SettlementOutcome.REFUSED and held.run.settle_posts == 0:",
        "SettlementOutcome.REFUSED or settlement.transaction is None:",
        *("tests/matrix", "-k", "node and killed", "--points", "runs.posted"),
    ),
)
