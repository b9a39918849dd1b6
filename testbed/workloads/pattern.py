"""Content without end in which no block is like another, so that lost, repeated and swapped bytes are all noticed.

Blocks of 4096 bytes: the block's number (8 bytes, big endian), then a fixed text. echo_server.c makes the same bytes.
"""

import struct

BLOCK = 4096
FILLER = bytes((7 * i + 13) % 251 for i in range(BLOCK - 8))


def take(offset, length):
    """`length` bytes of the content, from `offset` on."""
    first, last = offset // BLOCK, (offset + length + BLOCK - 1) // BLOCK
    blocks = b"".join(struct.pack(">Q", number) + FILLER for number in range(first, last))
    skip = offset - first * BLOCK
    return blocks[skip:skip + length]


def first_difference(data, offset):
    """Position in the content of the first byte of `data`, which came from `offset` on, that is wrong; None if none is."""
    expected = take(offset, len(data))
    if data == expected:
        return None
    return offset + next(i for i in range(len(data)) if data[i] != expected[i])
