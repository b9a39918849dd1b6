"""Sockets of this process in the network of a machine of the testbed, for tests that do odd things with them.

A socket stays in the namespace in which it was made, wherever its thread goes afterwards.
"""

import ctypes
import os
import socket
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(netns):
    """This thread is in the network namespace `netns` (a path) meanwhile."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(netns, os.O_RDONLY)
    try:
        _enter(other)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)
        os.close(other)


def _enter(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def connect(machine, host, port, timeout=20, receive_buffer=0):
    with inside(f"/run/netns/{machine.netns}"):
        sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.settimeout(timeout)
    sock.connect((str(host), port))
    return sock
