"""Everything that the stand-in plays, put together behind one address."""

from pathlib import Path

from local.stand_in.chain import ChainApi
from local.stand_in.control import Control
from local.stand_in.effects import Counts, EffectLog
from local.stand_in.facilitator import FacilitatorApi
from local.stand_in.faults import ClientLeft, Faults
from local.stand_in.key_states import ProviderKeyStates
from local.stand_in.lnbits import LnbitsApi
from local.stand_in.lnurl import LnurlReceiver
from local.stand_in.models import ModelApi
from local.stand_in.node import Node
from local.stand_in.openrouter import OpenRouter
from local.stand_in.price_feeds import PriceFeeds
from local.stand_in.tokens import Tokens
from local.stand_in.upstream import Upstream
from local.stand_in.weather import Weather
from local.stand_in.wire import BadJson, Ending, Reply, Request, Route, json_reply


class World:
    """State lives in ``data_dir`` (invoices, balances, effects); faults and counts die with us."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        effects = EffectLog(data_dir / "effects.jsonl")
        weather = Weather()
        faults = Faults(weather.draw)
        feeds = PriceFeeds(faults)
        node = Node(data_dir, effects)
        tokens = Tokens(data_dir / "tokens.sqlite3")
        self._counts = Counts(effects)
        keys = ProviderKeyStates()
        openrouter = OpenRouter(self._counts, faults, keys)
        self._routes = [
            *LnbitsApi(node, faults).routes(),
            *ModelApi(self._counts, faults, keys).routes(),
            *openrouter.routes(),
            *feeds.routes(),
            *LnurlReceiver(node, effects, faults).routes(),
            *Upstream(faults).routes(),
            *FacilitatorApi(tokens, effects, faults).routes(),
            *ChainApi(tokens, faults).routes(),
            *Control(
                node=node,
                effects=effects,
                counts=self._counts,
                faults=faults,
                weather=weather,
                feeds=feeds,
                openrouter=openrouter,
                keys=keys,
                tokens=tokens,
            ).routes(),
        ]

    def answer(self, request: Request) -> Reply:
        """Answer one request: the first route that fits, or 404."""
        for route in self._routes:
            match = route.pattern.fullmatch(request.path)
            if match and route.method == request.method:
                self._counts.request(route.name)
                return _handled(route, request, match.groupdict())
        return json_reply({"detail": "Not Found"}, status=404)


def _handled(route: Route, request: Request, parts: dict[str, str]) -> Reply:
    try:
        return route.handler(request, **parts)
    except ClientLeft:
        return Reply(ending=Ending.VANISH)
    except BadJson:
        return json_reply({"error": "The body is not a JSON object."}, status=400)
