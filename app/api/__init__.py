"""The JSON API: a route is decorators for the contract and a few lines that call a service."""

from flask_smorest import Blueprint

from app.bodies import StrictParser


class ApiBlueprint(Blueprint):
    """A blueprint whose bodies are read strictly."""

    ARGUMENTS_PARSER = StrictParser()
