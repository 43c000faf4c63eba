"""Realtime over the wire: what it costs to publish, to deliver, to be connected, to fall behind."""
