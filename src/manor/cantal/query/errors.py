"""Why a question is not answered."""

from __future__ import annotations

from manor.config.errors import ManorError


class BadQuery(ManorError):
    """rules.busy.functions[1]: SumBy takes 3 arguments, 2 given"""

    status = 400

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}" if path else text)
        self.path = path
        self.text = text


class QueryTooBig(ManorError):
    """the answer would have 12000000 samples; 10000000 is the most a document may ask for"""

    status = 422
