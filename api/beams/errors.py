"""Every error of Beams' API: one table, and the shape that its SDKs read them in.

    {"error": title, "description": text}

Titles and texts are those of Beams' documents, to the letter, because SDKs compare some of them.
Rows marked [own] are not in the documents. `Bad Request` and `Bad request` are both as documented.

Statuses decide what mobile SDKs do next: 404 makes them register the device again, 401 and 403 make
them give up, anything that they do not know makes them try for ever.
"""

from typing import NamedTuple

from quart import Response

from api.application import Headers, json_reply
from broker.errors import BrokerError


class Refusal(NamedTuple):
    status: int
    title: str
    description: str


class BeamsError(BrokerError):
    """A request is refused, as the table says it."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.description, refusal.status * 100, refusal.status)
        self.title = refusal.title


# fmt: off
_R = Refusal
INVALID_CONTENT_TYPE = _R(400, "Invalid content type", "Only application/json is supported.")
NO_INSTANCE_ID = _R(400, "Incomplete Request", "instance-id param is missing from path.")
BAD_INSTANCE_ID = _R(400, "Bad Request", "instance-id given is not valid.")
NO_DEVICE_ID = _R(400, "Incomplete Request", "device-id param is missing from path.")
BAD_DEVICE_ID = _R(400, "Bad Request", "device-id given is not valid.")
BAD_DEVICE_ID_ON_REMOVAL = _R(400, "Incomplete Request", "device-id given is not valid.")
BAD_DEVICE_ID_FOR_USER = _R(400, "Bad Request", "Invalid device id.")
NOT_JSON = _R(400, "Bad request", "Failed to read body as a JSON object.")
INSTANCE_NOT_FOUND = _R(404, "Instance not found", "Could not find the instance.")
DEVICE_NOT_FOUND = _R(404, "Device not found", "Could not find the device.")
INTERNAL = _R(500, "Something went wrong", "Internal server error.")

NO_APNS_TOKEN = _R(400, "Bad request", "Missing APNs token.")
NO_FCM_TOKEN = _R(400, "Bad request", "Missing FCM token.")
NO_WEB_TOKEN = _R(400, "Bad request", "Missing web token.")  # [own]
NO_BUNDLE = _R(400, "Bad request", "Missing App Bundle Identifier.")
BAD_METADATA = _R(400, "Bad request", "metadata given is not valid.")  # [own]
NOT_CONFIGURED = _R(401, "Unauthorized", "Incorrect instance credentials.")
BAD_APNS_TOKEN = _R(401, "Unauthorized", "Incorrect APNs token supplied.")
# The title is not the documented `Unauthorized`: Android gives up on this one only.
BAD_FCM_TOKEN = _R(401, "InvalidToken", "Incorrect FCM token supplied.")
BAD_WEB_TOKEN = _R(401, "Unauthorized", "Incorrect web token supplied.")  # [own]
NO_NEW_TOKEN = _R(400, "Bad request", "Missing token field with the FCM Registration Id.")

BAD_LIMIT = _R(400, "Bad Request", "limit given is not valid.")
BAD_CURSOR = _R(400, "Bad Request", "cursor given is not valid.")
BAD_INTEREST = _R(400, "Invalid interest name", "interest-name given is not valid.")
NO_INTEREST = _R(400, "Incomplete Request", "interest-name param is missing from path.")
TOO_MANY_INTERESTS = _R(
    400,
    "Interest set too large",
    "Too many interests are being set for this device."
    " Only 5000 interests per device are allowed.",
)

NO_TOKEN = _R(401, "Unauthorized", "Authorization header token is missing.")
BAD_TOKEN = _R(401, "Unauthorized", "Authorization header token is malformed.")
NO_EXPIRATION = _R(400, "Bad Request", "Missing expiration (exp) field in JWT")
NO_SUBJECT = _R(400, "Bad Request", "Missing subject (sub) field in JWT")
BAD_SUBJECT = _R(400, "Bad Request", "JWT subject (sub) must be between 1-164 characters long")
NO_ISSUER = _R(400, "Bad Request", "Missing issuer (iss) field in JWT")
BAD_ISSUER = _R(403, "Forbidden", "Invalid JWT issuer.")
USER_IS_SET = _R(400, "Bad Request", "A User Id is already associated with this device.")
TOO_MANY_DEVICES = _R(
    422, "Unprocessable Entity", "User already has reached the maximum of 100 devices."
)

NO_AUTHORIZATION = _R(400, "Incomplete Request", "Authorization header is missing.")
BAD_KEY = _R(401, "Unauthorized", "Incorrect API Key.")
TOO_MANY_REQUESTS = _R(
    429,
    "Rate Limited",
    "Too many requests being made in quick succession (max 100 RPS).",
)
TOO_LARGE_FOR_INTERESTS = _R(400, "Bad request", "Request body size is too large (max 10KiB).")
TOO_LARGE_FOR_USERS = _R(400, "Bad request", "Request body size is too large (max 200KiB).")
BAD_SCHEMA = _R(422, "Unprocessable Entity", "JSON does not our match schema.")  # sic
NO_USER_ID = _R(400, "Incomplete Request", "user-id param is missing from path.")  # [own]
BAD_USER_ID = _R(400, "Bad Request", "user-id given is not valid.")  # [own]
BAD_INSTANCE_ID_OF_REPORT = _R(
    400,
    "Bad request",
    "The instance id given is invalid. It is expected to be in this format:"
    " 426abfc7-41fe-492f-bcf1-27586fa9bd3f .",
)
# fmt: on


def missing_from_body(field: str) -> Refusal:
    return Refusal(400, "Bad request", f"{field} is missing from body.")


def invalid_in_body(field: str) -> Refusal:
    """[own]"""
    return Refusal(400, "Bad request", f"{field} given is not valid.")


def unfit(reason: str) -> Refusal:
    """[own] What Beams would take, for providers and receivers to refuse it later."""
    return Refusal(422, "Unprocessable Entity", reason)


# Titles of what is refused before a route is reached, or by the broker: all [own].
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    413: "Request Entity Too Large",
    429: "Rate Limited",
}


def refuse(error: BrokerError, headers: Headers) -> Response:
    """An error as SDKs of Beams read it (api.application.Refuse)."""
    return json_reply(body_of(error), _shown(error).status, headers)


def body_of(error: BrokerError) -> dict[str, str]:
    shown = _shown(error)
    return {"error": shown.title, "description": shown.description}


def _shown(error: BrokerError) -> Refusal:
    if isinstance(error, BeamsError):
        return Refusal(error.status, error.title, error.message)
    if error.status >= 500:
        return INTERNAL
    return Refusal(error.status, _TITLES.get(error.status, _TITLES[400]), error.message)
