"""What `mkdocs build` does beside its settings in mkdocs.yml: pages of the top level, and links that leave the site.

Links are written for a reader of the files, and the tests check them there.
"""

import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
_LINK = re.compile(r"(?<![`!])\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top level."""
    for name in TOP_LEVEL:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links of the site; of one to a file without a page the text stays."""
    top_level = page.file.src_uri in TOP_LEVEL
    folder = posixpath.dirname(page.file.src_uri)

    def replace(match: re.Match[str]) -> str:
        beside = posixpath.join("" if top_level else "docs", folder, match["target"])
        target = posixpath.normpath(beside)
        name = target if target in TOP_LEVEL else target.removeprefix("docs/")
        if (ROOT / target).exists() and files.get_file_from_path(name) is None:
            return match["text"]
        return f"[{match['text']}]({os.path.relpath(name, folder or '.')}{match['anchor'] or ''})"

    return _LINK.sub(replace, markdown)
