"""A language model that only remembers its questions."""

from typing import Self

from gateways.llms import Answer, Question, Stop


class RecordingModel:
    """A language model that writes down what it is asked."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.asked: list[Question] = []

    def of(self, name: str) -> Self:
        self.names.append(name)
        return self

    def ask(self, question: Question) -> Answer:
        self.asked.append(question)
        return Answer(text="Work.", stop=Stop.DONE, input_tokens=1, output_tokens=1)
