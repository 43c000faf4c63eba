"""What the log knows of channels: which exist and are active, who is present, who is attached."""
