"""The ids of keys in the key file: whose each is.

    app:device     the key of a device
    :addresses     that of the digests of addresses

An app's id is not empty and has no colon; a device's may have.
"""

ADDRESSES = ":addresses"


def key_id(app: str, device: str) -> str:
    return f"{app}:{device}"


def device_of(id_: str) -> tuple[str, str]:
    """(app, device) that a key is of."""
    app, _, device = id_.partition(":")
    return app, device
