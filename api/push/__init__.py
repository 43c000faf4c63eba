"""Push transports: notifications leave for APNs, FCM, Web Push services and webhooks.

The only room from which requests go out into the world. `transports.build_transports` is its door;
each transport implements `broker.push.transport.Transport`, whose results the outbox acts on.
"""
