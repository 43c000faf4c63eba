"""The grammar of channel names: what may be attached to, published to, and matched.

    name as sent  =  [ "[" qualifier? ( "?" params )? "]" ] name
    [meta]log     [filter=<expression>]orders     [?rewind=1]orders     orders:eu:paid

A qualifier asks for another view of a channel (its metadata, a filtered subscription), `params` are
attach options written into the name, and what remains is the channel proper, whose `:`-separated
segments capabilities match. The part before the first `:` is the namespace.

Invariants: a `ChannelName` exists only for a name that passed every rule here; `sent` is kept to
the character, because replies must carry the name exactly as the client wrote it. Every refusal is
BadRequest 40010 and names the rule that was broken.

Refuses to do: interpret params or filter expressions (the attachment does), or look up namespaces.
"""

from urllib.parse import parse_qsl

import msgspec

from broker.errors import BadRequest

INVALID_CHANNEL_NAME = 40010

# Ably recommends names under 2048 characters and documents no hard limit; ours is that advice.
NAME_CHARS_MAX = 2047
# A filter expression rides in the qualifier, so the bracket gets room of its own.
QUALIFIER_CHARS_MAX = 4096
PARAMS_MAX = 32

_NEWLINES = frozenset("\n\r")
# Qualifiers a client may write, and whether each carries "=<expression>". `[queue]` is a resource
# of capabilities only: a queue is consumed over other protocols and never attached to.
_TAKES_EXPRESSION = {"": False, "meta": False, "filter": True}


class ChannelName(msgspec.Struct, frozen=True):
    """A checked channel name.

    sent: the name as the client wrote it, for replies.
    name: the channel proper, without the bracket.
    qualifier: "meta", "filter", or None for an ordinary channel.
    expression: what follows "filter=", uninterpreted; None without a filter.
    params: attach options from "?a=b&c=d", percent-decoded.
    """

    sent: str
    name: str
    qualifier: str | None = None
    expression: str | None = None
    params: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """The part before the first ":", or the whole name."""
        return namespace(self.name)


def parse(sent: str) -> ChannelName:
    """Check a name as a client sent it.

    Raises BadRequest 40010 if it breaks a rule of the grammar or a bound.
    """
    _check_characters(sent)
    bracket, name = _unbracket(sent)
    if bracket is None:
        _check_name(name)
        return ChannelName(sent, name)
    head, _, query = bracket.partition("?")
    kind, equals, expression = head.partition("=")
    _check_qualifier(kind, has_expression=bool(equals and expression))
    _check_name(name)
    return ChannelName(sent, name, kind or None, expression or None, _params(query))


def scope(channel: str) -> tuple[str | None, str]:
    """Split a name into (kind of qualifier or None, channel proper) without checking either.

    For capability matching, which must be cheap: params and filter expressions do not count.
    Raises BadRequest 40010 for an unterminated bracket.
    """
    bracket, name = _unbracket(channel)
    if bracket is None:
        return None, name
    kind = bracket.partition("?")[0].partition("=")[0]
    return kind or None, name


def namespace(name: str) -> str:
    """The namespace of a channel proper: the part before the first ":", or the whole name."""
    return name.partition(":")[0]


def _unbracket(sent: str) -> tuple[str | None, str]:
    if not sent.startswith("["):
        return None, sent
    bracket, closing, name = sent[1:].partition("]")
    if not closing:
        raise _invalid('a qualifier opened with "[" is never closed')
    return bracket, name


def _check_characters(sent: str) -> None:
    if not _NEWLINES.isdisjoint(sent):
        raise _invalid("newline characters are not allowed")
    if len(sent) > NAME_CHARS_MAX + QUALIFIER_CHARS_MAX:
        raise _invalid("it is too long")
    try:
        sent.encode()
    except UnicodeEncodeError:  # a lone surrogate, from "\ud800" in JSON or an undecodable URL
        raise _invalid("it is not valid Unicode") from None


def _check_name(name: str) -> None:
    if not name:
        raise _invalid("it is empty")
    if name[0] in ":[":
        raise _invalid(f'it may not start with "{name[0]}"')
    if len(name) > NAME_CHARS_MAX:
        raise _invalid(f"it is longer than {NAME_CHARS_MAX} characters")


def _check_qualifier(kind: str, *, has_expression: bool) -> None:
    if kind not in _TAKES_EXPRESSION:
        raise _invalid(f'unknown qualifier "[{kind[:32]}]"')
    if _TAKES_EXPRESSION[kind] != has_expression:
        raise _invalid(f'qualifier "[{kind}]" is malformed')


def _params(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, max_num_fields=PARAMS_MAX))
    except ValueError:
        raise _invalid(f"it carries more than {PARAMS_MAX} params") from None


def _invalid(reason: str) -> BadRequest:
    return BadRequest(f"invalid channel name: {reason}", INVALID_CHANNEL_NAME)
