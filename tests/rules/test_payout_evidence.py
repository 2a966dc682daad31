"""When money that was sent may be called paid, failed, or neither: DESIGN.md, point 5.

FAILED lets the caller claim with another invoice, so it needs proof. One row, one reason.
"""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateways.lightning import PayoutOutcome
from services.money.payout_evidence import (
    BETWEEN_POSTS,
    MISSING_AFTER_EXPIRY,
    Conclusion,
    Evidence,
    before_first_post,
    conclude,
    missing_counts,
)

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

# One POST, just now, of a BOLT11 that lives for another hour; nothing has failed or been missing.
POSTED = Evidence(
    posts=1,
    refusals=0,
    believed_post=1,
    since_post=SECOND,
    since_first_failed=None,
    posts_at_first_failed=None,
    since_expiry=-HOUR,
    since_first_missing=None,
    row_was_read=False,
    vouched_posts=0,
)
POSTED_LONG_AGO = replace(POSTED, since_post=MINUTE)
EXPIRED = replace(POSTED_LONG_AGO, since_expiry=SECOND)
FAILED_ONCE = replace(POSTED_LONG_AGO, since_first_failed=MINUTE, posts_at_first_failed=1)
REPOSTED = replace(FAILED_ONCE, posts=2, believed_post=2, since_post=SECOND)
REFUSED = replace(POSTED, refusals=1)
LONG_EXPIRED = replace(POSTED_LONG_AGO, since_post=HOUR, since_expiry=HOUR)
VOUCHED = replace(EXPIRED, posts=2, believed_post=0, vouched_posts=2, row_was_read=True)


def _row(reading: PayoutOutcome, evidence: Evidence, expected: Conclusion, why: str) -> object:
    return pytest.param(reading, evidence, expected, id=why)


R, C = PayoutOutcome, Conclusion


@pytest.mark.parametrize(
    ("reading", "evidence", "expected"),
    [
        _row(R.PAID, POSTED, C.PAID, "read back as paid"),
        _row(R.PAID, EXPIRED, C.PAID, "paid after expiry is paid"),
        _row(R.PAID, replace(REPOSTED, since_expiry=HOUR), C.PAID, "paid though called failed"),
        _row(R.PAID, REFUSED, C.PAID, "paid though refused: somebody sent it before"),
        _row(R.PENDING, POSTED, C.WAIT, "pending is not decided"),
        _row(R.PENDING, LONG_EXPIRED, C.WAIT, "pending may be days: a held payment"),
        _row(R.PENDING, replace(REPOSTED, since_expiry=HOUR), C.WAIT, "pending beats old failures"),
        _row(R.UNKNOWN, POSTED, C.WAIT, "no answer says nothing"),
        _row(R.UNKNOWN, REFUSED, C.WAIT, "a refusal without a reading says nothing"),
        _row(R.UNKNOWN, LONG_EXPIRED, C.WAIT, "time alone proves nothing"),
        _row(R.FAILED, POSTED, C.WAIT, "failed right after the POST: too early to ask again"),
        _row(R.FAILED, POSTED_LONG_AGO, C.POST, "failed: ask the node again by re-posting"),
        _row(R.FAILED, EXPIRED, C.POST, "failed and expired: asked again all the same"),
        _row(R.FAILED, FAILED_ONCE, C.POST, "failed again, but not re-posted since"),
        _row(R.FAILED, REPOSTED, C.WAIT, "failed twice, but the BOLT11 can still be paid"),
        _row(
            R.FAILED,
            replace(REPOSTED, believed_post=1, since_post=MINUTE),
            C.POST,
            "posted again, but nobody heard it: while the BOLT11 can be paid, too",
        ),
        _row(
            R.FAILED,
            replace(REPOSTED, since_expiry=MINUTE),
            C.WAIT,
            "failed as before, right after the POST: LNbits may still be at it",
        ),
        _row(
            R.FAILED,
            replace(REPOSTED, since_post=HOUR, since_expiry=SECOND),
            C.POST,
            "failed twice and expired, but its node was last asked while it could be paid",
        ),
        _row(
            R.FAILED,
            replace(REPOSTED, since_post=MINUTE, since_expiry=HOUR),
            C.FAILED,
            "failed twice, and once more a minute after a POST that came after expiry: proof",
        ),
        _row(
            R.FAILED,
            replace(REPOSTED, believed_post=1, since_post=MINUTE, since_expiry=2 * MINUTE),
            C.POST,
            "the same, but nobody knows whether its node was asked because of that POST",
        ),
        _row(
            R.FAILED,
            replace(REPOSTED, believed_post=1, since_post=7 * MINUTE, since_first_failed=HOUR),
            C.WAIT,
            "what was called failed an hour ago is asked about again every eighth of an hour",
        ),
        _row(
            R.FAILED,
            replace(REPOSTED, believed_post=1, since_post=HOUR / 2, since_first_failed=24 * HOUR),
            C.POST,
            "what was called failed a day ago every half hour",
        ),
        _row(
            R.FAILED,
            replace(REPOSTED, since_post=MINUTE, since_expiry=timedelta(0)),
            C.WAIT,
            "in the very second of its expiry it is not expired",
        ),
        _row(R.FAILED, REFUSED, C.WAIT, "a row that failed was sent, whatever the answer said"),
        _row(R.MISSING, REFUSED, C.FAILED, "every POST refused at the door and no row: proof"),
        _row(
            R.MISSING,
            replace(REFUSED, posts=2),
            C.WAIT,
            "one POST refused, one that nobody answered",
        ),
        _row(
            R.MISSING,
            replace(REFUSED, posts=3, refusals=3),
            C.FAILED,
            "three POSTs, three refusals, no row: proof",
        ),
        _row(R.MISSING, POSTED, C.WAIT, "no row yet: LNbits may still be at it"),
        _row(R.MISSING, POSTED_LONG_AGO, C.POST, "no row after a minute: it never got there"),
        _row(R.MISSING, EXPIRED, C.WAIT, "expired and missing: not posted any more, not proved"),
        _row(R.MISSING, LONG_EXPIRED, C.WAIT, "the first 404 an hour after expiry"),
        _row(
            R.MISSING,
            replace(LONG_EXPIRED, since_first_missing=SECOND),
            C.WAIT,
            "two 404s too close together",
        ),
        _row(
            R.MISSING,
            replace(LONG_EXPIRED, since_first_missing=MINUTE),
            C.FAILED,
            "two 404s a minute apart, an hour after expiry: proof",
        ),
        _row(
            R.MISSING,
            replace(LONG_EXPIRED, since_first_missing=MINUTE, row_was_read=True),
            C.WAIT,
            "the same, but there was a row: what it told of may be paid",
        ),
        _row(
            R.MISSING,
            replace(REFUSED, row_was_read=True),
            C.WAIT,
            "refused, but there was a row: somebody has sent it",
        ),
        _row(
            R.MISSING,
            replace(POSTED_LONG_AGO, row_was_read=True),
            C.WAIT,
            "it lives, but its row was lost: LNbits would begin anew",
        ),
        _row(R.MISSING, VOUCHED, C.FAILED, "no row, and a person knows that it failed"),
        _row(R.FAILED, VOUCHED, C.FAILED, "called failed, and a person knows that it did"),
        _row(R.PENDING, VOUCHED, C.WAIT, "pending: what a person knows is not believed"),
        _row(R.UNKNOWN, VOUCHED, C.WAIT, "nothing read: it might be paid after all"),
        _row(R.PAID, VOUCHED, C.PAID, "paid, whatever a person says"),
        _row(
            R.FAILED,
            replace(VOUCHED, since_post=SECOND),
            C.WAIT,
            "a person knows, but LNbits may still be at work on the last POST",
        ),
        _row(
            R.MISSING,
            replace(VOUCHED, posts=3),
            C.WAIT,
            "a person knew before it was handed over once more",
        ),
    ],
)
def test_what_a_reading_allows(
    reading: PayoutOutcome, evidence: Evidence, expected: Conclusion
) -> None:
    assert conclude(reading, evidence) is expected


@pytest.mark.parametrize(
    ("evidence", "expected"),
    [
        pytest.param(replace(POSTED, posts=0, since_post=None), Conclusion.POST, id="send it"),
        pytest.param(
            replace(POSTED, posts=0, since_post=None, since_expiry=SECOND),
            Conclusion.FAILED,
            id="it expired before anybody sent it: nothing was paid and nothing will be",
        ),
    ],
)
def test_before_anything_was_sent(evidence: Evidence, expected: Conclusion) -> None:
    assert before_first_post(evidence) is expected


@pytest.mark.parametrize(
    ("reading", "since_expiry", "counts"),
    [
        (PayoutOutcome.MISSING, HOUR, True),
        (PayoutOutcome.MISSING, HOUR - SECOND, False),
        (PayoutOutcome.MISSING, -HOUR, False),
        (PayoutOutcome.FAILED, HOUR, False),
        (PayoutOutcome.UNKNOWN, HOUR, False),
    ],
)
def test_a_404_counts_only_an_hour_after_the_bolt11_expired(
    reading: PayoutOutcome, since_expiry: timedelta, counts: bool
) -> None:
    assert missing_counts(reading, replace(POSTED, since_expiry=since_expiry)) is counts


ages = st.none() | st.timedeltas(timedelta(0), timedelta(days=8))
evidences = st.builds(
    Evidence,
    posts=st.just(3),
    refusals=st.integers(0, 3),
    believed_post=st.integers(0, 3),
    since_post=ages,
    since_first_failed=ages,
    posts_at_first_failed=st.none() | st.integers(1, 3),
    since_expiry=st.timedeltas(-timedelta(days=8), timedelta(days=8)),
    since_first_missing=ages,
    row_was_read=st.booleans(),
    vouched_posts=st.integers(0, 3),
)


@given(evidence=evidences, reading=st.sampled_from(PayoutOutcome))
def test_failed_is_never_concluded_without_one_of_the_four_proofs(
    evidence: Evidence, reading: PayoutOutcome
) -> None:
    failed_twice = (
        reading is PayoutOutcome.FAILED
        and evidence.posts_at_first_failed in {1, 2}
        and evidence.believed_post == 3
        and (evidence.since_post or timedelta(0)) >= BETWEEN_POSTS
        and evidence.since_expiry > (evidence.since_post or timedelta(0)) > timedelta(0)
    )
    never_there = reading is PayoutOutcome.MISSING and not evidence.row_was_read
    always_refused = never_there and evidence.refusals == evidence.posts
    missing_twice = (
        never_there
        and evidence.since_first_missing is not None
        and evidence.since_first_missing >= BETWEEN_POSTS
    )
    a_person_knows = (
        reading in {PayoutOutcome.MISSING, PayoutOutcome.FAILED}
        and evidence.vouched_posts == evidence.posts
        and (evidence.since_post is None or evidence.since_post >= BETWEEN_POSTS)
    )

    if conclude(reading, evidence) is Conclusion.FAILED:
        assert failed_twice or always_refused or missing_twice or a_person_knows


@given(evidence=evidences, reading=st.sampled_from(PayoutOutcome))
def test_paid_is_concluded_from_a_reading_that_says_so_and_from_nothing_else(
    evidence: Evidence, reading: PayoutOutcome
) -> None:
    is_paid = conclude(reading, evidence) is Conclusion.PAID

    assert is_paid == (reading is PayoutOutcome.PAID)


@given(evidence=evidences, reading=st.sampled_from(PayoutOutcome))
def test_nothing_is_posted_twice_within_a_minute(
    evidence: Evidence, reading: PayoutOutcome
) -> None:
    if conclude(reading, evidence) is Conclusion.POST:
        assert evidence.since_post is None or evidence.since_post >= MINUTE


@pytest.mark.parametrize("was_asked", [True, False])
def test_every_payout_comes_to_an_end_when_lnbits_keeps_saying_the_same(was_asked: bool) -> None:
    """A failed row, or none: with time, and a POST where one is allowed, FAILED is proved."""
    for reading, refusals in product((PayoutOutcome.FAILED, PayoutOutcome.MISSING), (0, 1)):
        late = replace(
            POSTED,
            posts=2,
            refusals=refusals,
            believed_post=2,
            since_post=MISSING_AFTER_EXPIRY / 8,
            since_first_failed=HOUR,
            posts_at_first_failed=1 if was_asked else 2,
            since_expiry=MISSING_AFTER_EXPIRY,
            since_first_missing=MINUTE,
        )
        first = conclude(reading, late)
        posted = replace(late, posts=3, believed_post=3)
        after = posted if first is Conclusion.POST else late
        assert conclude(reading, after) is Conclusion.FAILED
