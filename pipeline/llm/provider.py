"""The models of a provider, asked through litellm.

It limits how many requests are in flight and what they may cost together, sends a request again where that helps, waits
as long as the provider asks, and stops asking when only a person can help. An answer is written down before anybody
uses it.
"""

import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.base import AnswerStore, Trouble, Unanswered, encodable, tokens
from pipeline.llm.errors import ErrorAction, Then, action_for, retry_after
from pipeline.llm.keys import without
from pipeline.llm.prices import Prices, stated_prices
from pipeline.records import Completion, Prompt, Usage

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_OUTAGE_S = 120.0
_GRACE_S = 5.0


@dataclass(frozen=True)
class SpendingLimits:
    """What a `ProviderModel` may do, besides what `LlmConfig` says."""

    usd: float
    """Most dollars, those of earlier answers included; 0 means no limit."""
    spent_usd: float
    """What earlier answers of the run cost."""
    stopping: threading.Event
    """Set when the program ends: answers under way are waited for a moment, then given up."""
    notify: Callable[[str], None] = lambda reason: None
    """Called once with the reason of every pause."""


class ProviderModel:
    """Asks one model. Safe to use from several threads."""

    def __init__(self, config: LlmConfig, key: str | None, ledger: AnswerStore, limits: SpendingLimits) -> None:
        """Raises `BadInput` when litellm is missing, or a budget is set and the prices are not known."""
        self._config = config
        self._key = key
        self._ledger = ledger
        self._limits = limits
        self._litellm = import_litellm()
        self._errors: type[Exception] = self._litellm.exceptions.openai.OpenAIError  # litellm's own are kinds of it
        self._prices = find_prices(config, self._litellm)
        if limits.usd and self._prices is None:
            raise BadInput(
                f"budget.usd={limits.usd:g} cannot be kept: the price of {config.model} is not known; give llm.usd_in and "
                "llm.usd_out, US dollars for a million tokens, or budget.usd=0 for no limit"
            )
        self._slots = threading.BoundedSemaphore(config.parallel)
        self._lock = threading.RLock()
        self._money = threading.Condition(self._lock)
        self._asking: dict[tuple[str, int], threading.Lock] = defaultdict(threading.Lock)
        self._spent_usd, self._reserved_usd = limits.spent_usd, 0.0
        self._trouble: Trouble | None = None
        self._delay: Trouble | None = None
        self._jitter = random.Random()

    @property
    def trouble(self) -> Trouble | None:
        with self._lock:
            if self._trouble is not None and self._trouble.until is not None and time.time() >= self._trouble.until:
                self._trouble = None
            return self._trouble

    @property
    def delay(self) -> Trouble | None:
        with self._lock:
            return self._delay

    def ask(self, prompt: Prompt, sample: int = 0) -> Completion:
        with self._lock:
            asking = self._asking[prompt.key, sample]
        with asking:  # who asks the same meanwhile finds the answer
            known = self._ledger.find(prompt, sample)
            if known is not None:
                return known
            reserved, cost = self._reserve(prompt), 0.0
            try:
                with self._slots:
                    completion = self._insist(prompt)
                cost = completion.usage.usd or 0.0
                self._ledger.keep(prompt, sample, completion)
            finally:
                self._settle(reserved, cost)
            return completion

    def _reserve(self, prompt: Prompt) -> float:
        """Set aside what the answer may cost at most, waiting for answers in flight to cost less than they might."""
        if self._prices is None or not self._limits.usd:
            return 0.0
        text = "".join(message.text for message in prompt.messages)
        most = self._prices.of(Usage(tokens(text), 0, self._config.max_tokens))
        with self._money:
            while self._spent_usd + self._reserved_usd + most > self._limits.usd:
                if self._spent_usd + most > self._limits.usd:
                    raise self._in_trouble(
                        f"budget.usd={self._limits.usd:g} is all but used up: ${self._spent_usd:.2f} are spent and the next "
                        f"answer may cost ${most:.2f}; give more with budget.usd=…"
                    )
                self._money.wait(1.0)
                if self._limits.stopping.is_set():
                    raise Unanswered
            self._reserved_usd += most
        return most

    def _settle(self, reserved: float, usd: float) -> None:
        with self._money:
            self._reserved_usd -= reserved
            self._spent_usd += usd
            self._money.notify_all()

    def _insist(self, prompt: Prompt) -> Completion:
        """Ask until there is an answer. Raises `Unanswered` when asking more does not help for now."""
        began = time.monotonic()
        words = ""
        for number in range(1 + self._config.retries):
            if self.trouble is not None or self._limits.stopping.is_set():
                raise Unanswered
            answer = self._request(prompt)
            if not isinstance(answer, Exception):
                self._note_delay(None)
                return self._completion(answer, number + 1, time.monotonic() - began)
            words = self._words(answer)
            verdict = self._judge(answer, words)
            if verdict.then is Then.ANSWERED:
                self._note_delay(None)
                return Completion("", verdict.words, self._config.model, Usage(), number + 1, at=time.time())
            if verdict.then is Then.PAUSE:
                raise self._in_trouble(f"{self._config.model}: {verdict.words} ({words})")
            headers = getattr(answer, "litellm_response_headers", None) or {}
            asked_s = retry_after(dict(headers), time.time()) or 0.0
            if asked_s > _OUTAGE_S:
                raise self._in_trouble(
                    f"{self._config.model} asks to wait {asked_s:.0f} s ({words})", time.time() + asked_s
                )
            most_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**number)
            wait_s = asked_s + self._jitter.uniform(0.5, 1.0) * most_s
            self._note_delay(Trouble(self._silent(words), time.time() + wait_s))
            self._limits.stopping.wait(wait_s)
        raise self._in_trouble(self._silent(words), time.time() + _OUTAGE_S)

    def _silent(self, words: str) -> str:
        return f"{self._config.model} does not answer ({words}); asked again later"

    def _note_delay(self, delay: Trouble | None) -> None:
        with self._lock:
            self._delay = delay

    def _judge(self, error: Exception, words: str) -> ErrorAction:
        if isinstance(error, self._litellm.ContextWindowExceededError):
            return ErrorAction(Then.ANSWERED, "context")
        if isinstance(error, self._litellm.ContentPolicyViolationError):
            return ErrorAction(Then.ANSWERED, "content_filter")
        return action_for(getattr(error, "status_code", None), f"{words} {getattr(error, 'body', '')}")

    def _words(self, error: Exception) -> str:
        """What the provider said, on one short line, without keys."""
        text = " ".join(str(error).removeprefix("litellm.").split())
        return without(self._key, text)[:300]

    def _in_trouble(self, reason: str, until: float | None = None) -> Unanswered:
        """Answer nothing more until then, and say so once."""
        with self._lock:
            first = self._trouble is None
            if first:
                self._trouble = Trouble(reason, until)
        if first:
            self._limits.notify(reason)
        return Unanswered(reason)

    def _request(self, prompt: Prompt) -> Any:
        """One request: the provider's answer, or its error. The thread that asks is left behind if we have to end."""
        asked = _Asked(lambda: self._litellm.completion(**self._arguments(prompt)), self._errors)
        asked.start()
        while not asked.over.wait(0.2):
            if self._limits.stopping.is_set() and not asked.over.wait(_GRACE_S):
                raise Unanswered
        if asked.answer is None:
            raise RuntimeError("a request ended in an error of this program; its traceback is above")
        return asked.answer

    def _arguments(self, prompt: Prompt) -> dict[str, Any]:
        first, *others = ({"role": message.role, "content": message.text} for message in prompt.messages)
        config = self._config
        given: dict[str, Any] = {
            "model": config.model,
            "messages": [self._marked(first) if config.cache_marks else first, *others],
            "max_tokens": config.max_tokens,
            "timeout": config.timeout_s,
            "api_key": self._key or "none",
            # The retries are ours: litellm's do not wait for as long as the provider asks.
            "num_retries": 0,
            "max_retries": 0,
        }
        if config.api_base:
            given["api_base"] = config.api_base
        if config.temperature is not None:
            given["temperature"] = config.temperature
        return given

    def _marked(self, message: dict[str, str]) -> dict[str, Any]:
        part = {"type": "text", "text": message["content"], "cache_control": {"type": "ephemeral"}}
        return {"role": message["role"], "content": [part]}

    def _completion(self, answer: Any, requests: int, seconds: float) -> Completion:
        choice, counted = answer.choices[0], answer.usage
        details = getattr(counted, "prompt_tokens_details", None)
        usage = Usage(counted.prompt_tokens, (details and details.cached_tokens) or 0, counted.completion_tokens, None)
        if stated_prices(self._config) is not None and self._prices is not None:
            usage = replace(usage, usd=self._prices.of(usage))
        elif self._prices is not None:
            # litellm also knows what writing to a cache costs, and prices that rise with the length.
            usage = replace(usage, usd=self._litellm.completion_cost(answer, model=self._config.model))
        text = encodable(choice.message.content or "")
        return Completion(text, choice.finish_reason, answer.model or "", usage, requests, seconds, time.time())


class _Asked(threading.Thread):
    """One request under way, in a thread that does not keep the program alive."""

    def __init__(self, ask: Callable[[], Any], expected: type[Exception]) -> None:
        super().__init__(name="llm", daemon=True)
        self._ask = ask
        self._expected = expected
        self.over = threading.Event()
        self.answer: Any = None

    def run(self) -> None:
        try:
            self.answer = self._ask()
        except self._expected as error:
            self.answer = error
        finally:
            self.over.set()


def import_litellm() -> Any:
    """litellm, made quiet: no price map from the network, no .env file, no telemetry, no advertisement in errors.

    Raises `BadInput` when it is not installed.
    """
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_MODE"] = "PRODUCTION"
    try:
        import litellm
    except ModuleNotFoundError as error:
        raise BadInput(
            f"{error.name} is not installed, which a language model needs: pip install -e '.[llm]', "
            "or work offline with ideate=bank implement=bank"
        ) from None
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def find_prices(config: LlmConfig, litellm: Any) -> Prices | None:
    """What the settings state, else what litellm's own table says, if it knows the model."""
    stated = stated_prices(config)
    if stated is not None:
        return stated
    try:
        known = litellm.get_model_info(config.model)
    except litellm.exceptions.ModelNotMappedError:
        return None
    price = known["input_cost_per_token"]
    return Prices(price, known.get("cache_read_input_token_cost") or price, known["output_cost_per_token"])
