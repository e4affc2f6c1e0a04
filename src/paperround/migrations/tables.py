"""Every room's tables in one place, so that a test can compare them with the schema's history."""

import paperround.catalogue.tables
import paperround.readers.tables
import paperround.runs.tables  # noqa: F401
from paperround.db import Table

metadata = Table.metadata
