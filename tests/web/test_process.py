"""What the web process must never hold: the papers' heavy packages."""

import json
import subprocess
import sys
from pathlib import Path

from paperround.settings import Settings

SCRIPT = """
import json, sys
from fastapi.testclient import TestClient
from paperround.settings import get_settings
from paperround.web.app import create_app

app = create_app(get_settings(), local_only=True, worker=True)
with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
    for path in json.loads(sys.argv[1]):
        assert client.get(path).status_code == 200, path
heavy = ("torch", "transformers", "matplotlib", "accelerate", "pandas", "sklearn")
print(json.dumps([name for name in heavy if name in sys.modules]))
"""
PATHS = [
    "/",
    "/week/2026-W27",
    "/search?q=counting&mode=words",
    "/papers/2606.00001",
    "/papers/2601.00001",
    "/runnable",
    "/runs",
    "/claims",
    "/claims?verdict=holds&sort=when&down=yes",
    "/claims/about",
    "/claims/little/faster",
    "/compare",
    "/help",
    "/healthz",
    "/api/v1/papers",
    "/api/v1/feed",
    "/api/v1/search?q=counting",
    "/api/v1/runnable",
    "/api/v1/runs",
    "/api/v1/claims",
    "/claims.csv",
    "/badges/little.svg",
    "/api/v1/openapi.json",
]


def test_no_page_loads_a_papers_packages(
    settings: Settings, catalogue: None, little_room: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(PATHS)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
