"""NRRD files written by hand, so that tests do not read what our own writer made."""

import bz2
import gzip

import numpy as np

ENCODE = {
    "raw": bytes,
    "gzip": lambda raw: gzip.compress(raw, mtime=0),
    "bzip2": bz2.compress,
    "hex": lambda raw: raw.hex("\n", 7).encode(),
}
TYPES = {"u1": "unsigned char", "i2": "short", "u2": "ushort", "i4": "int", "f4": "float", "f8": "double"}


def encode(data, encoding):
    """Voxels of an array (slowest axis first) as they stand in a file."""
    if encoding in ("ascii", "text"):
        return "  ".join(map(str, data.reshape(-1).tolist())).encode() + b"\n"
    return ENCODE[encoding](data.tobytes())


def header(data, encoding="raw", *, magic="NRRD0005", extra="", newline="\n"):
    """Header of an array, without the empty line."""
    dtype = data.dtype
    endian = "big" if dtype.byteorder == ">" else "little"
    lines = [
        magic,
        f"type: {TYPES[dtype.newbyteorder('=').str[1:]]}",
        f"dimension: {data.ndim}",
        "sizes: " + " ".join(map(str, data.shape[::-1])),
        f"encoding: {encoding}",
        f"endian: {endian}",
        *extra.strip().splitlines(),
    ]
    return newline.join(line.strip() for line in lines).encode() + newline.encode()


def write(path, data, encoding="raw", **options):
    """An attached file."""
    newline = options.get("newline", "\n").encode()
    path.write_bytes(header(data, encoding, **options) + newline + encode(data, encoding))
    return path


def values(shape, dtype="i2"):
    """Numbers that all differ, sizes slowest first."""
    count = int(np.prod(shape))
    numbers = np.arange(count) * 7 % 251 if np.dtype(dtype).itemsize == 1 else np.arange(count) - count // 3
    return numbers.reshape(shape).astype(dtype)
