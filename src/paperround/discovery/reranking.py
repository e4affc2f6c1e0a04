"""The first of an answer ranked again, by a local model in a process of its own.

The model reads query and text together, which costs a thousand times what comparing vectors does:
it is asked only where the operator named one (`[reranker]` of the configuration) and whoever
searches wants it. Its process is started by the first such search, ends by itself when nobody asks
for ten minutes, and is ended when it takes too long.
"""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paperround.errors import PaperroundError
from paperround.log import get_logger
from paperround.settings import RerankerModel

_IDLE_S = 600.0
_STOPS_WITHIN_S = 5.0
# Answers that are kept, so that the next page of an answer costs nothing.
_KEPT = 64


class RerankError(PaperroundError):
    """Nothing could be ranked again; the message says why and what to do."""


class Reranker:
    """A model that ranks again; make one per process and share it between threads.

    One question is answered at a time. `close` ends the model's process; so does the end of this.
    """

    def __init__(self, model: RerankerModel, cache: Path | None = None) -> None:
        """Costs nothing; the model is loaded by the first question."""
        self._model = model
        self._environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        if cache is not None:
            # Where a GGUF's weights are kept as safetensors.
            self._environment["PAPERROUND_CACHE"] = str(cache)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        self._kept: OrderedDict[tuple[str, ...], list[float]] = OrderedDict()

    @property
    def name(self) -> str:
        """What the model is called: its folder's name."""
        return self._model.folder.name

    @property
    def first(self) -> int:
        """How many papers it ranks again."""
        return self._model.first

    @property
    def weight(self) -> float:
        """Its part in the order; the rest is what search itself says."""
        return self._model.weight

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        """One score per text; the greater, the better it answers. Raises RerankError.

        It waits for the model to be loaded (once) and for those who asked before, though not longer
        than `timeout_s` in all.
        """
        key = (query, *texts)
        if not self._lock.acquire(timeout=self._model.timeout_s):
            raise RerankError(f"{self.name} is busy with other searches; try again")
        try:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            answer = self._asked({"query": query, "texts": list(texts)})
            scores = answer.get("scores")
            if not isinstance(scores, list) or len(scores) != len(texts):
                raise RerankError(f"{self.name} gave no scores: {answer.get('error', 'no reason')}")
            self._kept[key] = [float(score) for score in scores]
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]
        finally:
            self._lock.release()

    def close(self) -> None:
        """Ends the model's process, if there is one."""
        with self._lock:
            self._end()

    def _asked(self, question: dict[str, Any]) -> dict[str, Any]:
        deadline = time.monotonic() + self._model.timeout_s
        if self._process is None or self._process.poll() is not None:
            self._start(deadline)
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            self._end()
            raise RerankError(f"{self.name} has ended; try again") from error
        return self._read(deadline)

    def _start(self, deadline: float) -> None:
        self._end()
        folder = self._model.folder
        # Seen here at once, where a process would need seconds to say the same.
        if not (folder / "config.json").is_file() and not any(folder.glob("*.gguf")):
            raise RerankError(
                f"no model ranks again: [reranker] folder = '{folder}' holds no model"
                " as transformers saves one, and no GGUF"
            )
        # -P: a module beside the folder that a server was started in is not taken for a library.
        command = [sys.executable, "-P", "-m", "paperround.kit.reranking"]
        command += [str(self._model.folder), self._model.by, str(self._model.threads), str(_IDLE_S)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=self._environment,
        )
        self._process, self._lines = process, queue.Queue()
        threading.Thread(
            target=_pass_on, args=(process, self._lines), name="reranker", daemon=True
        ).start()
        begun = time.monotonic()
        said = self._read(deadline)
        if not said.get("ready"):
            self._end()
            raise RerankError(f"no model ranks again: {said.get('error', 'it did not start')}")
        get_logger().info("reranker.loaded", seconds=round(time.monotonic() - begun, 1))

    def _read(self, deadline: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            # It may answer yet, and that answer would be taken for the next question's.
            self._end()
            raise RerankError(
                f"{self.name} took longer than {self._model.timeout_s:g} s and was ended;"
                " [reranker] timeout_s or first can be changed"
            ) from None
        try:
            said: dict[str, Any] = json.loads(line)
        except ValueError:
            self._end()
            raise RerankError(
                "no model ranks again: its process ended;"
                ' `pip install "paperround[papers]"` installs what it needs'
            ) from None
        return said

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.kill()
        process.wait(_STOPS_WITHIN_S)
        if process.stdin is not None:
            try:
                process.stdin.close()
            except OSError:
                # What was still to be written goes with the process.
                get_logger().debug("reranker.pipe_closed")


def _pass_on(process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
    """Every line that the process writes, and an empty one when it writes no more."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put("")
