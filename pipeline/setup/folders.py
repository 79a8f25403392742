"""Folders of this program and its configuration. Imports little, because shell completion loads it at each TAB."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""Folder of pipeline/, conf/ and baselines/: the checkout or, if installed from a wheel, groundwork_hpc/ in
site-packages."""
CONF = REPOSITORY / "conf"
SITE = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "groundwork"
"""Configuration groups of this user or site; `python -m pipeline doctor --write` saves `cluster/site.yaml` there."""
