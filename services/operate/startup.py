"""What must hold before a process serves anybody, beyond what the settings tell by themselves."""

from decimal import Decimal

from config.settings import DEVELOPMENT_BTC_PRICE_USD, Settings, SettingsError
from models.money import Usd, sats_for
from services.instant import rotation
from services.jobs import evaluation, terms
from services.jobs.terms import WIDEST_CHARACTER
from services.toolbox import Toolbox


def check(tools: Toolbox) -> None:
    """Raise SettingsError with one sentence per rule that is broken. Asks nothing outside."""
    problems = _models_without_rate(tools) or [*_fee_below_cost(tools), *_rates_that_move(tools)]
    if problems:
        raise SettingsError("\n".join(problems))


def check_stored(tools: Toolbox) -> None:
    """Raise SettingsError when what the database holds cannot be used with these settings.

    Asks the database, once; one that cannot be asked is no reason not to start.
    """
    problem = rotation.problem_of_the_ring(tools)
    if problem is not None:
        raise SettingsError(problem)


def _models_without_rate(tools: Toolbox) -> list[str]:
    settings = tools.settings
    models = {"EVAL_MODEL": settings.eval_model, "WORK_MODEL": settings.work_model}
    return [
        f"{name}={model} has no known price: name a priced model, or give MODEL_PRICES its rates."
        for name, model in models.items()
        if tools.model_rates.rates(model, input_tokens=1) is None
    ]


def _fee_below_cost(tools: Toolbox) -> list[str]:
    """The longest request in the widest characters, judged at the fallback price of a bitcoin."""
    settings = tools.settings
    if settings.allow_eval_loss:
        return []
    worst = terms.worst_cost(tools, evaluation.eval_question(settings, _longest(settings)))
    price = Usd(settings.btc_price_usd_fallback or Decimal(DEVELOPMENT_BTC_PRICE_USD))
    if worst == 0 or sats_for(worst, btc_price=price) <= settings.eval_fee_sats:
        return []
    return [
        (
            f"EVAL_FEE_SATS={settings.eval_fee_sats} is below the worst cost of an evaluation"
            f" (${worst}): raise it, choose a cheaper EVAL_MODEL, or set ALLOW_EVAL_LOSS=1."
        )
    ]


def _rates_that_move(tools: Toolbox) -> list[str]:
    """A job is quoted for more tokens than it uses, and charged by the rates of its quote: where
    they depend on the length of the prompt, they must be those of what is used, too.
    """
    settings = tools.settings
    bound = terms.bound_of(terms.work_question(settings, _longest(settings))).input
    at_most, at_least = (
        tools.model_rates.rates(settings.work_model, input_tokens=tokens) for tokens in (bound, 1)
    )
    if at_most == at_least:
        return []
    return [
        (
            f"WORK_MODEL={settings.work_model} has other rates for prompts as long as"
            f" REQUEST_MAX_CHARS={settings.request_max_chars} allows: lower it, or give"
            " MODEL_PRICES one rate for all lengths."
        )
    ]


def _longest(settings: Settings) -> str:
    """The request with the most bytes."""
    return WIDEST_CHARACTER * settings.request_max_chars
