"""Names that the users of Beams choose: interests, and users."""

import re
from typing import TypeGuard

CHARS_MAX = 164
_INTEREST = re.compile(rf"[A-Za-z0-9_\-=@,.;]{{1,{CHARS_MAX}}}")


def is_interest(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and _INTEREST.fullmatch(value) is not None


def is_user(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= CHARS_MAX
