"""Killed workers, an emptied Redis, at the worst moments: the job completes, nothing runs twice."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
import requests
from redis import Redis

from config.broker import KEY_PREFIX
from config.queues import QueueName
from config.settings import Settings
from local.stand_in.effects import EffectKind
from local.stand_in.model_answers import label_of
from models.attempt import AttemptOutcome, Step
from services.jobs.evaluation import eval_question
from services.jobs.terms import work_question
from tests.journeys.books import Books
from tests.journeys.caller import Caller, Json
from tests.journeys.product import Product
from tests.journeys.waiting import wait_until

CALLS_ONCE = Counter({Step.EVALUATE: 1, Step.EXECUTE: 1})
ANSWERED = [
    (Step.EVALUATE, AttemptOutcome.ANSWERED),
    (Step.EXECUTE, AttemptOutcome.ANSWERED),
]


@pytest.fixture
def product(impatient_product: Product) -> Product:
    return impatient_product


@pytest.fixture
def caller(impatient_caller: Caller) -> Caller:
    return impatient_caller


@pytest.fixture
def books(impatient_books: Books) -> Books:
    return impatient_books


@pytest.fixture
def request_text() -> str:
    """One that no other test asks, so that its calls can be told from theirs."""
    return f"Say something kind about {uuid4()}."


@pytest.fixture
def redis(product: Product) -> Iterator[Redis]:
    with Redis.from_url(product.environ("web")["REDIS_URL"]) as server:
        yield server


def blocked_clients(redis: Redis) -> int:
    """How many wait for a message, and would be handed it at once."""
    return int(redis.info("clients")["blocked_clients"])


def calls_of(product: Product, caller: Caller, request: str) -> Counter[Step]:
    """How often a model was called for each step of a job, by the word of the model server."""
    settings = Settings.load(product.environ("worker-models"))
    asked = {
        Step.EVALUATE: eval_question(settings, request),
        Step.EXECUTE: work_question(settings, request),
    }
    steps = {label_of(question.system, question.user): step for step, question in asked.items()}
    begun = caller.wallet.effects(EffectKind.MODEL_CALL_BEGIN)
    labels = (str(effect.details["label"]) for effect in begun)
    return Counter(steps[label] for label in labels if label in steps)


def complete(caller: Caller, quoted: Json) -> Json:
    caller.pay(quoted["workInvoice"])
    return caller.wait_for(quoted["jobId"], "complete")


def test_given_a_worker_killed_in_the_middle_of_its_work_then_only_that_call_is_made_again(
    product: Product, caller: Caller, books: Books, request_text: str
) -> None:
    quoted = caller.quoted(request_text)
    caller.wallet.hold("anthropic", match=request_text)
    caller.pay(quoted["workInvoice"])
    caller.wallet.wait_until_held()

    product.kill("worker-models")
    done = caller.wait_for(quoted["jobId"], "complete")

    assert done["result"]
    assert calls_of(product, caller, request_text) == CALLS_ONCE + Counter([Step.EXECUTE])
    assert books.attempts(quoted["jobId"]) == [
        (Step.EVALUATE, AttemptOutcome.ANSWERED),
        (Step.EXECUTE, None),
        (Step.EXECUTE, AttemptOutcome.ANSWERED),
    ]


def test_given_a_worker_killed_in_the_middle_of_an_evaluation_then_the_job_completes_all_the_same(
    product: Product, caller: Caller, books: Books, request_text: str
) -> None:
    created = caller.create(request_text)
    caller.wallet.hold("anthropic", match=request_text)
    caller.pay(created["evalInvoice"])
    caller.wallet.wait_until_held()

    product.kill("worker-models")
    quoted = caller.wait_for(created["jobId"], "awaiting_work_payment")
    complete(caller, quoted)

    assert calls_of(product, caller, request_text) == CALLS_ONCE + Counter([Step.EVALUATE])
    assert books.attempts(created["jobId"]) == [(Step.EVALUATE, None), *ANSWERED]


def test_given_the_money_worker_killed_between_payment_and_settlement_then_the_money_is_found(
    product: Product, caller: Caller, books: Books, request_text: str
) -> None:
    created = caller.create(request_text)
    with product.frozen("worker-money"):
        assert caller.wallet.pay(created["evalInvoice"]["paymentHash"])
        assert caller.job(created["jobId"])["state"] == "awaiting_eval_payment"
        product.kill("worker-money")

    quoted = caller.wait_for(created["jobId"], "awaiting_work_payment")
    complete(caller, quoted)

    assert calls_of(product, caller, request_text) == CALLS_ONCE
    assert books.attempts(created["jobId"]) == ANSWERED


def test_given_the_web_killed_while_it_makes_a_job_then_its_caller_makes_another(
    product: Product, caller: Caller, books: Books, request_text: str
) -> None:
    product.confidential.append(request_text)
    caller.wallet.hold("lnbits.create")
    with ThreadPoolExecutor() as threads:
        unanswered = threads.submit(caller.post, "/api/jobs", {"request": request_text})
        caller.wallet.wait_until_held()
        product.kill_all_of("web")
        assert isinstance(unanswered.exception(), requests.ConnectionError)
    caller.wallet.release()

    wait_until("somebody answers again", caller.is_answered)
    quoted = caller.quoted(request_text)
    complete(caller, quoted)

    assert calls_of(product, caller, request_text) == CALLS_ONCE
    assert books.attempts(quoted["jobId"]) == ANSWERED


def test_given_beat_killed_then_what_was_paid_meanwhile_is_noticed_when_it_is_back(
    product: Product, caller: Caller, request_text: str
) -> None:
    created = caller.create(request_text)
    with product.frozen("beat"):
        caller.pay(created["evalInvoice"])
        product.kill("beat")

    quoted = caller.wait_for(created["jobId"], "awaiting_work_payment")
    complete(caller, quoted)

    assert calls_of(product, caller, request_text) == CALLS_ONCE


def test_given_redis_is_emptied_between_payment_and_evaluation_then_the_job_completes(
    product: Product, caller: Caller, books: Books, redis: Redis, request_text: str
) -> None:
    queue = KEY_PREFIX + QueueName.MODELS
    created = caller.create(request_text)
    with product.frozen("worker-models"):
        with product.frozen("worker-money"):
            wait_until("nobody has an ear at the bell", lambda: not blocked_clients(redis))
        caller.pay(created["evalInvoice"])
        caller.wait_for(created["jobId"], "evaluating")
        assert wait_until("a worker was rung for", lambda: redis.llen(queue))
        # in one go: beat rings the models, too
        with product.frozen("worker-money"), redis.pipeline() as in_one_go:
            in_one_go.flushall()
            in_one_go.llen(queue)
            assert in_one_go.execute() == [True, 0]

    quoted = caller.wait_for(created["jobId"], "awaiting_work_payment")
    complete(caller, quoted)

    assert calls_of(product, caller, request_text) == CALLS_ONCE
    assert books.attempts(created["jobId"]) == ANSWERED


def test_given_redis_is_emptied_before_a_payment_is_noticed_then_the_job_completes(
    product: Product, caller: Caller, redis: Redis, request_text: str
) -> None:
    created = caller.create(request_text)
    with product.frozen("worker-money"):
        assert caller.wallet.pay(created["evalInvoice"]["paymentHash"])
        redis.flushall()

    quoted = caller.wait_for(created["jobId"], "awaiting_work_payment")
    complete(caller, quoted)

    assert calls_of(product, caller, request_text) == CALLS_ONCE


@pytest.mark.parametrize("server", ["valkey", "postgres"])
def test_given_a_server_is_killed_between_payment_and_evaluation_then_the_job_completes(
    product: Product, caller: Caller, request_text: str, server: str
) -> None:
    created = caller.create(request_text)
    with product.frozen("worker-models"):
        caller.pay(created["evalInvoice"])
        caller.wait_for(created["jobId"], "evaluating")
        product.kill(server)

    wait_until("jobs can be read", lambda: caller.answers(created["jobId"]))
    quoted = caller.wait_for(created["jobId"], "awaiting_work_payment")
    complete(caller, quoted)

    assert calls_of(product, caller, request_text) == CALLS_ONCE
