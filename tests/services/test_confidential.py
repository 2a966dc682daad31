"""What people say and are told is known to the watch over logs, wherever it is kept."""

from models.attempt import Attempt
from models.invoice import InvoiceKind
from services.jobs import demo, intake
from services.jobs.demo import Client
from tests.support.confidential import texts_in
from tests.support.life import REQUEST, Life
from tests.support.owing import address_at
from tests.support.rows import all_of


def test_what_a_caller_says_and_is_told_is_known(life: Life) -> None:
    address, note = address_at(life), "a note of the caller's own"
    view = intake.create(
        life.tools, REQUEST, client_key="192.0.2.1", metadata={"note": note}, refund_to=address
    )
    for kind in (InvoiceKind.EVAL, InvoiceKind.WORK):
        life.pay(life.view(view), kind)
        life.poll()
        life.work()
    result = life.view(view).job.result
    answers = {attempt.answer for attempt in all_of(life.tools, Attempt)}

    known = texts_in(life.tools.database)

    assert result
    assert {REQUEST, address, note, result} | answers <= known


def test_what_is_asked_in_a_free_try_is_known_and_so_is_its_answer(life: Life) -> None:
    asked = "What is honest work to you?"
    run_id, _ = demo.admit(life.tools, asked, Client(key="192.0.2.1", network="192.0.2.1"))
    life.work()

    known = texts_in(life.tools.database)

    assert {asked, demo.look(life.tools, run_id).result} <= known
