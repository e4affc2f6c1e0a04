"""Compiles the room's inner loops with numba, and keeps the machine code for the next process.

Compiling takes seconds, so what was compiled is kept: beside the source where that can be written,
in Paperround's cache folder where it cannot (an installation owned by someone else), and nowhere
where neither can be; then each process compiles what it uses.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import config

from paperround.settings import get_settings

# numba counts the references to an array anew in every function that gets it, with a locked
# instruction before and after, even where the function's code becomes a part of its caller's. That
# took more than half of the decoder's time; a function without allocations does not need it.
_COUNTS_NO_REFERENCES: dict[str, Any] = {"_nrt": False}


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function for use in compiled ones, whose code it becomes a part of.

    It may use arrays and make none.
    """
    return numba.njit(nogil=True, error_model="numpy", forceinline=True, **_COUNTS_NO_REFERENCES)(
        function
    )


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as machine code, made on its first call; it releases the interpreter's lock."""
    folder = cache_folder()
    if folder is None:
        return numba.njit(nogil=True, error_model="numpy")(function)
    # numba takes the folder from its own configuration at this very moment; what other packages
    # compile is no business of ours.
    before = vars(config)["CACHE_DIR"]
    vars(config)["CACHE_DIR"] = str(folder)
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    finally:
        vars(config)["CACHE_DIR"] = before


@cache
def cache_folder() -> Path | None:
    """Where this version's machine code is kept; None where no folder can be written."""
    room = Path(__file__).parent
    # numba looks at the time of a function's own file only. What was inlined from another file
    # would go stale, so all that hold compiled functions are in the name.
    digest = hashlib.sha256()
    for path in sorted(room.glob("*.py")):
        source = path.read_bytes()
        if b"import compiled" in source or b"import intrinsic" in source or path == Path(__file__):
            digest.update(source)
    # Code with numba's bounds checks (NUMBA_BOUNDSCHECK=1, for finding faults) is other code.
    checks = "-checked" if vars(config)["BOUNDSCHECK"] else ""
    name = f"numba-{digest.hexdigest()[:16]}{checks}"
    for folder in (room / "__pycache__" / name, get_settings().cache_dir / "numba" / name):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None
