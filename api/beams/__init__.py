"""The HTTP API of Pusher Beams, as its SDKs speak it: an adapter on broker.push."""
