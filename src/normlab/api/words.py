"""Arguments of Python calls as words of the command line."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from normlab.api.list_values import is_one_value
from normlab.norms.loading import is_file_reference
from normlab.norms.own import OwnNorm, offer, offer_file, share
from normlab.own_norms import add_option, check_name, take_own_norms

# Texts that Hydra reads as they are; others are quoted, such as "null" and "true".
PLAIN_TEXT = re.compile(
    r"(?!(?i:null|true|false|nan|inf)$)[A-Za-z_][A-Za-z0-9_./+-]*"
    r"|glob\([^()]*\)|range\([\d, -]*\)"
)
SEVERAL = list | tuple | range | set


def words_of(texts: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """The overrides of a call such as `run("model=lenet5 dataset=mnist", seed=0)`.

    Args:
        texts: overrides as on the command line, several in one text if it has spaces.
        settings: overrides by key. A dict stands for keys below its own, as in
            `optimizer={"lr": 0.1}`; the norm may be a class or a function.

    Raises:
        ValueError: a value cannot stand on a command line.
    """
    words = []
    for text in texts:
        _check_text(text)
        words += take_own_norms(shlex.split(text))
    for key, value in settings.items():
        words += _words(key, value, _text)
    return words


def _check_text(text: Any) -> None:
    if isinstance(text, str):
        return
    name = getattr(text, "__name__", "MyNorm")
    raise ValueError(
        f"overrides must be texts such as 'model=lenet5', got {text!r}; name "
        f"what is no text, as in norm={name}"
    )


def sweep_words_of(texts: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
    """The same for a sweep, in which a list is the values of a key, one a run.

    If a value of the key is itself a list, as of `trusted_packages`, a list is one
    value, and a list of lists is several.
    """
    words = words_of(texts, {})
    picked = list(words)
    for key, value in settings.items():
        if not isinstance(value, Mapping):
            picked.append(f"{key}={value}")
    for key, value in settings.items():
        words += _words(key, value, partial(_axis, picked))
    return words


def _words(key: str, value: Any, text: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _words(f"{key}.{name}", inner, text)
    else:
        # With two signs a key is added if it is new, such as an option of a norm.
        signs = "++" if "." in key else ""
        word = text(key, value)
        yield f"{signs}{key}={word}"


def _axis(picked: Sequence[str], key: str, value: Any) -> str:
    """One value, or several that the sweep varies.

    Args:
        picked: overrides that pick options.
        key: of the setting.
        value: from the call.
    """
    if not isinstance(value, SEVERAL):
        return _text(key, value)
    members = [_plain(member) for member in value]
    if is_one_value(key, members, picked):
        return _text(key, value)
    if not value:
        raise ValueError(f"{key} must have at least one value to sweep over, got none")
    if key == "norm":
        return ",".join(_norm_options(value))
    return ",".join(_text(key, one) for one in value)


def _plain(value: Any) -> Any:
    """A number of NumPy or torch as one of Python, any other value as it is."""
    is_scalar = hasattr(value, "item") and not isinstance(value, SEVERAL)
    return value.item() if is_scalar else value


def _text(key: str, value: Any) -> str:
    """A value as Hydra reads it on a command line."""
    if key == "norm" and not (callable(value) or isinstance(value, str)):
        raise ValueError(
            f"norm must be the name of a norm, FILE.py:CLASS, a class, or a function, "
            f"got {value!r}; the network without a norm is norm='none'"
        )
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if key == "norm" and (callable(value) or _is_file(value)):
        return add_option(_offered(value))
    value = _plain(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, SEVERAL):
        texts = [_text(key, one) for one in value]
        return f"[{','.join(texts)}]"
    if callable(value):
        name = getattr(value, "__name__", repr(value))
        raise ValueError(f"only norm may be a class or a function, got {key}={name}")
    text = str(value)
    if PLAIN_TEXT.fullmatch(text):
        return text
    quoted = QuotedString(text, Quote.single)
    return quoted.with_quotes()


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and is_file_reference(value)


def _norm_options(values: Iterable[Any]) -> list[str]:
    """The options of a sweep over norms, which need names of their own."""
    digests: dict[str, str] = {}
    texts = []
    for value in values:
        if not (callable(value) or _is_file(value)):
            texts.append(_text("norm", value))
            continue
        norm = _offered(value)
        check_name(norm, digests)
        texts.append(add_option(norm))
    return texts


def _offered(value: Any) -> OwnNorm:
    """The norm of a file, a class or a function."""
    return offer_file(value) if isinstance(value, str) else share(offer(value))
