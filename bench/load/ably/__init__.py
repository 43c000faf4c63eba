"""Any endpoint that speaks Ably's protocol, over WebSockets and over REST: Tidelog, Ably's own
cloud, a compatible server."""
