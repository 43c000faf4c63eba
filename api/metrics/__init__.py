"""What operators watch: numbers about the whole server, in the form that Prometheus reads.

catalogue    every metric there is: name, kind, labels, help, and where it is read
loop_lag     how late the event loop is
exposition   the catalogue as text
service      GET /metrics, on an address of its own
served       where to read them, for the admin socket
"""
