"""The notebook runs from top to bottom on a run folder and shows tables and a plot."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "analysis/first_look.ipynb"


def test_outputs_are_cleared() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code), (
        "clear them with: jupyter nbconvert --clear-output --inplace analysis/first_look.ipynb"
    )


def test_it_runs(toy_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PYTHONPATH", "")  # it finds the repository by itself
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert parameters.source.startswith('RUN = ""')
    parameters.source = f"RUN = {str(toy_run)!r}"
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    shown = [output.data for output in outputs if output.output_type in ("execute_result", "display_data")]
    assert sum("image/png" in data for data in shown) == 3
    tables = [data["text/html"] for data in shown if "text/html" in data]
    assert len(tables) == 3
    assert "generation_001/candidate_002" in tables[1]
    assert "baseline" in tables[2]
    assert not [output for output in outputs if output.get("name") == "stderr"]
