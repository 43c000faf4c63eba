"""JSONP: JSON that a page of another origin loads as a script (reference 1.1).

The function's name was checked (`api.control`). The reply begins with a comment, so that no name
that a page may choose makes the first bytes of another kind of file of it, and holds neither of the
two line ends that JSON allows in a string and old scripts do not.
"""

_LINE_ENDS = {"\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


def call(callback: str, json: bytes) -> bytes:
    for raw, escaped in _LINE_ENDS.items():
        json = json.replace(raw, escaped)
    return b"/**/%b(%b);" % (callback.encode(), json)
