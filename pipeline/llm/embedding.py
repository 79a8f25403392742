"""Vectors of texts from an embedding model, to compare what texts mean."""

import json
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.base import AnswerStore, Vector
from pipeline.llm.provider import ProviderModel, SpendingLimits
from pipeline.llm.replay import Replay
from pipeline.llm.requests import embedding_arguments
from pipeline.records import Completion, Message, Prompt, Usage
from pipeline.text import writable

_PURPOSE = "embed"
_BATCH = 64
"""Maximum number of texts in one request."""
_DIGITS = 5
"""Decimal places of a stored number. A vector has length 1, so that a cosine is off by less than 0.0001."""


class EmbeddingModel(ProviderModel):
    """Requests vectors from a provider. The vectors of a request are stored together, as the answer to one prompt."""

    def __init__(self, config: LlmConfig, key: str | None, ledger: AnswerStore, limits: SpendingLimits) -> None:
        """See `ProviderModel`."""
        super().__init__(config, key, ledger, limits)
        known = _stored(ledger, config.model)
        self._vectors: dict[str, Vector | None] = {text: vector for text, vector in known.items() if vector is not None}
        self._embedding = threading.Lock()

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        clean = [writable(text) for text in texts]
        with self._embedding:
            missing = list(dict.fromkeys(text for text in clean if text not in self._vectors))
            for start in range(0, len(missing), _BATCH):
                self._vectors |= self._fetched(missing[start : start + _BATCH])
            return [self._vectors[text] for text in clean]

    def _fetched(self, texts: list[str]) -> dict[str, Vector | None]:
        """Vectors for texts. If the model rejects them, they are requested in halves, to find the text that it rejects."""
        prompt = _prompt(self._config.model, texts)
        completion = self._ledger.find(prompt, 0, self._settings) or self._pay(prompt, 0)
        if completion.usable:
            return dict(zip(texts, _vectors(completion), strict=True))
        if len(texts) == 1:
            return {texts[0]: None}
        half = len(texts) // 2
        return self._fetched(texts[:half]) | self._fetched(texts[half:])

    def _send(self, prompt: Prompt) -> Any:
        return self._litellm.embedding(**embedding_arguments(self._config, self._key, _texts(prompt)))

    def _completion(self, prompt: Prompt, answer: Any, requests: int, seconds: float, lost: Usage) -> Completion:
        vectors = _read(answer, len(_texts(prompt)))
        if vectors is None:
            raise self._in_trouble(
                f"{self._config.model} gave no vector for each text: name an embedding model with llm.roles.embedder.model"
            )
        usage = self._usage(prompt, answer, "") + lost
        return Completion(json.dumps(vectors), "stop", self._config.model, usage, requests, seconds, time.time())


class EmbeddingReplay(Replay):
    """Returns the vectors of a recorded run only."""

    def __init__(self, ledger: AnswerStore, source: str, model: str) -> None:
        """`model` is the name of the model that was used there."""
        super().__init__(ledger, source)
        self._model, self._vectors = model, _stored(ledger, model)

    def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """The recorded vectors. Raises `BadInput` for a text that was never recorded."""
        clean = [writable(text) for text in texts]
        for text in clean:
            if text not in self._vectors:
                raise BadInput(f"{self._source} has no vector by {self._model} of the text {text[:200]!r}")
        return [self._vectors[text] for text in clean]


def _prompt(model: str, texts: Sequence[str]) -> Prompt:
    return Prompt(_PURPOSE, (Message("system", model), *(Message("user", text) for text in texts)))


def _texts(prompt: Prompt) -> list[str]:
    return [message.text for message in prompt.messages[1:]]


def _stored(ledger: AnswerStore, model: str) -> Mapping[str, Vector | None]:
    """All stored vectors of a model, by text; none for a text that it rejected."""
    found: dict[str, Vector | None] = {}
    for prompt in ledger.prompts(_PURPOSE):
        completion, texts = ledger.find(prompt, 0), _texts(prompt)
        if completion is None or prompt.messages[0].text != model:
            continue
        if completion.usable:
            found |= zip(texts, _vectors(completion), strict=True)
        elif len(texts) == 1:
            found.setdefault(texts[0], None)
    return found


def _vectors(completion: Completion) -> list[Vector]:
    return [_unit(np.array(numbers, np.float32)) for numbers in json.loads(completion.text)]


def _unit(vector: Vector) -> Vector:
    return vector / np.linalg.norm(vector)


def _read(answer: Any, count: int) -> list[list[float]] | None:
    """The numbers of `count` vectors of length 1 in a provider's answer; none unless all of them are there."""
    data = getattr(answer, "data", None)
    try:
        rows = sorted(data or (), key=lambda one: one["index"])
        vectors = [[float(number) for number in one["embedding"]] for one in rows]
    except (KeyError, TypeError, ValueError):
        return None
    norms = [math.hypot(*vector) for vector in vectors]
    same = len({len(vector) for vector in vectors}) == 1
    if len(vectors) != count or not same or not all(math.isfinite(norm) and norm > 0 for norm in norms):
        return None
    return [[round(x / norm, _DIGITS) for x in vector] for vector, norm in zip(vectors, norms, strict=True)]
