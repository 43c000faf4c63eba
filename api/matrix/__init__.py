"""The Matrix pusher API, with gematik's channels and encryption: an application beside Ably's.

errors         every refusal: its status, its errcode, when; and how it is said
caller         who asks: a user, by a token; and how often
paths          the paths of each operation, and pushkeys in them
reading        bodies, read or refused
registrations  pushers as devices of the push model
routes         the operations
application    all of it, as one application
"""
