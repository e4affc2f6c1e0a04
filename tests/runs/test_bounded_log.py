"""A log keeps its ends, whatever is written in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.runs import bounded_log
from paperround.runs.bounded_log import BoundedLog


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.mark.parametrize("interval_s", [0.0, 60.0])
@given(
    chunks=st.lists(st.binary(max_size=40), max_size=20),
    head=st.integers(0, 60),
    tail=st.integers(0, 60),
)
def test_a_log_is_its_head_and_tail_or_all_of_it(folder, interval_s, chunks, head, tail):
    path = folder / "log.txt"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded_log, "HEAD_BYTES", head)
        patch.setattr(bounded_log, "TAIL_BYTES", tail)
        patch.setattr(bounded_log, "_SHOW_INTERVAL_S", interval_s)
        with BoundedLog(path) as log:
            for chunk in chunks:
                log.write(chunk)
    whole, kept = b"".join(chunks), path.read_bytes()
    if len(whole) <= head + tail:
        assert kept == whole
    else:
        note = f"\n[… {len(whole) - head - tail:,} bytes left out …]\n".encode()
        assert kept == whole[:head] + note + whole[len(whole) - tail :]


def test_the_head_is_on_the_disk_while_the_log_is_open(folder):
    path = folder / "open.txt"
    with BoundedLog(path) as log:
        log.write(b"so far\n")
        assert path.read_bytes() == b"so far\n"


def test_the_end_of_a_long_log_can_be_seen_while_it_is_open(folder, monkeypatch):
    monkeypatch.setattr(bounded_log, "HEAD_BYTES", 4)
    monkeypatch.setattr(bounded_log, "TAIL_BYTES", 6)
    monkeypatch.setattr(bounded_log, "_SHOW_INTERVAL_S", 0.0)
    path = folder / "long.txt"
    with BoundedLog(path) as log:
        log.write(b"headmiddle")
        assert path.read_bytes() == b"headmiddle"
        log.write(b"newest")
        assert path.read_text() == "head\n[… 6 bytes left out …]\nnewest"
