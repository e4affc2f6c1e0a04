"""The process of one run or generation: `python -m paperround.runs.child JOB`.

Started by `child_process.py`, it confines itself, imports the paper's code and calls it. Events
leave as lines of JSON on a pipe of their own; whatever the code prints goes to the log and means
nothing. JOB is a JSON object: `do`, `scratch`, `writable` (the folders to write in; none means
anywhere), `threads`, `events` (the number of the pipe), `parent` (the process that has to stay
alive), and with `do`
    "fetch", "reproduce"  `slug`, `package`, `folder`, `scale`, `seeds` (from `execution.py`)
    "fetch-model"         `asset`
    "generate"            `where` (the model), `asked` (the file; both from `generation.py`)
"""

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_FILE_LIMIT_BYTES = 4 << 30
_NICENESS = 5
_REASON_LIMIT = 500


def main(argument: str) -> None:
    """Does the job and ends the process: with status 0 and an `end` event, or with the reason."""
    job: dict[str, Any] = json.loads(argument)
    _confine(job["parent"])
    emit = _emitter(job["events"])
    try:
        _limit_processors(job["threads"])
        if job["writable"]:
            from paperround.runs.confinement import confine_writes

            confine_writes(map(Path, job["writable"]))
        match job["do"]:
            case "fetch":
                _fetch_assets(job, emit)
            case "fetch-model":
                _fetch_model(job)
            case "reproduce":
                _reproduce(job, emit)
            case "generate":
                _generate(job, emit)
    # SystemExit and KeyboardInterrupt too: whatever ends the paper's code early is a failure.
    except BaseException as error:
        traceback.print_exc()
        _leave(emit, _in_one_line(error), 1)
    _leave(emit, "", 0)


def _reproduce(job: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None:
    from paperround.runs.card import Scale
    from paperround.runs.reproduction import Run
    from paperround.runs.rooms import Room

    room = Room(job["slug"], job["package"], Path(job["folder"]))
    reproduce = room.reproduction()
    run = Run(
        room.card, Scale(job["scale"]), job["seeds"], Path(job["scratch"]), emit, job["threads"]
    )
    reproduce(run)


def _fetch_assets(job: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None:
    from paperround.kit.assets import find_asset
    from paperround.runs.card import Scale
    from paperround.runs.reproduction import Run
    from paperround.runs.rooms import Room

    card = Room(job["slug"], job["package"], Path(job["folder"])).card
    scale = Scale(job["scale"])
    names = card.scales[scale].assets
    run = Run(card, scale, job["seeds"], Path(job["scratch"]), emit, job["threads"])
    with run.stage("assets", total=len(names)) as stage:
        for name in names:
            find_asset(name)
            stage.advance()


def _fetch_model(job: dict[str, Any]) -> None:
    from paperround.kit.assets import find_asset

    find_asset(job["asset"])


def _generate(job: dict[str, Any], emit: Callable[[dict[str, Any]], None]) -> None:
    from paperround.errors import UsageError
    from paperround.kit.language_models import (
        Request,
        find_method,
        open_model,
        report,
        timed,
        use_threads,
        warm_up,
    )
    from paperround.runs.generation import MAX_TEXTS

    asked = json.loads(Path(job["asked"]).read_text(encoding="utf-8"))
    use_threads(job["threads"])
    method, greedy = find_method(asked["method"]), find_method("greedy")
    options = method.complete(asked["options"])
    model, tokenizer = open_model(job["where"])
    is_chat = asked["is_chat"]
    prompt = [{"role": "user", "content": asked["prompt"]}] if is_chat else asked["prompt"]
    common = {"tokenizer": tokenizer, "prompt": prompt, "max_new_tokens": asked["max_new_tokens"]}
    request = Request(
        model=method.prepared(model, tokenizer, options),
        seed=asked["seed"],
        options=options,
        **common,
    )
    plainly = Request(model=model, **common)
    warm_up(method, request)
    done = timed(method, request)
    if (n_texts := len(done.generated.candidates)) > MAX_TEXTS:
        raise UsageError(f"{method.name} gave {n_texts} texts; at most {MAX_TEXTS} are shown here")
    # Greedy decoding beside itself would say nothing.
    beside = None
    if method.name != greedy.name:
        warm_up(greedy, plainly)
        beside = timed(greedy, plainly)
    emit({"kind": "generated", "report": report("the prompt", method.name, options, done, beside)})


def _confine(parent: int) -> None:
    """Limits this process and its children; they cannot be lifted again from inside."""
    faulthandler.enable()
    # Whole lines reach the log at once, also those just before a crash.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, _FILE_LIMIT_BYTES))
    # A reader's page comes before a measurement.
    os.nice(_NICENESS)
    if sys.platform == "linux":
        # Where memory runs out, this process goes and not the site or its database.
        Path("/proc/self/oom_score_adj").write_text("500")
        _end_with(parent)
    if os.getppid() != parent:
        os._exit(1)


def _end_with(parent: int) -> None:
    """Ends this process's whole group when `parent` ends, however suddenly.

    A process of its own waits for that: the kernel's signal for a parent's death reaches this
    process alone, and the processes that the paper's code has started would live on.
    """
    myself = os.getpid()
    if os.fork():
        return
    # Being asked to end is for those who measure; it stays until they are gone.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        parents_end, my_end = os.pidfd_open(parent), os.pidfd_open(myself)
        # It must not hold the pipes open on which the worker waits.
        for descriptor in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - names, no paths
            if descriptor not in (parents_end, my_end):
                with suppress(OSError):
                    os.close(descriptor)
        ended, _, _ = select.select([parents_end, my_end], [], [])
        if my_end not in ended:
            os.killpg(0, signal.SIGKILL)
    except ProcessLookupError:
        # The worker had ended before.
        os.killpg(0, signal.SIGKILL)
    finally:
        os._exit(0)


def _limit_processors(n: int) -> None:
    """Keeps this process and its children on the `n` processors that have least to do."""
    if sys.platform != "linux":
        return
    allowed = os.sched_getaffinity(0)
    if len(allowed) > n:
        import psutil

        busy = psutil.cpu_percent(interval=0.1, percpu=True)
        share = {cpu: busy[cpu] if cpu < len(busy) else 0.0 for cpu in allowed}
        os.sched_setaffinity(0, sorted(allowed, key=lambda cpu: share[cpu])[:n])


def _emitter(descriptor: int) -> Callable[[dict[str, Any]], None]:
    # Programs that the paper's code starts have no business on this pipe.
    os.set_inheritable(descriptor, False)
    lock = threading.Lock()

    def emit(event: dict[str, Any]) -> None:
        line = json.dumps(event, allow_nan=False).encode() + b"\n"
        with lock:
            try:
                while line:
                    line = line[os.write(descriptor, line) :]
            except BrokenPipeError:
                # Nobody listens any more: the worker is gone, and with it the reason to go on.
                os.killpg(0, signal.SIGKILL)

    return emit


def _in_one_line(error: BaseException) -> str:
    from paperround.errors import PaperroundError

    said = " ".join(str(error).split())
    if not isinstance(error, PaperroundError):
        said = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return said if len(said) <= _REASON_LIMIT else said[: _REASON_LIMIT - 1] + "…"


def _leave(emit: Callable[[dict[str, Any]], None], reason: str, status: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    emit({"kind": "end", "reason": reason})
    # Not through the interpreter's own end: a thread that the paper's code has left would keep it.
    os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1])
