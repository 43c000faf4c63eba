"""What a credential may do: the capability language.

A capability maps resources to operations, `{"orders:*": ["publish", "subscribe"]}`. A resource is
an optional qualifier and a name of `:`-separated segments:

    orders          that channel                 orders:*      orders:a, orders:a:b, not orders
    orders:*:paid   exactly one segment there    orders*       a literal: `*` is a whole segment
    *               every ordinary channel       [meta]*       every metachannel
    [filter]orders  filtered views of orders     [*]orders     orders, any qualifier or none
    [*]*            everything

Invariants: a `Capability` is immutable and canonical (resources and operations sorted, `*` alone),
so equal permissions written differently compare equal and print the same. `intersect` permits
exactly what both sides permit, never more: that is what keeps a token inside its key.

Why a resource compiles to (qualifier, fixed segments, open end): the two questions asked of it,
"does it match this name" and "what do two resources share", become comparisons of short tuples, and
the permission check of a publish on a named channel is one dict look-up.

Refuses to do: check channel names (`broker.channels.channel_name`), or know which operation an
action needs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import msgspec

from broker.channels.channel_name import scope
from broker.errors import BadRequest

OPERATIONS = frozenset(
    {
        "subscribe",
        "publish",
        "presence",
        "history",
        "stats",
        "channel-metadata",
        "push-subscribe",
        "push-admin",
        "object-subscribe",
        "object-publish",
        "annotation-subscribe",
        "annotation-publish",
        "message-update-own",
        "message-update-any",
        "message-delete-own",
        "message-delete-any",
        "privileged-headers",
    }
)
ANY = "*"

# Intersecting is resources x resources, on the path of every request that carries a token.
RESOURCES_MAX = 256
TEXT_CHARS_MAX = 65_536


class Resource(NamedTuple):
    """One compiled resource; see the module docstring for the language.

    qualifier: None for ordinary channels, "*" for any or none, else one kind ("meta", ...).
    segments: the segments in order, "*" standing for exactly one; without a trailing "*".
    open_end: whether one or more further segments must follow (a trailing "*").
    """

    qualifier: str | None
    segments: tuple[str, ...]
    open_end: bool

    @property
    def is_literal(self) -> bool:
        return not self.open_end and self.qualifier != ANY and ANY not in self.segments

    def matches(self, qualifier: str | None, segments: list[str]) -> bool:
        """Whether a channel of that kind of qualifier and these segments is covered."""
        if self.qualifier not in (ANY, qualifier):
            return False
        fixed = len(self.segments)
        if len(segments) <= fixed if self.open_end else len(segments) != fixed:
            return False
        # strict=False: an open end covers whatever follows the fixed segments.
        pairs = zip(self.segments, segments, strict=False)
        return all(ours in (ANY, theirs) for ours, theirs in pairs)

    def meet(self, other: "Resource") -> "Resource | None":
        """The resource that covers exactly what both cover, or None if they share nothing."""
        if self.qualifier != other.qualifier and ANY not in (self.qualifier, other.qualifier):
            return None
        short, long = sorted((self, other), key=lambda resource: len(resource.segments))
        same_length = len(short.segments) == len(long.segments)
        if short.open_end != long.open_end if same_length else not short.open_end:
            return None
        pairs = list(zip(short.segments, long.segments, strict=False))
        if any(ours != theirs and ANY not in (ours, theirs) for ours, theirs in pairs):
            return None
        shared = tuple(theirs if ours == ANY else ours for ours, theirs in pairs)
        qualifier = other.qualifier if self.qualifier == ANY else self.qualifier
        return Resource(qualifier, shared + long.segments[len(shared) :], long.open_end)

    def __str__(self) -> str:
        bracket = "" if self.qualifier is None else f"[{self.qualifier}]"
        return bracket + ":".join((*self.segments, *([ANY] if self.open_end else [])))


# Enumeration and stats concern the whole app, so they need a resource that names all of it.
_APP_WIDE = frozenset({"*", "[*]*"})


@dataclass(frozen=True)
class Capability:
    """An immutable set of permissions; make one with `parse` or `intersect`.

    grants: (resource, operations) pairs, sorted, each operations tuple sorted and not empty.
    """

    grants: tuple[tuple[str, tuple[str, ...]], ...]

    def permits(self, operation: str, channel: str) -> bool:
        """Whether `operation` is allowed on `channel`, a name as a client writes it.

        Raises BadRequest 40010 if the name opens a bracket and never closes it.
        """
        qualifier, name = scope(channel)
        if operation in self._literals.get((qualifier, name), ()):
            return True
        if not self._patterns:
            return False
        segments = name.split(":")
        return any(
            operation in operations and resource.matches(qualifier, segments)
            for resource, operations in self._patterns
        )

    def permits_app_wide(self, operation: str) -> bool:
        """Whether an operation on the whole app is allowed: `stats`, enumerating channels."""
        return any(
            resource in _APP_WIDE and (ANY in operations or operation in operations)
            for resource, operations in self.grants
        )

    def permits_somewhere(self, operation: str) -> bool:
        """Whether an operation is allowed on anything at all."""
        return any(ANY in operations or operation in operations for _, operations in self.grants)

    def __bool__(self) -> bool:
        return bool(self.grants)

    def __str__(self) -> str:
        """Canonical JSON: resources and operations sorted, no spaces."""
        return msgspec.json.encode(dict(self.grants)).decode()

    @cached_property
    def _rules(self) -> tuple[tuple[Resource, frozenset[str]], ...]:
        return tuple((_compile(text), frozenset(operations)) for text, operations in self.grants)

    @cached_property
    def _literals(self) -> dict[tuple[str | None, str], frozenset[str]]:
        return {
            (resource.qualifier, ":".join(resource.segments)): _expand(operations)
            for resource, operations in self._rules
            if resource.is_literal
        }

    @cached_property
    def _patterns(self) -> tuple[tuple[Resource, frozenset[str]], ...]:
        return tuple(
            (resource, _expand(operations))
            for resource, operations in self._rules
            if not resource.is_literal
        )


def parse(source: object) -> Capability:
    """Read a capability: a JSON string, or the object it stands for.

    Raises BadRequest 40000 naming the resource: invalid JSON, not an object, an unknown operation,
    "*" beside others, an empty list, a malformed resource, more than RESOURCES_MAX resources.
    An empty object is valid and permits nothing.
    """
    listing = _read_json(source) if isinstance(source, str) else source
    if not isinstance(listing, Mapping):
        raise BadRequest("capability must be a JSON object of resources to lists of operations")
    if len(listing) > RESOURCES_MAX:
        raise BadRequest(f"capability names more than {RESOURCES_MAX} resources")
    grants = {}
    for resource, operations in listing.items():
        if not isinstance(resource, str):
            raise BadRequest("capability resources must be strings")
        _compile(resource)
        grants[resource] = _check_operations(resource, operations)
    return Capability(tuple(sorted(grants.items())))


def intersect(request: Capability, key: Capability) -> Capability:
    """What both permit: a token's capability, from what was requested and what its key has.

    Per pair of resources the part that both cover, with the operations that both list, where "*"
    takes the other side's list. Resources without a counterpart are dropped silently, so the result
    may be empty (the caller answers 40160).
    Raises BadRequest 40000 if the two overlap in more than RESOURCES_MAX resources, as crossing
    wildcards (`a:*` with `*:b`) multiply.
    """
    shared: dict[str, frozenset[str]] = {}
    for resource, operations in _common(request, key):
        text = str(resource)
        shared[text] = shared.get(text, frozenset()) | operations
        if len(shared) > RESOURCES_MAX:
            raise BadRequest(
                f"the capability shares more than {RESOURCES_MAX} resources with its key"
            )
    return Capability(tuple(sorted((text, _canonical(ops)) for text, ops in shared.items())))


def _common(left: Capability, right: Capability) -> Iterator[tuple[Resource, frozenset[str]]]:
    for ours, our_operations in left._rules:
        for theirs, their_operations in right._rules:
            operations = _both(our_operations, their_operations)
            resource = ours.meet(theirs) if operations else None
            if resource:
                yield resource, operations


def _both(left: frozenset[str], right: frozenset[str]) -> frozenset[str]:
    if ANY in left:
        return right
    return left if ANY in right else left & right


def _expand(operations: frozenset[str]) -> frozenset[str]:
    return OPERATIONS if ANY in operations else operations


def _canonical(operations: frozenset[str]) -> tuple[str, ...]:
    return (ANY,) if ANY in operations else tuple(sorted(operations))


def _read_json(text: str) -> object:
    if len(text) > TEXT_CHARS_MAX:
        raise BadRequest(f"capability is longer than {TEXT_CHARS_MAX} characters")
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise BadRequest("capability is not valid JSON") from None


def _check_operations(resource: str, operations: object) -> tuple[str, ...]:
    if not isinstance(operations, list | tuple) or not operations:
        raise BadRequest(f"capability of {resource!r} must be a list of at least one operation")
    for operation in operations:
        if operation != ANY and not (isinstance(operation, str) and operation in OPERATIONS):
            raise BadRequest(f"capability of {resource!r} has an unknown operation {operation!r}")
    unique = frozenset(operations)
    if ANY in unique and len(unique) > 1:
        raise BadRequest(f'capability of {resource!r} mixes "*" with other operations')
    return tuple(sorted(unique))


def _compile(text: str) -> Resource:
    """Raises BadRequest 40000 if `text` is not a resource."""
    qualifier, name = None, text
    if text.startswith("["):
        qualifier, closing, name = text[1:].partition("]")
        # An expression or params here would look narrower than what we would match: refuse.
        if not closing or not qualifier or not set("?=").isdisjoint(qualifier):
            raise BadRequest(f"capability resource {text!r} has a malformed qualifier")
    if not name:
        raise BadRequest(f"capability resource {text!r} names no channel")
    segments = tuple(name.split(":"))
    open_end = segments[-1] == ANY
    return Resource(qualifier, segments[:-1] if open_end else segments, open_end)


EVERYTHING = parse({"[*]*": [ANY]})
"""Every operation on every channel, metachannels and filtered ones too."""

DEFAULT_KEY = parse({ANY: [ANY]})
"""What a key has unless it was given less: every ordinary channel, every app-wide operation."""
