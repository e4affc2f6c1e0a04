"""A paper's page says how to decode by its method, where its room offers one."""

from pathlib import Path

from starlette.testclient import TestClient

KEY = "2601.00001"


def test_the_page_shows_the_command_of_a_room_that_decodes(
    client: TestClient, little_room: Path
) -> None:
    command = "paperround generate --prompt prompt.txt --method little --compare"
    assert command not in client.get(f"/papers/{KEY}").text
    # Only its being there is looked at: the site imports no paper's code.
    (little_room / "generator.py").write_text("raise RuntimeError('imported')\n", encoding="utf-8")
    page = client.get(f"/papers/{KEY}")
    assert page.status_code == 200
    assert command in page.text
