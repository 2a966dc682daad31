"""What a run asks a model, on the creator's key: the question, its worst cost, its answer's use."""

from gateways.llms import Question, Sampling
from models.catalogue import CatalogueModel
from models.creator import Provider
from models.money import Usd
from models.resource import PROVIDER_OF, ResourceType, ResourceVersion
from services.errors import InvalidRequest
from services.instant import catalogue, drafts, templates
from services.instant.templates import Inputs

NEUTRAL_TURN = "Please go ahead."
"""The user's turn when the caller said nothing: providers refuse an empty one."""


def question(
    of: ResourceType, version: ResourceVersion, inputs: Inputs, model: CatalogueModel
) -> Question:
    """The one call of a run. Raises InvalidRequest when the prompt leaves no room for an answer."""
    system = templates.system_turn(version, inputs)
    user = inputs.user_message or NEUTRAL_TURN
    cap = catalogue.output_cap(model, version.max_tokens or drafts.DEFAULT_MAX_TOKENS, system, user)
    if cap < 1:
        raise InvalidRequest.at("", "With these values the prompt is too long for the model.")
    return Question(
        model=name_at(PROVIDER_OF[of], model.id),
        system=system,
        user=user,
        max_output_tokens=cap,
        sampling=_sampling(of, version),
    )


def worst_cost(asked: Question, model: CatalogueModel) -> Usd:
    """The most that this call can cost the creator."""
    return catalogue.worst_cost(model, asked.max_output_tokens, asked.system, asked.user)


def name_at(provider: Provider, model_id: str) -> str:
    """Anthropic's own API knows its models by other names than the catalogue."""
    if provider is Provider.OPENROUTER:
        return model_id
    return model_id.removeprefix("anthropic/").partition(":")[0].replace(".", "-")


def _sampling(of: ResourceType, version: ResourceVersion) -> Sampling:
    """The contract's defaults, where the provider can be told."""
    if PROVIDER_OF[of] is Provider.ANTHROPIC:
        return Sampling()
    return Sampling(
        temperature=drafts.or_else(version.temperature, drafts.DEFAULT_TEMPERATURE),
        top_p=drafts.or_else(version.top_p, drafts.DEFAULT_TOP_P),
        frequency_penalty=version.frequency_penalty,
        presence_penalty=version.presence_penalty,
    )
