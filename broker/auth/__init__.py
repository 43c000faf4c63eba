"""Who is calling, and what they may do: keys, tokens, capabilities, revocation."""
