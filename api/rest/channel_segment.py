"""The name of a channel, in a path or elsewhere in a REST request."""

from urllib.parse import unquote

from broker.channels import channel_name
from broker.channels.channel_name import INVALID_CHANNEL_NAME, ChannelName
from broker.channels.message_filter import MessageFilter, message_filter
from broker.errors import BadRequest


def channel_of(segment: str) -> str:
    """The channel that a path segment names, percent-decoded only now, so that %2F stays in it.
    Raises BadRequest 40010."""
    return named_channel(_unquoted(segment))


def viewed_channel(segment: str) -> tuple[ChannelName, MessageFilter | None]:
    """The channel that a path segment names, and which of its messages: those of a filtered channel
    can be read. Raises BadRequest 40010 for a name, 40000 for a filter that is none."""
    parsed = channel_name.parse(_unquoted(segment))
    if parsed.expression is not None:
        return parsed, message_filter(parsed.expression)
    named_channel(parsed.sent)
    return parsed, None


def _unquoted(segment: str) -> str:
    try:
        return unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("the channel name is not UTF-8", INVALID_CHANNEL_NAME) from None


def named_channel(name: str) -> str:
    """The channel of that name. Raises BadRequest 40010, for qualified names too: what they qualify
    is an attachment."""
    parsed = channel_name.parse(name)
    if parsed.qualifier is not None:
        raise BadRequest("a qualified channel cannot be addressed here", INVALID_CHANNEL_NAME)
    return parsed.name
