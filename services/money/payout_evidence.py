"""What may be concluded about money that was sent: only here FAILED is known to be proved.

Being wrong on one side pays twice, on the other leaves a payout in doubt until a person looks. So
everything that is not proof is WAIT.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from gateways.lightning import Age, PayoutOutcome, SendReport

BETWEEN_POSTS = timedelta(seconds=60)
"""LNbits may still be working on the last POST."""
BETWEEN_POSTS_AT_MOST = timedelta(minutes=30)
"""Of a payout that has been called failed for long, while nobody confirms it."""
MISSING_AFTER_EXPIRY = timedelta(hours=1)


class Conclusion(StrEnum):
    POST = "post"
    """Hand the same BOLT11 over (again): the network pays one hash at most once."""
    WAIT = "wait"
    PAID = "paid"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is on record about one payout. Spans are by PostgreSQL's clock; None = never."""

    posts: int
    refusals: int
    """POSTs answered by a refusal that is known to precede sending."""
    believed_post: int
    """Number of the last POST whose answer makes "failed" the word of LNbits' node; 0 = none."""
    since_post: timedelta | None
    since_first_failed: timedelta | None
    """Since a reading first said "failed", of a row that is still there."""
    posts_at_first_failed: int | None
    """How many POSTs there had been by then."""
    since_expiry: timedelta
    """Since the BOLT11 expired; negative while it lives."""
    since_first_missing: timedelta | None
    """Since the first 404 that counts: past ``MISSING_AFTER_EXPIRY``, with a key proved good."""
    row_was_read: bool
    """LNbits has shown a row of it."""
    vouched_posts: int
    """How many POSTs there had been when a person said, after expiry, that it failed; 0 = never."""

    @property
    def has_expired(self) -> bool:
        return self.since_expiry > timedelta(0)

    @property
    def posted_since_expiry(self) -> bool:
        return self.since_post is not None and self.since_post < self.since_expiry

    @property
    def posted_since_failed(self) -> bool:
        return self.posts_at_first_failed is not None and self.posts > self.posts_at_first_failed

    @property
    def is_believed(self) -> bool:
        """Whether "failed", read now, is the node's word, as the answer to the last POST shows."""
        return self.believed_post == self.posts

    @property
    def is_vouched(self) -> bool:
        """Whether a person has said what the node knows of the last POST, too."""
        return 0 < self.vouched_posts == self.posts

    @property
    def is_pending_news(self) -> bool:
        """Whether a row that says "pending" is the first, or contradicts what a person has said."""
        return not self.row_was_read or self.is_vouched

    @property
    def is_settled(self) -> bool:
        """Whether LNbits has done with the last POST, as far as anybody can tell."""
        return self.since_post is None or self.since_post >= BETWEEN_POSTS

    @property
    def may_post(self) -> bool:
        """After an eighth of the time since it was first called failed, within bounds."""
        called_failed = self.since_first_failed or timedelta(0)
        pause = max(BETWEEN_POSTS, min(called_failed / 8, BETWEEN_POSTS_AT_MOST))
        return self.since_post is None or self.since_post >= pause


def before_first_post(evidence: Evidence) -> Conclusion:
    """Nothing was sent so far: send it, unless it died of waiting."""
    return Conclusion.FAILED if evidence.has_expired else Conclusion.POST


def conclude(reading: PayoutOutcome, evidence: Evidence) -> Conclusion:
    """What a reading of the paying wallet allows us to do next."""
    if reading is PayoutOutcome.PAID:
        return Conclusion.PAID
    if reading not in {PayoutOutcome.FAILED, PayoutOutcome.MISSING}:
        return Conclusion.WAIT
    if evidence.is_vouched:
        return Conclusion.FAILED if evidence.is_settled else Conclusion.WAIT
    if reading is PayoutOutcome.FAILED:
        return _after_failed(evidence)
    return _after_missing(evidence)


def _after_failed(evidence: Evidence) -> Conclusion:
    """LNbits has said "failed" of paid ones: asking again, a second look and expiry prove it.

    Only a POST makes LNbits ask its node about a failed row, so the last one comes after expiry:
    what was still on its way before may have arrived. Its answer must show that LNbits has looked,
    and that its node is to be believed. Nor is a look right after a POST a proof: what is read then
    may be the failure before, while LNbits is still at work on a request whose answer was lost. It
    pays expired invoices of its own, too.
    """
    is_confirmed = evidence.posted_since_failed and evidence.is_believed
    was_asked = is_confirmed and (evidence.posted_since_expiry or not evidence.has_expired)
    if was_asked and evidence.has_expired and evidence.is_settled:
        return Conclusion.FAILED
    if not was_asked and evidence.may_post:
        return Conclusion.POST
    return Conclusion.WAIT


def _after_missing(evidence: Evidence) -> Conclusion:
    """No row: not sent yet, refused at the door, or not visible yet.

    That there is none *any more* proves nothing, since what it told of may be paid: LNbits was
    restored, or somebody has removed it. Nor is it handed over again, for LNbits would begin anew,
    and how its node ends a second try of what is under way is not known of every node.
    """
    if evidence.row_was_read:
        return Conclusion.WAIT
    if evidence.refusals == evidence.posts:
        return Conclusion.FAILED
    if evidence.since_first_missing is not None and evidence.since_first_missing >= BETWEEN_POSTS:
        return Conclusion.FAILED
    if evidence.may_post and not evidence.has_expired:
        return Conclusion.POST
    return Conclusion.WAIT


def is_its_nodes_word(report: SendReport, age: Age, *, was_always_candid: bool) -> bool:
    """Whether "failed", read after this POST, is what the node of LNbits says.

    What an old LNbits has written a young one repeats, unless its node knows better or confirms it.

    Args:
        age: of the LNbits that was asked.
        was_always_candid: each POST went to one that says "failed" only if its node does.
    """
    is_candid = report.was_confirmed or was_always_candid
    return report.was_considered and age is Age.YOUNG and is_candid


def missing_counts(reading: PayoutOutcome, evidence: Evidence) -> bool:
    """Whether a 404 is late enough to be evidence, once the key is proved good."""
    return reading is PayoutOutcome.MISSING and evidence.since_expiry >= MISSING_AFTER_EXPIRY
