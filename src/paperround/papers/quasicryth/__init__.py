"""Quasicryth: a lossless text compressor whose phrases are found on Fibonacci tilings.

Words and phrases of 2, 3, 5, ..., 144 words get codebooks; a tiling of the word positions by the
golden ratio says where a long phrase may be looked up; what is found is coded with adaptive
models. Use it to study structured dictionaries, tilings and parses, bit by bit, or where text is
written once and read often. For the smallest file take PPMd or xz, which beat it on ordinary text;
it is not for binary data.

    from paperround.papers import quasicryth

    text = b"the cat sat on the mat. " * 500
    packed = quasicryth.compress(text)
    assert quasicryth.decompress(packed) == text

On a command line: `paperround quasicryth FILE`, and back: `paperround quasicryth -d FILE.qcy`.

Roberto Tacconelli: Aperiodic Structures Never Collapse: Fibonacci Hierarchies for Lossless
Compression. arXiv:2603.14999, 2026.
"""

import lazy_loader

# Imported when somebody asks: the web process lists every room, and has no use for torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
