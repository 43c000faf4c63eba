"""Realtime connections: the protocol over WebSockets, on the stream that the listener hands over.

`framing`, `handshake`, `websocket` and `outbox` are the transport and know bytes only; the rest
speaks the protocol and knows no socket.
"""
