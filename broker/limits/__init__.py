"""How much an app, a key, a connection and a channel may do in a second."""
