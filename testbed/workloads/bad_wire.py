#!/usr/bin/env python3
"""A TCP proxy that spoils what it passes on, from clients to the server only.

    bad_wire.py MODE PORT HOST HOSTPORT

    flip     one bit, and again after every two megabytes
    swap     two neighbouring blocks of a kilobyte change places, as often
    cut      the connection is closed after that much
    drop     a kilobyte is missing, as often

The first megabyte of a connection passes as it is: so it is bulk data that is hit. Its own connections carry the mark 1, for
firewall rules. Prints a line for each damage, "listening" at first. Ends when its standard input does.
"""

import os
import socket
import sys
import threading

BEGIN, EVERY, BLOCK = 1 << 20, 2 << 20, 1024
SO_MARK = 36


def spoil(mode, data):
    if mode == "flip":
        data[len(data) // 2] ^= 0x10
    elif mode == "swap":
        data[:2 * BLOCK] = data[BLOCK:2 * BLOCK] + data[:BLOCK]
    elif mode == "drop":
        del data[:BLOCK]


def pump(source, sink, mode):
    passed, due = 0, BEGIN
    try:
        while data := bytearray(source.recv(1 << 16)):
            passed += len(data)
            if mode and passed > due and len(data) >= 4 * BLOCK:
                print(mode, passed, flush=True)
                due = passed + EVERY
                if mode == "cut":
                    break
                spoil(mode, data)
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    mode, port, host, host_port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    listener = socket.create_server(("0.0.0.0", port))
    print("listening", flush=True)

    def serve():
        while True:
            client, _ = listener.accept()
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, SO_MARK, 1)
            try:
                server.connect((host, host_port))
            except OSError:
                client.close()
                continue
            threading.Thread(target=pump, args=(client, server, mode), daemon=True).start()
            threading.Thread(target=pump, args=(server, client, None), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
