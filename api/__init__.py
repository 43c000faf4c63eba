"""Protocols: the listener, HTTP, WebSockets, the command line. Knows broker, never storage."""

from api.siblings import ShadowedPackage as ShadowedPackage
