"""Messages: how they are read, judged, published, kept and shown."""
