"""A server that is several processes on one data directory (`server.workers`; docs/workers.md).

    supervisor   holds the listening sockets and starts the others; starts again who ends
    leader       worker 0: writes the log; otherwise a server as any other
    follower     workers 1 to N-1: servers that submit to the leader and read the log themselves

The supervisor gives each follower two streams to the leader, one for the log (storage.link) and one
for the requests that only the leader can answer (api.workers.forwarding). No process is forked.
"""
