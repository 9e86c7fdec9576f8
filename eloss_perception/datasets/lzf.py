# SPDX-FileCopyrightText: 2026 The eloss_perception authors
# SPDX-License-Identifier: Apache-2.0
"""LZF (Lehmann's liblzf), the compression of PCD files."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from eloss_perception.detection.compiled import njit
from eloss_perception.errors import CloudError

# The longest run that LZF can write with three bytes.
_MAX_LZF_RUN = 264


def decompress_points(body: bytes, sizes: Sequence[int], num_points: int) -> bytes:
    """Returns the points of a binary_compressed PCD, which holds them field by field.

    Args:
        body: What follows the header: two sizes, then the compressed fields.
        sizes: Bytes that a point has of each field.
        num_points: How many points the header promises.

    Raises:
        CloudError: The data is cut off, damaged or of another size.
    """
    if len(body) < 8:
        raise CloudError("the data is cut off")
    packed_size, size = struct.unpack_from("<II", body)
    step = sum(sizes)
    if size != num_points * step:
        raise CloudError(f"{size} bytes once decompressed, {num_points} points need more or less")
    if packed_size > len(body) - 8:
        raise CloudError(f"{len(body) - 8} bytes of data, the header says {packed_size}")
    if size > _MAX_LZF_RUN * packed_size:
        raise CloudError(f"{packed_size} bytes cannot decompress to {size}")
    packed = np.frombuffer(body, np.uint8, packed_size, 8)
    unpacked = np.empty(size, np.uint8)
    if _unpack_lzf(packed, unpacked) != size:
        raise CloudError("the compressed data is damaged")
    points = np.empty((num_points, step), np.uint8)
    offset = 0
    for size_of_field in sizes:
        end = offset + size_of_field
        part = unpacked[num_points * offset : num_points * end]
        points[:, offset:end] = part.reshape(num_points, size_of_field)
        offset = end
    return points.tobytes()


@njit
def _unpack_lzf(packed, unpacked):  # type: ignore[no-untyped-def]
    """Decompresses literal runs, and copies of what was written before.

    Args:
        packed: (P,) uint8.
        unpacked: (U,) uint8, written.

    Returns:
        How many bytes were written; -1 where the data would read or write beyond its end.
    """
    at, written = 0, 0
    while at < len(packed):
        control = np.int64(packed[at])
        at += 1
        if control < 32:
            length = control + 1
            if at + length > len(packed) or written + length > len(unpacked):
                return -1
            for _ in range(length):
                unpacked[written] = packed[at]
                written += 1
                at += 1
            continue
        length = control >> 5
        if length == 7:
            if at >= len(packed):
                return -1
            length += np.int64(packed[at])
            at += 1
        length += 2
        if at >= len(packed):
            return -1
        source = written - ((control & 31) << 8) - np.int64(packed[at]) - 1
        at += 1
        if source < 0 or written + length > len(unpacked):
            return -1
        for _ in range(length):
            unpacked[written] = unpacked[source]
            written += 1
            source += 1
    return written
