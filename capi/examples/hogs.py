#!/usr/bin/env python3
"""A probe in Python over libkfilter: who matches the filter of a file?

    ./hogs.py /usr/local/share/kfilter/filters/memory_hog.kf max=10%

Exit status: 0 nobody, 2 somebody, 3 it could not be found out. KFILTER_LIBRARY names another
library than the installed one.
"""
import ctypes
import os
import sys

library = ctypes.CDLL(os.environ.get("KFILTER_LIBRARY", "libkfilter.so"))
library.kfilter_error.restype = ctypes.c_char_p
library.kfilter_field_name.restype = ctypes.c_char_p
library.kfilter_next.restype = ctypes.c_void_p
library.kfilter_fields.restype = ctypes.c_size_t
library.kfilter_text.restype = ctypes.c_long


class Error(Exception):
    """What the library says went wrong."""


class Filter:
    """A filter of a file, loaded."""

    def __init__(self, path, params=()):
        self.handle = ctypes.c_void_p()
        given = [text.encode() for text in params]
        array = (ctypes.c_char_p * (len(given) + 1))(*given, None)
        self.check(
            library.kfilter_load(os.fsencode(path), None, array, 0, ctypes.byref(self.handle))
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        library.kfilter_close(self.handle)

    @staticmethod
    def check(status):
        if status != 0:
            raise Error(library.kfilter_error().decode())

    def sweep(self):
        """The records of one sweep, a dict each; what is not known is None."""
        self.check(library.kfilter_sweep(self.handle))
        count = library.kfilter_fields(self.handle)
        while library.kfilter_next(self.handle, None):
            record = {}
            for place in range(count):
                field = ctypes.c_size_t(place)
                name = library.kfilter_field_name(self.handle, field).decode()
                record[name] = self.value(field)
            yield record

    def value(self, field):
        text = ctypes.create_string_buffer(256)
        if library.kfilter_text(self.handle, field, text, ctypes.c_size_t(256)) >= 0:
            return text.value.decode(errors="backslashreplace")
        number = ctypes.c_int64()
        known = library.kfilter_integer(self.handle, field, ctypes.byref(number))
        return number.value if known else None


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 3
    try:
        with Filter(sys.argv[1], sys.argv[2:]) as hogs:
            records = list(hogs.sweep())
    except Error as error:
        print(error, file=sys.stderr)
        return 3
    for record in records:
        print(" ".join(f"{name}={value}" for name, value in record.items()))
    return 2 if records else 0


sys.exit(main())
