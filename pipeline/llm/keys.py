"""The key of a provider: from the environment, or from a file that only the user can read. It is never stored."""

import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.config import LlmConfig
from pipeline.errors import BadInput

_OFFLINE = "or work offline with ideate=bank implement=bank, or llm=replay llm.source=runs/NAME"


def find_key(config: LlmConfig, environment: Mapping[str, str], place: str = "llm") -> str | None:
    """The key, or none if there is none and it is optional. Raises `BadInput` naming the settings below `place` to
    set."""
    key = environment.get(config.key_variable, "").strip() if config.key_variable else ""
    if not key and config.key_file:
        key = _from_file(Path(config.key_file).expanduser(), place)
    if key:
        return key
    if config.key_optional:
        return None
    variable = config.key_variable or f"{place}.key_variable=NAME and that variable"
    raise BadInput(
        f"{config.model} needs a key: set {variable} in the environment, "
        f"or name a file of mode 0600 with {place}.key_file=FILE, {_OFFLINE}"
    )


def _from_file(path: Path, place: str) -> str:
    try:
        mode = path.stat().st_mode
        if mode & 0o077:
            raise BadInput(f"{place}.key_file={path} can be read by others; restrict it with: chmod 600 {path}")
        return path.read_text().strip()
    except OSError as error:
        raise BadInput(f"{place}.key_file={path} cannot be read: {error.strerror}; {_OFFLINE}") from None


def without(key: str | None, text: str) -> str:
    """A text with the key, and everything that looks like a key, removed: providers repeat keys in their errors."""
    if key:
        text = text.replace(key, "***")
    return re.sub(r"\b((sk|gsk|xai|key)[-_]|AIza)[\w*.-]{6,}", "***", text)
