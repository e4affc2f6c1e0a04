"""The passwords that leaks have shown to be most used, which nobody may choose here.

The list lies in `data/`, with where it comes from beside it. A password also counts as one of them
when it differs in capitals, or in digits and signs that were put around it.
"""

import lzma
import re
import unicodedata
from functools import cache
from importlib import resources

_AROUND = re.compile(r"^[\W\d_]+|[\W\d_]+$")


def is_common(password: str) -> bool:
    """Whether it is one of the most used passwords, but for capitals and what stands around it."""
    known = common_passwords()
    folded = unicodedata.normalize("NFKC", password).casefold()
    return folded in known or _AROUND.sub("", folded) in known


@cache
def common_passwords() -> frozenset[str]:
    """The list, in small letters; read once, in milliseconds, when a password is chosen."""
    packed = resources.files("paperround.readers").joinpath("data/common_passwords.txt.xz")
    return frozenset(lzma.decompress(packed.read_bytes()).decode("utf-8").splitlines())
