"""Pusher Beams: its instances. Devices, interests and notifications are those of broker.push."""
