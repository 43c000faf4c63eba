"""The name of a channel, in a path or elsewhere in a REST request."""

from urllib.parse import unquote

from broker.channels import channel_name
from broker.channels.channel_name import INVALID_CHANNEL_NAME
from broker.errors import BadRequest


def channel_of(segment: str) -> str:
    """The channel that a path segment names, percent-decoded only now, so that %2F stays in it.
    Raises BadRequest 40010."""
    try:
        return named_channel(unquote(segment, errors="strict"))
    except UnicodeDecodeError:
        raise BadRequest("the channel name is not UTF-8", INVALID_CHANNEL_NAME) from None


def named_channel(name: str) -> str:
    """The channel of that name. Raises BadRequest 40010, for qualified names too: what they qualify
    is an attachment."""
    parsed = channel_name.parse(name)
    if parsed.qualifier is not None:
        raise BadRequest("a qualified channel cannot be addressed here", INVALID_CHANNEL_NAME)
    return parsed.name
