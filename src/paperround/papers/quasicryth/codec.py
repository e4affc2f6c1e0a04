"""The codec as one uses it: in one call, in pieces, over files, with a dictionary.

The names are those of `zstandard`, so that one can be put in the place of the other. A frame is cut
into blocks of `block_size` bytes wherever the pieces end that it was given in, so equal content
gives equal bytes; memory grows with the block size and not with the stream.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, cast

from paperround.errors import UsageError
from paperround.papers.quasicryth import container, qm56
from paperround.papers.quasicryth.blocks import Method, Mode, compress_block, method_of
from paperround.papers.quasicryth.container import BlockHeader, EndMark, FrameHeader
from paperround.papers.quasicryth.dictionary import Dictionary
from paperround.papers.quasicryth.errors import DamagedError
from paperround.papers.quasicryth.tilings import AnyTiling

# A mode's name is checked when it is used, so that it may come from anywhere.
AnyMode = Mode | str | Method | Sequence[AnyTiling]
Buffer = bytes | bytearray | memoryview
Progress = Callable[[int], None]

# Larger blocks find more, and take more memory: see the benchmark.
BLOCK_SIZE = 16 << 20
# What a decompressor accepts unless it is told otherwise, as zstd's 128 MiB for its window.
MAX_BLOCK_SIZE = 64 << 20
_PIECE = 1 << 18


def compress(
    data: Buffer,
    mode: AnyMode = "multi",
    *,
    dictionary: Dictionary | None = None,
    block_size: int = BLOCK_SIZE,
) -> bytes:
    """The data compressed to one frame.

    `mode` is "multi" (the paper's 36 tilings), "fib" (its 12 golden ones), "period5", "none",
    "all" (no tiling, phrases everywhere), a list of tilings, or a `Method`.
    """
    return Compressor(mode, dictionary=dictionary, block_size=block_size).compress(data)


def decompress(
    data: Buffer,
    *,
    dictionary: Dictionary | None = None,
    max_output_size: int | None = None,
    max_block_size: int = MAX_BLOCK_SIZE,
) -> bytes:
    """The content of one frame or several in a row, or of a file of the official program (QM56).

    Raises DamagedError for anything else, and where the content would be larger than
    `max_output_size` or its blocks larger than `max_block_size`.
    """
    return Decompressor(
        dictionary=dictionary, max_output_size=max_output_size, max_block_size=max_block_size
    ).decompress(data)


class Compressor:
    """Compresses with one choice of mode, dictionary and block size, any number of times."""

    def __init__(
        self,
        mode: AnyMode = "multi",
        *,
        dictionary: Dictionary | None = None,
        block_size: int = BLOCK_SIZE,
    ) -> None:
        self.method = method_of(mode)
        self.dictionary = dictionary
        if not 1 << container.MIN_BLOCK_LOG <= block_size <= 1 << container.MAX_BLOCK_LOG:
            raise UsageError(f"block_size is from 1 KiB to 1 GiB, not {block_size} bytes")
        self.block_size = block_size

    def compress(self, data: Buffer) -> bytes:
        """The data as one frame."""
        stream = self.compressobj()
        return stream.compress(data) + stream.flush()

    def compressobj(self) -> "CompressionStream":
        """An object that compresses piece by piece, as `zlib.compressobj` does."""
        return CompressionStream(self)

    def copy_stream(
        self, source: IO[bytes], target: IO[bytes], on_progress: Progress | None = None
    ) -> tuple[int, int]:
        """Compresses all of `source` into `target`: how many bytes were read and written.

        `on_progress` is told how many bytes of the source are compressed, many times a block.
        """
        stream, read, written = CompressionStream(self, on_progress), 0, 0
        while piece := source.read(_PIECE):
            written += _write(target, stream.compress(piece))
            read += len(piece)
        written += _write(target, stream.flush())
        return read, written

    def stream_writer(self, target: IO[bytes], closefd: bool = True) -> "CodecWriter":
        """A file to write to, whose content arrives compressed in `target`."""
        stream = self.compressobj()
        return CodecWriter(target, stream.compress, stream.flush, closefd)

    def stream_reader(self, source: IO[bytes] | Buffer) -> io.BufferedReader:
        """A file to read from, which gives the content of `source` compressed."""
        stream = self.compressobj()
        return io.BufferedReader(_Reader(source, stream.compress, stream.flush))


class CompressionStream:
    """One frame in the making."""

    def __init__(self, compressor: Compressor, on_progress: Progress | None = None) -> None:
        self._compressor = compressor
        self._on_progress = on_progress or _unheard
        self._waiting = bytearray()
        self._hash = container.content_hash()
        self._n_bytes = 0
        self._is_begun = self._is_finished = False

    def compress(self, data: Buffer) -> bytes:
        """What the next piece completes: often nothing, since a block must be full first."""
        if self._is_finished:
            raise UsageError("the stream is finished; begin another with compressobj()")
        out = [self._begin()]
        piece, size = memoryview(data).cast("B"), self._compressor.block_size
        while len(self._waiting) + len(piece) >= size:
            missing = size - len(self._waiting)
            self._waiting += piece[:missing]
            piece = piece[missing:]
            out.append(self._block())
        self._waiting += piece
        return b"".join(out)

    def flush(self) -> bytes:
        """The rest of the frame, which is finished with it."""
        if self._is_finished:
            return b""
        out = [self._begin()]
        if self._waiting:
            out.append(self._block())
        self._is_finished = True
        return b"".join([*out, container.end_mark(self._n_bytes, self._hash.digest())])

    def _begin(self) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        dictionary = self._compressor.dictionary
        block_log = (self._compressor.block_size - 1).bit_length()
        return container.frame_header(block_log, dictionary.id if dictionary else b"")

    def _block(self) -> bytes:
        data = bytes(self._waiting)
        self._waiting.clear()
        self._hash.update(data)
        before = self._n_bytes
        self._n_bytes += len(data)
        dictionary = self._compressor.dictionary
        block = compress_block(
            data,
            self._compressor.method,
            dictionary.books if dictionary else None,
            lambda share: self._on_progress(before + int(share * len(data))),
        )
        coded = container.coded_block(block, data)
        self._on_progress(self._n_bytes)
        return coded


class Decompressor:
    """Decompresses with one dictionary and one set of limits, any number of times."""

    def __init__(
        self,
        *,
        dictionary: Dictionary | None = None,
        max_output_size: int | None = None,
        max_block_size: int = MAX_BLOCK_SIZE,
    ) -> None:
        self.dictionary = dictionary
        self.max_output_size = max_output_size
        self.max_block_size = max_block_size

    def decompress(self, data: Buffer) -> bytes:
        """The content of all frames in `data`; raises DamagedError."""
        raw = memoryview(data).cast("B")
        if bytes(raw[:4]) == qm56.MAGIC:
            return qm56.read_qm56(bytes(raw), self.max_output_size or self.max_block_size)
        out: list[bytes] = []
        left: Buffer = raw
        n_bytes = 0
        while True:
            frame = self.decompressobj(n_bytes)
            out.append(frame.decompress(left))
            frame.finish()
            n_bytes += len(out[-1])
            left = frame.unused_data
            if not left:
                return b"".join(out)

    def decompressobj(self, n_before: int = 0) -> "DecompressionStream":
        """An object that decompresses one frame piece by piece, as `zlib.decompressobj` does."""
        return DecompressionStream(self, n_before)

    def copy_stream(
        self, source: IO[bytes], target: IO[bytes], on_progress: Progress | None = None
    ) -> tuple[int, int]:
        """Decompresses all of `source` into `target`: how many bytes were read and written.

        `on_progress` is told how many bytes of the source are decompressed, many times a block.
        """
        frames, read, written = _Frames(self, on_progress), 0, 0
        while piece := source.read(_PIECE):
            written += _write(target, frames.decompress(piece))
            read += len(piece)
        frames.finish()
        return read, written

    def stream_writer(self, target: IO[bytes], closefd: bool = True) -> "CodecWriter":
        """A file to write compressed bytes to, whose content arrives in `target`."""
        frames = _Frames(self)
        return CodecWriter(target, frames.decompress, frames.finish, closefd)

    def stream_reader(self, source: IO[bytes] | Buffer) -> io.BufferedReader:
        """A file to read from, which gives the content of the compressed `source`."""
        frames = _Frames(self)
        return io.BufferedReader(_Reader(source, frames.decompress, frames.finish))


class DecompressionStream:
    """One frame being read. `eof` says that it is complete, `unused_data` what came behind it.

    `n_consumed` says how many compressed bytes it is done with.
    """

    def __init__(
        self,
        decompressor: Decompressor,
        n_before: int = 0,
        on_progress: Progress | None = None,
    ) -> None:
        self._decompressor = decompressor
        self._on_progress = on_progress or _unheard
        self._waiting = bytearray()
        # Compressed bytes that are done with.
        self.n_consumed = 0
        self._hash = container.content_hash()
        self._n_bytes, self._n_before = 0, n_before
        self._frame: FrameHeader | None = None
        self._block: BlockHeader | None = None
        self.eof = False

    @property
    def unused_data(self) -> bytes:
        """What was given beyond the end of the frame."""
        return bytes(self._waiting) if self.eof else b""

    def decompress(self, data: Buffer) -> bytes:
        """The content that the next piece completes; raises DamagedError."""
        if self.eof:
            raise UsageError("the frame is complete; begin another with decompressobj()")
        self._waiting += memoryview(data).cast("B")
        out = []
        while not self.eof and (piece := self._step()) is not None:
            out.append(piece)
        return b"".join(out)

    def finish(self) -> None:
        """Raises DamagedError where the frame is not complete."""
        if not self.eof:
            raise DamagedError("the compressed data ends before its frame does")

    def _step(self) -> bytes | None:
        """What the next part of the frame gives, None where it is not all there yet."""
        if self._frame is None:
            self._frame = container.read_frame_header(self._waiting)
            if self._frame is None:
                return None
            self._consume(self._frame.size)
            self._refuse(self._frame)
        if self._block is None:
            found = container.read_block_header(self._waiting, self._frame)
            if found is None:
                return None
            self._consume(found.size)
            if isinstance(found, EndMark):
                return self._end(found)
            limit = self._decompressor.max_output_size
            if limit is not None and self._n_before + self._n_bytes + found.n_bytes > limit:
                raise DamagedError(f"the content is larger than the limit of {limit} bytes")
            self._block = found
        size = sum(self._block.sizes)
        if len(self._waiting) < size:
            return None
        body = bytes(self._waiting[:size])
        dictionary = self._decompressor.dictionary if self._frame.dictionary_id else None
        data = container.read_block(
            self._block,
            body,
            dictionary.books if dictionary else None,
            lambda share: self._on_progress(self.n_consumed + int(share * size)),
        )
        self._consume(size)
        self._block = None
        self._hash.update(data)
        self._n_bytes += len(data)
        return data

    def _consume(self, n: int) -> None:
        del self._waiting[:n]
        self.n_consumed += n
        self._on_progress(self.n_consumed)

    def _refuse(self, frame: FrameHeader) -> None:
        limit = self._decompressor.max_block_size
        if 1 << frame.block_log > limit:
            raise DamagedError(
                f"the frame has blocks of up to {1 << frame.block_log} bytes and the limit is "
                f"{limit}; raise max_block_size to read it"
            )
        dictionary = self._decompressor.dictionary
        if frame.dictionary_id and (dictionary is None or dictionary.id != frame.dictionary_id):
            raise DamagedError(
                f"the frame needs the dictionary {frame.dictionary_id.hex()}, and "
                + (f"the one given is {dictionary.id.hex()}" if dictionary else "none was given")
            )

    def _end(self, end: EndMark) -> bytes:
        if end.n_bytes != self._n_bytes or end.digest != self._hash.digest():
            raise DamagedError("the frame's content is not what its end mark says")
        self.eof = True
        return b""


class CodecWriter(io.RawIOBase):
    """A file that compresses (or decompresses) what is written to it into another.

    Closing it finishes the frame and, with `closefd`, closes the other file.
    """

    def __init__(
        self,
        target: IO[bytes],
        take: Callable[[Buffer], bytes],
        finish: Callable[[], bytes],
        closefd: bool,
    ) -> None:
        super().__init__()
        self._target, self._closefd = target, closefd
        self._take, self._finish = take, finish

    def writable(self) -> bool:
        """True: it is there to be written to."""
        return True

    def write(self, data: Any) -> int:
        """Takes all of `data`, and says how many bytes that were."""
        piece = memoryview(data).cast("B")
        _write(self._target, self._take(piece))
        return len(piece)

    def close(self) -> None:
        """Finishes the frame; raises DamagedError where a frame being read is not complete."""
        if self.closed:
            return
        try:
            _write(self._target, self._finish())
        finally:
            super().close()
            if self._closefd:
                self._target.close()


class _Frames:
    """Frames in a row, decompressed as if they were one stream."""

    def __init__(self, decompressor: Decompressor, on_progress: Progress | None = None) -> None:
        self._decompressor = decompressor
        self._on_progress = on_progress or _unheard
        self._frame: DecompressionStream | None = None
        self._n_bytes = self._n_consumed = 0
        self._has_frames = False

    def decompress(self, data: Buffer) -> bytes:
        """The content that the next piece completes."""
        out = []
        while len(data):
            if self._frame is None:
                self._frame = DecompressionStream(
                    self._decompressor, self._n_bytes, self._on_consumed
                )
            out.append(self._frame.decompress(data))
            self._n_bytes += len(out[-1])
            data = self._frame.unused_data
            if self._frame.eof:
                self._n_consumed += self._frame.n_consumed
                self._frame, self._has_frames = None, True
        return b"".join(out)

    def _on_consumed(self, n: int) -> None:
        self._on_progress(self._n_consumed + n)

    def finish(self) -> bytes:
        """Nothing; raises DamagedError where the last frame is not complete."""
        if self._frame is not None:
            self._frame.finish()
        if not self._has_frames:
            raise DamagedError("the compressed data is empty")
        return b""


class _Reader(io.RawIOBase):
    """What a stream makes of a source, as a file to read from."""

    def __init__(
        self,
        source: IO[bytes] | Buffer,
        take: Callable[[Buffer], bytes],
        finish: Callable[[], bytes],
    ) -> None:
        super().__init__()
        if isinstance(source, bytes | bytearray | memoryview):
            source = io.BytesIO(source)
        self._source, self._take, self._finish = source, take, finish
        self._ready = memoryview(b"")
        self._is_finished = False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._ready and not self._is_finished:
            piece = self._source.read(_PIECE)
            self._is_finished = not piece
            made = self._take(piece) if piece else self._finish()
            self._ready = memoryview(made)
        room = memoryview(target).cast("B")
        n = min(len(room), len(self._ready))
        room[:n] = self._ready[:n]
        self._ready = self._ready[n:]
        return n

    def close(self) -> None:
        if not self.closed:
            self._source.close()
            super().close()


def open(
    file: str | PathLike[str] | IO[bytes],
    mode: Literal["r", "rb", "w", "wb"] = "rb",
    *,
    codec: Compressor | Decompressor | None = None,
) -> BinaryIO:
    """A compressed file as a file of its content, to read ("rb") or to write ("wb").

    `codec` is the Compressor or Decompressor to use instead of one with the defaults.
    """
    if mode not in ("r", "rb", "w", "wb"):
        raise UsageError(f"a compressed file opens as 'rb' or 'wb', not '{mode}'")
    writes = mode.startswith("w")
    if codec is None:
        codec = Compressor() if writes else Decompressor()
    if isinstance(codec, Compressor) != writes:
        raise UsageError("a Compressor writes, a Decompressor reads; the codec does not fit")
    raw = Path(file).open(mode[0] + "b") if isinstance(file, str | PathLike) else file  # noqa: SIM115
    raw = cast(IO[bytes], raw)
    if isinstance(codec, Compressor):
        return cast(BinaryIO, io.BufferedWriter(codec.stream_writer(raw)))
    return cast(BinaryIO, codec.stream_reader(raw))


def train_dictionary(samples: Iterable[Buffer]) -> Dictionary:
    """A dictionary of the words and phrases of sample texts; see `Dictionary`."""
    return Dictionary.train(samples)


def _unheard(n: int) -> None:
    pass


def _write(target: IO[bytes], data: bytes) -> int:
    if data:
        target.write(data)
    return len(data)
