"""Administration of a broker, wherever it runs: one table of operations, and a socket to it.

operations   what can be asked: name -> function of a broker
protocol     requests and replies as lines of JSON, with their bounds
socket_file  where the socket is, whatever the length of its path
audit        writes down who changed what
service      answers on the socket, beside a running broker
session      asks: over the socket if a broker runs, else on the directory itself
"""
