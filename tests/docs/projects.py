"""The folder of a reader who follows a how-to, with the toy in place of the page's baseline."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import write_files
from tests.toy import CONF, TOY


@dataclass(frozen=True)
class Project:
    """The reader's folder."""

    folder: Path
    data: Path
    given: tuple[str, ...]
    """Settings of all its runs."""

    @classmethod
    def of_page(cls, text: str, folder: Path, data: Path, *given: str) -> "Project":
        """The files of a page, with the toy."""
        write_files(text, folder)
        shutil.copytree(CONF, folder / "conf", dirs_exist_ok=True)
        shutil.copytree(TOY, folder / "toy")
        return cls(folder, data, given)

    def arguments(self, name: str, *more: str) -> list[str]:
        """The arguments for `pipeline.run`."""
        where = ["--config-dir", str(self.folder / "conf"), f"runs={self.folder}/runs", f"data={self.data}"]
        return [*where, "baseline=toy", "scale=tiny", f"run={name}", *self.given, *more]
