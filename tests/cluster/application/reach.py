"""Says what its pod reaches: for each argument one line, `open` or why not.

An argument is HOST:PORT, to be connected to by TCP, or a name, to be looked up. `serve PORT` takes connections at that port
instead, until it is ended.
"""

import concurrent.futures
import socket
import sys

SECONDS = 3


def reach(target):
    host, _, port = target.partition(":")
    try:
        if port:
            socket.create_connection((host, int(port)), timeout=SECONDS).close()
        else:
            socket.getaddrinfo(host, None)
    except OSError as error:
        return f"closed: {error}"
    return "open"


def serve(port):
    with socket.create_server(("", port)) as server:
        while True:
            server.accept()[0].close()


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        print("\n".join(pool.map(reach, sys.argv[1:])))
