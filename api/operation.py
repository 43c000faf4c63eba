"""What a route is, said once and where the route is: what it takes and answers, as types.

`/openapi.json` is made from this (`api.openapi`), so a route cannot be documented otherwise than
it reads its parameters (`api.parameters`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from api.parameters import Params

View = TypeVar("View", bound=Callable[..., Any])
_ATTRIBUTE = "operation"


class Operation(NamedTuple):
    """`params`: of the query; `body`: the type of one, if it takes one, and of what other media
    types raw bodies are; `answer`: the type of the reply, or types, None for none; `text_type`: the
    media type of a reply that is plain text whatever is asked for; `others`: statuses besides that
    are no refusals, and the types of theirs; `is_paged`: the reply has Link headers; `is_public`:
    it needs no credentials."""

    id: str
    summary: str
    tag: str
    params: type[Params] | None = None
    body: Any = None
    raw_bodies: tuple[str, ...] = ()
    answer: Any = None
    status: int = 200
    text_type: str | None = None
    others: tuple[tuple[int, Any], ...] = ()
    is_paged: bool = False
    is_public: bool = False


def operation(id_: str, summary: str, tag: str, **described: Any) -> Callable[[View], View]:
    """Describe a view; the fields are those of `Operation`."""

    def describe(view: View) -> View:
        setattr(view, _ATTRIBUTE, Operation(id_, summary, tag, **described))
        return view

    return describe


def operation_of(view: Callable[..., Any]) -> Operation | None:
    return getattr(view, _ATTRIBUTE, None)
