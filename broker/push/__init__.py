"""Push: devices, what they are subscribed to, and notifications on their way to them."""
