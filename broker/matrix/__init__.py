"""What an app allows of Matrix pushers; these and their notifications are those of broker.push."""
