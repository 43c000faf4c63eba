"""What can be wrong with a configuration: one error, for whoever wrote it."""


class ConfigError(Exception):
    """The configuration cannot be used; the message says where, which key, and what would do."""
