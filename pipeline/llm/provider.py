"""Sends prompts to the models of a provider through litellm.

Limits the number of requests in flight and their total cost, retries where that helps, waits as long as the provider
requests, and stops when only a user can help. An answer is stored before it is used.
"""

import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.config import LlmConfig
from pipeline.errors import BadInput
from pipeline.llm.base import AnswerStore, Trouble, Unanswered, tokens, without_reasoning
from pipeline.llm.errors import UNREADABLE, ErrorAction, Then, action_for, retry_after
from pipeline.llm.keys import without
from pipeline.llm.prices import Prices, stated_prices
from pipeline.llm.purse import Purse
from pipeline.llm.requests import answer_tokens, arguments, check_parameters, settings_key
from pipeline.llm.usage import usage_of, valid_price
from pipeline.records import Completion, Prompt, Usage
from pipeline.text import writable

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_OUTAGE_S = 120.0
_GRACE_S = 5.0
_MOST_USED_UP = 2
"""Number of answers to one prompt that reasoning may use up before the user must change a setting."""
_BESIDE = 8
"""Number of further samples of a prompt that are looked up, as they may have been requested at the same time."""


@dataclass(frozen=True)
class SpendingLimits:
    """Limits on the models of a run, in addition to their `LlmConfig`."""

    usd: float
    """Maximum total dollars of all models, including earlier answers; 0 means no limit."""
    spent_usd: float
    """Dollars spent on earlier answers of the run."""
    stopping: threading.Event
    """Set when the program ends: pending answers are given a few seconds, then abandoned."""
    notify: Callable[[str], None] = lambda reason: None
    """Called once for every pause, with the reason."""
    warn: Callable[[str], None] = lambda _: None
    """Called once for every kind of irregularity of a model that does not hold anything up."""
    purse: Purse = field(init=False)
    """The budget, shared by all models with these limits."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "purse", Purse(self.usd, self.spent_usd))


class ProviderModel:
    """Sends prompts to one model. Safe to use from several threads."""

    def __init__(self, config: LlmConfig, key: str | None, ledger: AnswerStore, limits: SpendingLimits) -> None:
        """Raises `BadInput` if litellm is missing, or a budget is set and the prices are unknown."""
        check_parameters(config)
        self._config = config
        self._key = key
        self._ledger = ledger
        self._limits = limits
        self._settings = settings_key(config)
        self._litellm = import_litellm()
        self._prices = find_prices(config, self._litellm)
        if limits.usd and self._prices is None:
            raise BadInput(
                f"budget.usd={limits.usd:g} cannot be kept: the price of {config.model} is not known; give llm.usd_in and "
                "llm.usd_out, US dollars for a million tokens, or budget.usd=0 for no limit"
            )
        self._slots = threading.BoundedSemaphore(config.parallel)
        self._lock = threading.RLock()
        self._asking: dict[tuple[str, int], threading.Lock] = defaultdict(threading.Lock)
        self._trouble: Trouble | None = None
        self._delay: Trouble | None = None
        self._warned: set[str] = set()
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
        with asking:  # a concurrent call with the same prompt waits here and finds the answer
            completion = self._ledger.find(prompt, sample, self._settings)
            if completion is None:
                completion = self._pay(prompt, sample)
        self._check_used_up(prompt, sample, completion)
        return without_reasoning(completion)

    def _pay(self, prompt: Prompt, sample: int) -> Completion:
        """Request an answer and store it before it is used."""
        reserved, cost = self._reserve(prompt), 0.0
        try:
            with self._slots:
                completion = self._insist(prompt)
            cost = completion.usage.usd or 0.0
            self._ledger.keep(prompt, sample, completion, self._settings)
        finally:
            self._limits.purse.settle(reserved, cost)
        return completion

    def _reserve(self, prompt: Prompt) -> float:
        """Reserve the maximum cost of the answer, dollars. Raises `Unanswered` if the budget has no room for it."""
        if self._prices is None or not self._limits.usd:
            return 0.0
        most = self._prices.of(Usage(_tokens_of(prompt), 0, answer_tokens(self._config)))
        spent = self._limits.purse.reserve(most, self._limits.stopping)
        if spent is not None:
            raise self._in_trouble(
                f"budget.usd={self._limits.usd:g} is nearly used up: ${spent:.2f} is spent and the next "
                f"answer may cost ${most:.2f}; give more with budget.usd=…"
            )
        return most

    def _check_used_up(self, prompt: Prompt, sample: int, completion: Completion) -> None:
        """Raise `Unanswered` if a prompt got several answers in which reasoning left no room for an answer, and no
        usable one."""
        if not _used_up(completion):
            return
        found = [self._ledger.find(prompt, number, self._settings) for number in range(sample + _BESIDE)]
        there = [one for one in found if one is not None]
        if any(one.usable for one in there) or sum(map(_used_up, there)) < _MOST_USED_UP:
            return
        model, most, used = self._config.model, answer_tokens(self._config), completion.usage.tokens_out
        if completion.finish == "length":
            advice = "set a higher llm.max_tokens, or less reasoning with llm.parameters (e.g. {reasoning_effort: low})"
            what = f"llm.max_tokens={most} was used up by hidden reasoning ({used} tokens), and no answer was left"
        else:
            advice = "fix the server's reasoning parser, or switch its reasoning off with llm.parameters"
            what = f"the whole text of {used} tokens is reasoning, and none is an answer"
        raise self._in_trouble(f"{model}: {what}: {advice}{_said(completion.message)}")

    def _insist(self, prompt: Prompt) -> Completion:
        """Request until there is an answer. Raises `Unanswered` if further requests do not help for now."""
        began = time.monotonic()
        message, lost = "", Usage()
        for number in range(1 + self._config.retries):
            if self.trouble is not None or self._limits.stopping.is_set():
                raise Unanswered
            answer = self._request(prompt)
            if not isinstance(answer, Exception):
                self._note_delay(None)
                return self._completion(prompt, answer, number + 1, time.monotonic() - began, lost)
            message = self._message(answer)
            action = self._judge(answer, message)
            if action.then is Then.ANSWERED:
                self._note_delay(None)
                usage, now = lost, time.time()
                return Completion("", action.finish, self._config.model, usage, number + 1, at=now, message=message)
            if action.then is Then.PAUSE:
                advice = action.advice.format(max_tokens=answer_tokens(self._config))
                raise self._in_trouble(f"{self._config.model}: {advice} ({message})")
            if UNREADABLE.search(str(answer)):  # the provider charged for it
                usage = Usage(_tokens_of(prompt), usd=None, uncertain=True)
                lost += self._priced(usage)
                self._warn(
                    "unreadable",
                    "a response with status 200 had no known format and was requested again; its cost is estimated",
                )
            headers = getattr(answer, "litellm_response_headers", None) or {}
            asked_s = retry_after(dict(headers), time.time()) or 0.0
            if asked_s > _OUTAGE_S:
                raise self._in_trouble(
                    f"{self._config.model} asks to wait {asked_s:.0f} s ({message})", time.time() + asked_s
                )
            most_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**number)
            wait_s = asked_s + self._jitter.uniform(0.5, 1.0) * most_s
            self._note_delay(Trouble(self._silent(message), time.time() + wait_s))
            self._limits.stopping.wait(wait_s)
        raise self._in_trouble(self._silent(message), time.time() + _OUTAGE_S)

    def _silent(self, message: str) -> str:
        return f"{self._config.model} does not answer ({message})"

    def _note_delay(self, delay: Trouble | None) -> None:
        with self._lock:
            self._delay = delay

    def _judge(self, error: Exception, message: str) -> ErrorAction:
        action = action_for(getattr(error, "status_code", None), f"{message} {getattr(error, 'body', '')}")
        if action.then is Then.PAUSE and isinstance(error, self._litellm.ContextWindowExceededError):
            # litellm reports every mention of a limit as a prompt that is too long
            return action if "max_tokens" in action.advice else ErrorAction(Then.ANSWERED, finish="context")
        if isinstance(error, self._litellm.ContentPolicyViolationError):
            return ErrorAction(Then.ANSWERED, finish="content_filter")
        if isinstance(error, ImportError) or "pip install" in message:
            return ErrorAction(Then.PAUSE, "a package that this provider requires is missing: install it")
        return action

    def _message(self, error: Exception) -> str:
        """The provider's message on one short line, without keys."""
        text = " ".join(f"{type(error).__name__}: {error}".split() if not str(error).strip() else str(error).split())
        text = text.removeprefix("litellm.").partition(" Traceback (most recent call last)")[0]
        return writable(without(self._key, text)[:300])

    def _in_trouble(self, reason: str, until: float | None = None) -> Unanswered:
        """Refuse all prompts until then, and notify once."""
        with self._lock:
            first = self._trouble is None
            if first:
                self._trouble = Trouble(reason, until)
        if first:
            self._limits.notify(reason if until is None else f"{reason}; retried later")
        return Unanswered(reason)

    def _warn(self, what: str, text: str) -> None:
        """Give a warning about this model once."""
        with self._lock:
            first = what not in self._warned
            self._warned.add(what)
        if first:
            self._limits.warn(f"{self._config.model}: {text}")

    def _request(self, prompt: Prompt) -> Any:
        """Send one request: the provider's answer, or its error. If the program ends, the requesting thread is
        abandoned."""
        asked = _Asked(lambda: self._send(prompt))
        asked.start()
        while not asked.over.wait(0.2):
            if self._limits.stopping.is_set() and not asked.over.wait(_GRACE_S):
                raise Unanswered
        return asked.answer

    def _send(self, prompt: Prompt) -> Any:
        return self._litellm.completion(**arguments(self._config, self._key, prompt, self._response_format(prompt)))

    def _response_format(self, prompt: Prompt) -> dict[str, Any] | None:
        """The required format of the answer, as far as the provider supports it."""
        if not self._config.structured or prompt.schema is None:
            return None
        if self._litellm.supports_response_schema(self._config.model):
            schema = {"name": prompt.purpose, "schema": dict(prompt.schema), "strict": True}
            return {"type": "json_schema", "json_schema": schema}
        try:
            known = self._litellm.get_supported_openai_params(self._config.model)
        except Exception:  # noqa: BLE001 - litellm raises various exceptions for an unknown model
            known = None
        return {"type": "json_object"} if known and "response_format" in known else None

    def _completion(self, prompt: Prompt, answer: Any, requests: int, seconds: float, lost: Usage) -> Completion:
        """The completion for any response; one without a known format counts as an empty answer that was paid for."""
        choices = getattr(answer, "choices", None) or []
        choice = choices[0] if choices else None
        said = getattr(choice, "message", None)
        content = getattr(said, "content", None)
        text = writable(content) if isinstance(content, str) else ""
        finish = str(getattr(choice, "finish_reason", None) or "unknown")
        message = str(getattr(said, "refusal", None) or "")
        if not text.strip() and getattr(said, "reasoning_content", None) and finish == "stop":
            finish = "reasoning"
        if not text.strip() and not message:
            message = "the server's answer has no choices" if choice is None else ""
        usage = self._usage(prompt, answer, text) + lost
        model = writable(str(getattr(answer, "model", None) or self._config.model))
        message = without(self._key, writable(message))[:300]
        return Completion(text, writable(finish), model, usage, requests, seconds, time.time(), message)

    def _usage(self, prompt: Prompt, answer: Any, text: str) -> Usage:
        """Tokens and dollars, corrected to possible numbers."""
        usage = usage_of(getattr(answer, "usage", None), _tokens_of(prompt), tokens(text) if text else 0)
        usd = None
        if stated_prices(self._config) is None and self._prices is not None and not usage.uncertain:
            # litellm also knows the cost of cache writes, and prices that rise with the length
            try:
                usd = valid_price(self._litellm.completion_cost(answer, model=self._config.model))
            except Exception:  # noqa: BLE001 - litellm computes with what servers send
                usd = None
            usage = replace(usage, uncertain=usd is None)
        if usage.uncertain:
            self._warn(
                "usage",
                "the provider's token counts are missing or impossible; they were corrected, and the account is uncertain",
            )
        return replace(usage, usd=usd) if usd is not None else self._priced(usage)

    def _priced(self, usage: Usage) -> Usage:
        return replace(usage, usd=None if self._prices is None else max(0.0, self._prices.of(usage)))


def _tokens_of(prompt: Prompt) -> int:
    return tokens("".join(message.text for message in prompt.messages))


def _used_up(completion: Completion) -> bool:
    """Whether a completion contains nothing but reasoning."""
    return not completion.answer.strip() and without_reasoning(completion).finish in ("length", "reasoning")


def _said(message: str) -> str:
    return f" (the server said: {message})" if message else ""


class _Asked(threading.Thread):
    """One pending request, in a thread that does not keep the program alive."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        super().__init__(name="llm", daemon=True)
        self._ask = ask
        self.over = threading.Event()
        self.answer: Any = None

    def run(self) -> None:
        try:
            self.answer = self._ask()
        except Exception as error:  # noqa: BLE001 - litellm parses what servers send, and may raise any exception
            self.answer = error
        finally:
            self.over.set()


def import_litellm() -> Any:
    """The litellm module, without price map from the network, .env file, telemetry, and advertisement in errors. Raises
    `BadInput` if it is not installed.
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
    # litellm.embedding reads max_retries=0 as this default
    litellm.DEFAULT_MAX_RETRIES = 0  # type: ignore[attr-defined]
    return litellm


def find_prices(config: LlmConfig, litellm: Any) -> Prices | None:
    """The prices in the settings, else in litellm's table; none if litellm does not know the model."""
    stated = stated_prices(config)
    if stated is not None:
        return stated
    try:
        known = litellm.get_model_info(config.model)
    except litellm.exceptions.ModelNotMappedError:
        return None
    price, out = known.get("input_cost_per_token"), known.get("output_cost_per_token")
    if price is None or out is None:
        return None
    return Prices(price, known.get("cache_read_input_token_cost") or price, out)
