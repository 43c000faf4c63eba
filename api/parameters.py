"""Query parameters as typed values. What is wrong is BadRequest 40003, naming the parameter."""

from collections.abc import Mapping

from broker.errors import BadRequest

INVALID_VALUE = 40003
_DIGITS_MAX = 15  # milliseconds up to the year 33658


def integer(args: Mapping[str, str], name: str) -> int | None:
    """A non-negative integer, None when absent or empty."""
    text = args.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise BadRequest(f"{name} must be a non-negative integer", INVALID_VALUE)
    return int(text)


def time_ms(args: Mapping[str, str], name: str, now_ms: int) -> int | None:
    """Milliseconds since the epoch, or "now"."""
    return now_ms if args.get(name) == "now" else integer(args, name)


def choice(args: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    """One of `choices`; the first when absent or empty."""
    text = args.get(name) or choices[0]
    if text not in choices:
        raise BadRequest(f"{name} must be one of: {', '.join(choices)}", INVALID_VALUE)
    return text


def version(header: str | None, args: Mapping[str, str]) -> int:
    """The protocol version a client speaks, by `X-Ably-Version` or `v`; 0 for none or no number."""
    text = header or args.get("v") or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else 0


def flag(args: Mapping[str, str], name: str) -> bool:
    """ "true" in any case is true; SDKs send Python's spelling too."""
    return args.get(name, "").lower() == "true"
