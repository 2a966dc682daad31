"""Money out: whatever LNbits answers or fails to answer, a refund is paid once or stays owed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from config.queues import TaskName
from gateways.http import HttpClient
from gateways.lightning import PayoutOutcome, PayoutReading, Payouts
from gateways.lightning.lnbits import LnbitsPayouts
from local.stand_in.faults import Fault, FaultKind
from local.stand_in.lnbits import PAYOUTS_ADMIN_KEY
from models import money_moves
from models.ledger import Account
from models.payout import Payout, PayoutState
from services import retry
from services.errors import Conflict, ErrorCode
from services.jobs.intake import JobView
from services.money import doubtful_payouts, held_payouts, payouts, reconcile, wallets
from services.money.held_payouts import FIRST_LOOK, HELD_BACK, HELD_BACK_AT_MOST
from services.operate import ticks
from services.room import PAYOUTS_AT_ONCE
from services.toolbox import payouts_of
from tests.support import rows
from tests.support.life import Life
from tests.support.operator import Done, Operator
from tests.support.owing import claim, claimed, owing
from tests.support.together import just_before

MINUTE, HOUR = timedelta(seconds=61), timedelta(hours=1)


def _fault(target: str, kind: FaultKind = FaultKind.STATUS, **details: object) -> Fault:
    return Fault.model_validate({"target": target, "kind": kind, **details})


def _payout(life: Life) -> Payout:
    payout: Payout = rows.only(life.tools, Payout)
    return payout


def _look_again(life: Life, after: timedelta = timedelta(seconds=1)) -> PayoutState:
    """Let time pass for the payout, and let the worker have another look."""
    rows.let_pass(life.tools, Payout, after)
    life.make_due()
    life.work()
    return _payout(life).state


def _paid_out(life: Life) -> list[int]:
    """What left the service's wallet, in msats, as the node saw it."""
    return [
        effect.details["amountMsat"]
        for effect in life.stand_in.effects("payment_out")
        if effect.details["wallet"] == "service"
    ]


def _posts(life: Life) -> int:
    """How often LNbits was asked to pay; an invoice is made by the same request."""
    counts = life.stand_in.counts().requests["POST /api/v1/payments"]
    return counts - len(life.stand_in.effects("invoice_created"))


def test_an_lnbits_that_hangs_leaves_threads_for_the_duties_and_for_runs(life: Life) -> None:
    for _ in range(PAYOUTS_AT_ONCE + 1):
        claimed(life)
    numbers = [payout.id for payout in rows.all_of(life.tools, Payout)]
    life.stand_in.hold("lnbits.pay", times=PAYOUTS_AT_ONCE)

    with ThreadPoolExecutor(PAYOUTS_AT_ONCE) as workers:
        for number in numbers[:-1]:
            workers.submit(payouts.send, life.tools, number)
        life.stand_in.wait_until_held(PAYOUTS_AT_ONCE)
        payouts.send(life.tools, numbers[-1])  # comes back soon
        left_out = rows.all_of(life.tools, Payout)[-1]
        life.stand_in.release()

    assert (left_out.posts, left_out.claim) == (0, 0)
    payouts.send(life.tools, numbers[-1])
    states = {payout.state for payout in rows.all_of(life.tools, Payout)}
    assert states == {PayoutState.PAID}


def test_a_payout_is_committed_with_its_hash_before_it_is_posted(life: Life) -> None:
    claimed(life)
    life.stand_in.hold("lnbits.pay")
    worker = threading.Thread(target=payouts.send, args=(life.tools, _payout(life).id))
    worker.start()
    life.stand_in.wait_until_held()

    meanwhile = _payout(life)
    in_flight = life.balances()[Account.IN_FLIGHT]
    life.stand_in.release()
    worker.join()

    assert meanwhile.state is PayoutState.SENDING
    assert (meanwhile.posts, meanwhile.refusals) == (1, 0)
    assert meanwhile.last_post_at is not None
    assert in_flight == 10_000
    assert _payout(life).payment_hash == meanwhile.payment_hash
    assert _payout(life).state is PayoutState.PAID


def test_a_payout_that_works_is_read_back_as_paid_with_its_proof(life: Life) -> None:
    claimed(life)

    life.work()

    payout = _payout(life)
    assert payout.state is PayoutState.PAID
    assert payout.preimage is not None
    assert payout.due_at is None
    assert payout.settled_at is not None
    assert (_paid_out(life), _posts(life)) == ([10_000], 1)


def test_given_a_payment_that_is_pending_and_then_succeeds_then_its_fee_is_booked(
    life: Life,
) -> None:
    view = claimed(life)
    pending = _fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=3, fee_msats=1500)
    life.stand_in.arm(pending)

    life.work()
    assert _payout(life).state is PayoutState.SENDING
    assert _look_again(life) is PayoutState.SENDING
    assert _look_again(life) is PayoutState.PAID

    assert _payout(life).fee_msats == 1500
    assert life.balances()[Account.ROUTING_FEES] == 1500
    assert life.balances()[Account.WALLET] == -1500  # what came, less what went, less the fee
    assert life.debts(view) == [("late", 10, "paid")]
    assert _posts(life) == 1


def _waits(life: Life, since: datetime) -> list[timedelta]:
    """How long after that each payout in doubt is looked at again, soonest first."""
    return sorted(payout.due_at - since for payout in rows.all_of(life.tools, Payout))


def test_the_more_payouts_are_in_doubt_the_less_often_each_is_looked_at(life: Life) -> None:
    """Or whoever claims with invoices to nowhere could use up what LNbits allows."""
    real = {"lnbits_url": life.stand_in.url, "lnbits_requests_per_minute": 60}
    settings = life.tools.settings.model_copy(update=real)
    limited = replace(life, tools=life.tools.with_(settings=settings))
    life.stand_in.top_up(1_000)  # for the routing of all of them at once
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=50, times=6))
    claimed(limited)
    limited.work()
    (alone,) = _waits(limited, rows.now(life.tools))
    for _ in range(5):
        claimed(limited)
    limited.make_due()
    before = rows.now(life.tools)
    limited.work()
    among_others = _waits(limited, before)

    assert alone < 2 * FIRST_LOOK
    # of sixty requests a minute fifteen are for looks of two: one in eight seconds, for five others
    assert among_others[-1] >= 5 * timedelta(seconds=8) * (1 - retry.JITTER)


def test_however_many_payouts_are_in_doubt_and_for_how_long_a_share_of_the_requests_is_enough(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = {"lnbits_url": life.stand_in.url, "lnbits_requests_per_minute": 60}
    settings = life.tools.settings.model_copy(update=real)
    limited = replace(life, tools=life.tools.with_(settings=settings))
    monkeypatch.setattr(held_payouts, "REQUESTS_OF_A_LOOK", 1000)  # as if they were hundreds
    life.stand_in.top_up(1_000)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=50, times=2))
    for _ in range(2):
        claimed(limited)
    limited.work()
    rows.let_pass(life.tools, Payout, 5 * HOUR)
    limited.make_due()
    before = rows.now(life.tools)

    limited.work()

    assert _waits(limited, before)[0] >= timedelta(minutes=1000 / 15) * (1 - retry.JITTER)


def test_given_a_payment_that_is_pending_for_days_then_it_is_neither_paid_nor_failed(
    life: Life,
) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=50))
    life.work()

    for _ in range(6):
        assert _look_again(life, 24 * HOUR) is PayoutState.SENDING

    assert _posts(life) == 1


def test_given_a_payment_that_is_pending_and_then_fails_then_failed_needs_all_of_the_proof(
    life: Life,
) -> None:
    view = claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=2, then="failed"))
    life.work()

    assert _look_again(life) is PayoutState.SENDING  # the first reading that says failed
    assert _posts(life) == 1
    assert _look_again(life, MINUTE) is PayoutState.SENDING  # posted again, and still failed
    assert _posts(life) == 2
    assert _look_again(life, MINUTE) is PayoutState.SENDING  # failed twice, but not expired
    assert life.debts(view) == [("late", 10, "paying")]
    assert _look_again(life, HOUR) is PayoutState.SENDING  # expired: its node is asked once more
    assert _posts(life) == 3
    assert _look_again(life, MINUTE) is PayoutState.FAILED

    assert life.debts(view) == [("late", 10, "owed")]
    assert life.balances()[Account.OWED] == 10_000
    assert _paid_out(life) == []


def test_a_reading_right_after_the_second_post_proves_nothing(life: Life) -> None:
    """Its answer may have been lost, and LNbits may be at work on it, expired or not."""
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()

    assert _look_again(life, 2 * HOUR) is PayoutState.SENDING
    assert _posts(life) == 2
    assert _look_again(life, MINUTE) is PayoutState.FAILED


@pytest.mark.parametrize(
    "unheard",
    [
        _fault("lnbits.pay", FaultKind.RESET),
        _fault("lnbits.pay", status=429),
        _fault("lnbits.pay", status=502),
        _fault("lnbits.pay", FaultKind.BODY),
        _fault("lnbits.pay", status=520, text="Insufficient balance."),
        _fault("lnbits.pay", status=520, text="rate-limited: slow down, please"),
    ],
    ids=lambda fault: f"{fault.kind.value} {fault.status} {fault.text}",
)
def test_a_second_post_that_lnbits_never_considered_proves_nothing(
    life: Life, unheard: Fault
) -> None:
    """Its row says "failed" as before: nobody has asked its node what became of the payment."""
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    life.stand_in.arm(unheard)

    assert _look_again(life, 2 * HOUR) is PayoutState.SENDING
    assert _look_again(life, MINUTE) is PayoutState.SENDING
    assert _posts(life) == 2  # an eighth of the time since it was first called failed
    assert _look_again(life, HOUR / 2) is PayoutState.SENDING
    assert _posts(life) == 3
    assert _look_again(life, MINUTE) is PayoutState.FAILED


def test_what_was_heard_once_proves_nothing_after_a_post_that_nobody_heard(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    assert _look_again(life, 2 * HOUR) is PayoutState.SENDING
    assert (_payout(life).posts, _payout(life).believed_post) == (2, 2)
    rows.change(life.tools, Payout, posts=3)  # committed, and then its process died

    assert _look_again(life, MINUTE) is PayoutState.SENDING


def test_a_second_post_that_nobody_heard_is_repeated_while_the_invoice_lives(life: Life) -> None:
    """Nobody waits for its expiry, perhaps for days, to find out that it can be paid."""
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    life.stand_in.arm(_fault("lnbits.pay", status=429))

    assert _look_again(life, MINUTE) is PayoutState.SENDING
    assert _look_again(life, MINUTE) is PayoutState.SENDING

    assert _posts(life) == 3
    assert _payout(life).believed_post == 3


def test_a_failed_row_that_is_gone_is_evidence_no_more(life: Life) -> None:
    """Its operator has removed it, say: what comes next is another payment."""
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    assert _payout(life).posts_at_first_failed == 1
    life.stand_in.arm(_fault("lnbits.read", status=404))

    _look_again(life)

    payout = _payout(life)
    assert (payout.first_failed_at, payout.posts_at_first_failed) == (None, None)


LOST = _fault("lnbits.read", status=404, text="Payment does not exist.", times=99)


def _doubt(life: Life, **details: object) -> JobView:
    """A payout of which LNbits has shown a row, and whose invoice has expired long ago."""
    view = claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_PENDING, **{"reads": 50} | details))
    life.work()
    rows.let_pass(life.tools, Payout, 3 * HOUR)
    return view


def _say(life: Life, *words: str) -> Done:
    return Operator(tools=life.tools)("workers.doubtful_payouts", *words)


def _number(life: Life) -> str:
    return str(_payout(life).id)


@pytest.mark.parametrize(
    "ends",
    [
        _fault("lnbits.pay", FaultKind.PAYMENT_FAILED),
        _fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=50),
    ],
    ids=lambda fault: fault.kind.value,
)
def test_a_row_that_was_lost_leaves_its_payout_in_doubt(life: Life, ends: Fault) -> None:
    """LNbits was restored from a backup, and its node may have paid meanwhile."""
    view = claimed(life)
    life.stand_in.arm(ends)
    life.work()
    life.stand_in.arm(LOST)

    for patience in (MINUTE, HOUR, 3 * HOUR, MINUTE, 24 * HOUR):
        assert _look_again(life, patience) is PayoutState.SENDING

    assert life.debts(view) == [("late", 10, "paying")]
    assert _posts(life) == 1  # LNbits would begin anew
    assert "LNbits HAS LOST ITS ROW\n1 in doubt\n" in _say(life).stdout


def test_a_row_that_comes_back_is_believed_as_before(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=2))
    life.work()
    life.stand_in.arm(LOST)
    assert _look_again(life, MINUTE) is PayoutState.SENDING

    life.stand_in.disarm()
    assert _look_again(life, MINUTE) is PayoutState.PAID


def test_who_has_looked_at_the_node_may_say_that_it_failed(life: Life) -> None:
    view = _doubt(life)
    life.stand_in.arm(LOST)
    life.work()

    listed = _say(life)
    said = _say(life, "failed", _number(life), "1")

    assert f"{_payout(life).payment_hash}, claimed" in listed.stdout
    assert f" of job {view.job.id}: " in listed.stdout
    assert str(view.job.public_id) not in listed.stdout, "that opens result and refund"
    assert said.stdout.endswith(", said to have failed\n1 in doubt\n")
    assert _look_again(life, timedelta(0)) is PayoutState.FAILED
    assert life.debts(view) == [("late", 10, "owed")]


def test_who_has_looked_at_the_node_may_say_that_it_was_paid_and_shows_the_preimage(
    life: Life,
) -> None:
    view = claimed(life)
    life.stand_in.arm(LOST)
    life.work()  # its node pays it, and it has no row
    life.stand_in.disarm()
    preimage = _lightning(life).read(_payout(life).payment_hash).preimage
    assert preimage is not None

    wrong = _say(life, "paid", _number(life), "cd" * 32, "0")
    senseless = [
        _say(life, "paid", _number(life), *more) for more in (["7", "0"], [preimage, "-1"])
    ]
    right = _say(life, "paid", _number(life), preimage.upper(), "1500")
    again = _say(life, "paid", _number(life), preimage, "0")

    assert [done.returncode for done in (wrong, *senseless, again)] == [1, 1, 1, 1]
    assert "not the preimage" in wrong.stderr
    assert right.stdout == "0 in doubt\n"
    assert (_payout(life).state, _payout(life).fee_msats) == (PayoutState.PAID, 1500)
    assert _payout(life).preimage == preimage
    assert life.debts(view) == [("late", 10, "paid")]
    assert life.balances()[Account.IN_FLIGHT] == 0
    assert life.balances()[Account.ROUTING_FEES] == 1500


def test_what_lnbits_forgot_before_it_was_read_is_in_doubt_once_its_operator_says_so(
    life: Life,
) -> None:
    """Handed over, then LNbits went down and was restored: its node may have paid."""
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.RESET))
    life.stand_in.arm(_fault("lnbits.read", status=503))
    life.work()

    life.make_due()
    held = held_payouts.claim(life.tools, _payout(life).id)
    assert held is not None
    assert _say(life, "lnbits-restored").stdout.endswith("1 in doubt\n")
    assert payouts._post(life.tools, _lightning(life), held) is None

    for patience in (MINUTE, 3 * HOUR, MINUTE, 24 * HOUR):
        assert _look_again(life, patience) is PayoutState.SENDING
    assert _posts(life) == 1


def test_what_a_person_says_is_taken_only_of_what_is_in_doubt_and_cannot_be_paid_any_more(
    life: Life,
) -> None:
    claimed(life)
    never_sent = _say(life, "failed", _number(life), "1")
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=50))
    life.work()
    too_early = _say(life, "failed", _number(life), "1")
    unknown = _say(life, "failed", "999999", "1")

    assert [done.returncode for done in (never_sent, too_early, unknown)] == [1, 1, 1]
    assert "an hour after its invoice's expiry" in too_early.stderr
    assert "is not in doubt" in unknown.stderr
    assert _payout(life).vouched_posts == 0


def test_what_was_handed_over_after_the_look_at_the_node_is_not_covered_by_it(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    life.stand_in.arm(SAYS_FAILED_AGAIN)
    assert _look_again(life, 3 * HOUR) is PayoutState.SENDING
    assert _posts(life) == 2

    done = _say(life, "failed", _number(life), "1")

    assert "was handed over 2 times: look again" in done.stderr
    assert _payout(life).vouched_posts == 0


def test_a_payout_that_is_tried_again_needs_another_word(life: Life) -> None:
    _doubt(life)
    life.stand_in.arm(LOST)
    _say(life, "failed", _number(life), "1")
    assert _look_again(life, timedelta(0)) is PayoutState.FAILED

    with life.tools.database.transaction("test.reopen") as session:
        again = money_moves.reopen_payout(session, _payout(life).id)
        assert again is not None
        assert (again.vouched_posts, again.row_was_read) == (0, True)
        session.rollback()


def test_a_row_that_is_pending_takes_back_what_a_person_said(life: Life) -> None:
    _doubt(life, reads=3)

    assert _say(life, "failed", _number(life), "1").returncode == 0

    assert _look_again(life, MINUTE) is PayoutState.SENDING
    assert _payout(life).vouched_posts == 0
    assert _look_again(life, MINUTE) is PayoutState.PAID


def test_who_is_sending_when_a_person_speaks_sends_nothing_more(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    rows.let_pass(life.tools, Payout, 3 * HOUR)
    life.make_due()
    held = held_payouts.claim(life.tools, _payout(life).id)
    assert held is not None

    doubtful_payouts.vouch_failed(life.tools, held.id, 1)

    assert payouts._post(life.tools, _lightning(life), held) is None
    assert _posts(life) == 1


def test_a_clock_that_was_set_back_lets_no_old_failure_pass_for_a_new_one(life: Life) -> None:
    """Only a POST that is counted after it comes after a reading, whatever their times say."""
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    rows.let_pass(life.tools, Payout, 2 * HOUR)
    rows.change(life.tools, Payout, last_post_at=Payout.first_failed_at + MINUTE)
    assert (_payout(life).posts, _payout(life).posts_at_first_failed) == (1, 1)

    assert _look_again(life, HOUR) is PayoutState.SENDING
    assert _posts(life) == 2


def _with_a_young_lnbits(life: Life) -> Life:
    """In the place of the one before, of which nothing is remembered."""
    life.stand_in.disarm()
    tools = life.tools.with_(payouts=payouts_of(life.tools.settings, HttpClient()))
    return replace(life, tools=tools)


SAYS_FAILED_AGAIN = _fault("lnbits.pay", status=201, text="its node knows no end")


@pytest.mark.parametrize(
    "says",
    [
        _fault("lnbits.version", FaultKind.BODY, text='{"info": {"version": "1.5.1"}}', times=99),
        _fault("lnbits.version", status=404, times=99),
    ],
    ids=["old", "of unknown age"],
)
def test_what_an_old_lnbits_called_failed_its_node_must_confirm_to_a_young_one(
    life: Life, says: Fault
) -> None:
    """Up to 1.5.2 that is said of payments that their receiver holds back, and can take later; and
    whoever comes after repeats it."""
    life.stand_in.arm(says)
    view = claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    for patience in (2 * HOUR, MINUTE, 24 * HOUR, MINUTE):
        assert _look_again(life, patience) is PayoutState.SENDING

    life = _with_a_young_lnbits(life)
    for patience in (24 * HOUR, MINUTE, 24 * HOUR, MINUTE):
        life.stand_in.arm(SAYS_FAILED_AGAIN)
        assert _look_again(life, patience) is PayoutState.SENDING
    assert life.debts(view) == [("late", 10, "paying")]

    life.stand_in.disarm()
    assert _look_again(life, 24 * HOUR) is PayoutState.SENDING  # now its node says so
    assert _look_again(life, MINUTE) is PayoutState.FAILED


def test_nothing_is_sent_while_lnbits_does_not_answer(life: Life) -> None:
    """A POST that nobody may have heard would make what is read afterwards worth less."""
    claimed(life)
    life.stand_in.arm(_fault("lnbits.version", status=502, times=99))
    life.work()
    assert _look_again(life, HOUR / 2) is PayoutState.SENDING
    assert (_payout(life).posts, _payout(life).last_code) == (0, "lnbits_silent")

    life = _with_a_young_lnbits(life)
    assert _look_again(life) is PayoutState.PAID


def test_one_that_ends_unsent_keeps_on_record_why_it_was_not_sent(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.version", status=502, times=99))
    life.work()

    with capture_logs() as logs:
        assert _look_again(life, 2 * HOUR) is PayoutState.FAILED

    assert _payout(life).last_code == "lnbits_silent"
    (line,) = (line for line in logs if line["event"].startswith("payout failed"))
    assert line["code"] == "lnbits_silent"


def test_the_longer_one_that_was_never_sent_is_held_back_the_less_often_it_is_looked_at(
    life: Life,
) -> None:
    """Of hundreds that wait for LNbits the looks alone would take what there is for others."""
    claimed(life)
    life.stand_in.arm(_fault("lnbits.version", status=502, times=99))

    life.work()
    soon = rows.due_in(life.tools, Payout)
    _look_again(life, HOUR / 2)
    later = rows.due_in(life.tools, Payout)

    assert soon <= (1 + retry.JITTER) * HELD_BACK
    assert (1 - retry.JITTER) * HELD_BACK_AT_MOST - timedelta(seconds=1) <= later
    assert later <= (1 + retry.JITTER) * HELD_BACK_AT_MOST


def test_a_post_that_was_refused_has_written_nothing_that_could_be_untrue(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.version", status=404, times=99))
    life.stand_in.arm(_fault("lnbits.pay", status=520, text="Insufficient balance."))

    life.work()

    assert (_payout(life).posts, _payout(life).candid_posts) == (1, 1)


def test_what_a_young_lnbits_called_failed_it_may_repeat(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    life.stand_in.arm(SAYS_FAILED_AGAIN)

    assert _look_again(life, 2 * HOUR) is PayoutState.SENDING
    assert _look_again(life, MINUTE) is PayoutState.FAILED


def test_a_payout_that_is_tried_again_is_as_candid_as_its_new_posts(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    for patience in (2 * HOUR, MINUTE):
        _look_again(life, patience)
    assert (_payout(life).posts, _payout(life).candid_posts) == (2, 2)

    with life.tools.database.transaction("test.reopen") as session:
        again = money_moves.reopen_payout(session, _payout(life).id)
        assert again is not None
        assert (again.posts, again.candid_posts) == (0, 0)
        session.rollback()


def test_given_a_payout_that_failed_for_good_then_another_invoice_is_paid(life: Life) -> None:
    view = claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_FAILED))
    life.work()
    for patience in (MINUTE, HOUR, MINUTE):
        _look_again(life, patience)
    assert _payout(life).state is PayoutState.FAILED

    claim(life, view)
    life.work()

    states = [payout.state for payout in rows.all_of(life.tools, Payout)]
    assert states == [PayoutState.FAILED, PayoutState.PAID]
    assert _paid_out(life) == [10_000]
    assert life.debts(view) == [("late", 10, "paid")]


def test_given_520_failed_of_a_payment_that_was_made_then_it_is_paid(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", status=520, after_effect=True))

    life.work()

    assert _payout(life).state is PayoutState.PAID
    assert _paid_out(life) == [10_000]


@pytest.mark.parametrize(
    "lost",
    [
        _fault("lnbits.pay", FaultKind.RESET, after_effect=True),
        _fault("lnbits.pay", FaultKind.TRUNCATED),
        _fault("lnbits.pay", FaultKind.BODY, after_effect=True),
        _fault("lnbits.pay", status=500, after_effect=True),
        _fault("lnbits.pay", status=429, after_effect=True),
    ],
    ids=lambda fault: f"{fault.kind.value} {fault.status}",
)
@pytest.mark.parametrize("unread", [0, 3], ids=["readable", "unreadable for a while"])
def test_given_an_answer_that_was_lost_after_paying_then_it_is_looked_up_and_paid_once(
    life: Life, lost: Fault, unread: int
) -> None:
    view = claimed(life)
    life.stand_in.arm(lost)
    if unread:
        life.stand_in.arm(_fault("lnbits.read", status=503, times=unread))

    life.work()
    for _ in range(unread):
        assert _look_again(life, MINUTE) in (PayoutState.SENDING, PayoutState.PAID)

    assert _payout(life).state is PayoutState.PAID
    assert (_paid_out(life), _posts(life)) == ([10_000], 1)
    assert life.debts(view) == [("late", 10, "paid")]


def test_given_a_paid_one_that_lnbits_does_not_show_yet_then_it_is_not_sent_again_at_once(
    life: Life,
) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.read", status=404, times=2))

    life.work()
    assert _payout(life).state is PayoutState.SENDING
    _look_again(life)
    assert _posts(life) == 1
    assert _look_again(life) is PayoutState.PAID

    assert _paid_out(life) == [10_000]


def test_given_a_post_that_never_arrived_then_the_same_bolt11_is_posted_again_after_a_minute(
    life: Life,
) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.RESET))

    life.work()
    assert _look_again(life) is PayoutState.SENDING
    assert _payout(life).posts == 1
    assert _look_again(life, MINUTE) is PayoutState.PAID

    assert _payout(life).posts == 2
    assert _paid_out(life) == [10_000]


def test_given_a_worker_that_died_after_committing_the_post_then_it_is_made_up_for(
    life: Life,
) -> None:
    claimed(life)
    held = held_payouts.claim(life.tools, _payout(life).id)
    assert held is not None
    noted = payouts._note(life.tools, "payouts.posting", held, {"posts": Payout.posts + 1})
    assert noted is not None  # and here it dies

    assert _look_again(life) is PayoutState.PAID
    assert _paid_out(life) == [10_000]


def test_given_too_little_money_then_the_payout_fails_and_the_same_invoice_can_claim_again(
    life: Life,
) -> None:
    view = owing(life)
    invoice = life.stand_in.payer_invoice(10)
    life.stand_in.top_up(-5)
    first = claim(life, view, invoice)

    life.work()
    assert _payout(life).state is PayoutState.FAILED
    assert life.debts(view) == [("late", 10, "owed")]
    life.stand_in.top_up(5)
    again = claim(life, view, invoice)
    life.work()

    assert again.payout_id == first.payout_id
    assert _payout(life).state is PayoutState.PAID
    assert _payout(life).sends == 2
    assert _paid_out(life) == [10_000]


def test_given_too_little_money_then_another_invoice_can_claim_too(life: Life) -> None:
    view = owing(life)
    life.stand_in.top_up(-5)
    claim(life, view)
    life.work()
    life.stand_in.top_up(5)

    claim(life, view)
    life.work()

    assert life.debts(view) == [("late", 10, "paid")]
    assert _paid_out(life) == [10_000]


def test_a_refusal_that_nobody_could_check_is_no_proof(life: Life) -> None:
    claimed(life)
    life.stand_in.top_up(-5)
    life.stand_in.arm(_fault("lnbits.read", status=500))

    life.work()

    assert _payout(life).state is PayoutState.SENDING
    assert _look_again(life) is PayoutState.FAILED


@pytest.mark.parametrize("after", [timedelta(seconds=1), MINUTE, HOUR, 24 * HOUR])
def test_while_the_outcome_is_unknown_no_other_invoice_is_taken(
    life: Life, after: timedelta
) -> None:
    view = claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.RESET, after_effect=True))
    life.stand_in.arm(_fault("lnbits.read", status=503, times=50))
    life.work()
    _look_again(life, after)

    with pytest.raises(Conflict) as refused:
        claim(life, view, life.stand_in.payer_invoice(10))

    assert refused.value.code is ErrorCode.REFUND_IN_PROGRESS
    assert _payout(life).state is PayoutState.SENDING
    life.stand_in.disarm()
    assert _look_again(life) is PayoutState.PAID


def test_given_an_invoice_that_expired_before_it_was_sent_then_it_failed_and_nothing_was_sent(
    life: Life,
) -> None:
    view = claimed(life)

    assert _look_again(life, 2 * HOUR) is PayoutState.FAILED

    assert _posts(life) == 0
    assert life.debts(view) == [("late", 10, "owed")]


def test_given_no_trace_of_it_an_hour_after_expiry_then_two_looks_prove_that_it_failed(
    life: Life,
) -> None:
    view = claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.RESET))
    life.work()

    assert _look_again(life, HOUR) is PayoutState.SENDING  # expired: not posted again
    assert _look_again(life, HOUR) is PayoutState.SENDING  # the first 404 that counts
    assert _look_again(life, MINUTE) is PayoutState.FAILED

    assert _payout(life).posts == 1
    assert life.debts(view) == [("late", 10, "owed")]


def test_a_404_beside_a_wallet_that_cannot_be_read_counts_for_nothing(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.RESET))
    life.work()
    life.stand_in.arm(_fault("lnbits.wallet", status=503, times=50))

    for _ in range(4):
        assert _look_again(life, 2 * HOUR) is PayoutState.SENDING

    assert _payout(life).first_missing_at is None


def test_the_looks_become_rarer_the_longer_it_takes(life: Life) -> None:
    claimed(life)
    life.stand_in.arm(_fault("lnbits.pay", FaultKind.PAYMENT_PENDING, reads=50))
    life.work()
    soon = rows.due_in(life.tools, Payout)
    _look_again(life, 24 * HOUR)
    later = rows.due_in(life.tools, Payout)

    assert soon <= timedelta(seconds=2)
    assert timedelta(minutes=20) <= later <= timedelta(minutes=40)


def test_a_zombie_cannot_fail_what_another_worker_has_paid(life: Life) -> None:
    view = claimed(life)
    zombie = held_payouts.claim(life.tools, _payout(life).id)
    assert zombie is not None
    assert _look_again(life) is PayoutState.PAID

    reading = PayoutReading(outcome=PayoutOutcome.FAILED)
    held_payouts.end_as_failed(life.tools, zombie, reading)
    assert payouts._post(life.tools, _lightning(life), zombie) is None

    assert _payout(life).state is PayoutState.PAID
    assert life.debts(view) == [("late", 10, "paid")]
    assert _posts(life) == 1


def test_a_zombie_cannot_fail_what_another_worker_is_looking_at(life: Life) -> None:
    view = claimed(life)
    zombie = held_payouts.claim(life.tools, _payout(life).id)
    assert zombie is not None
    life.make_due()
    assert held_payouts.claim(life.tools, zombie.id) is not None

    reading = PayoutReading(outcome=PayoutOutcome.FAILED)
    held_payouts.end_as_failed(life.tools, zombie, reading)

    assert _payout(life).state is PayoutState.SENDING
    assert life.debts(view) == [("late", 10, "paying")]


def _lightning(life: Life) -> Payouts:
    assert life.tools.payouts is not None
    return life.tools.payouts


def test_a_payout_that_is_not_due_or_not_there_is_left_alone(life: Life) -> None:
    claimed(life)
    life.work()

    payouts.send(life.tools, _payout(life).id)
    payouts.send(life.tools, 987_654)

    assert _posts(life) == 1


def test_a_process_without_the_paying_key_cannot_send(life: Life) -> None:
    claimed(life)

    with pytest.raises(AssertionError):
        payouts.send(life.tools.with_(payouts=None), _payout(life).id)


def test_who_freezes_between_counting_a_post_and_making_it_wakes_too_late_to_make_it(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the payout may be called failed, and its debt paid by another invoice."""
    claimed(life)
    monkeypatch.setattr(payouts, "POST_WITHIN", timedelta(0))

    life.work()

    assert (_payout(life).state, _payout(life).posts) == (PayoutState.SENDING, 1)
    assert (_posts(life), _paid_out(life)) == (0, [])


def test_nothing_is_sent_from_a_wallet_that_was_exchanged_just_before(life: Life) -> None:
    """The other wallet would know nothing of it."""
    claimed(life)
    other = LnbitsPayouts(life.stand_in.url, PAYOUTS_ADMIN_KEY, HttpClient())

    def exchange() -> None:
        wallets.check_payouts(life.tools.with_(payouts=other))

    assert ticks.run(life.tools, TaskName.CHECK_PAYOUTS)
    reconcile.run(life.tools)
    with just_before(life.tools, payouts, "_count_post", exchange) as exchanged:
        life.work()

    exchanged()
    assert (_payout(life).state, _payout(life).posts) == (PayoutState.SENDING, 0)
    assert (_posts(life), _paid_out(life)) == (0, [])
