"""`prepare` of a baseline whose training and evaluator data are not separate."""

import json
from pathlib import Path

from tests.toy import TOY, baseline, program


def test_shared_data_is_refused_and_gets_no_manifest(tmp_path: Path) -> None:
    lines = "    (arguments.output / 'train/more.json').hardlink_to(arguments.output / 'evaluator/test.json')\n"
    text = (TOY / "prepare.py").read_text().replace("\n\nif __name__", f"{lines}\n\nif __name__")
    conf = baseline(tmp_path, files={"prepare.py": text})
    given = ("--config-dir", str(conf), "baseline=toy", "scale=tiny", f"data={tmp_path / 'data'}")
    program("prepare", *given).refused(2, "train/more.json and", "evaluator/test.json are the same")
    assert not (tmp_path / "data/toy/tiny/manifest.json").exists()


def test_omitted_data_is_printed_and_recorded(tmp_path: Path) -> None:
    note = json.dumps({"train": {"exact": 2, "near": 3}, "test": {"exact": 0, "near": 1}})
    lines = f"    (arguments.output / 'evaluator/duplicates.json').write_text('{note}')\n"
    text = (TOY / "prepare.py").read_text().replace("\n\nif __name__", f"{lines}\n\nif __name__")
    conf = baseline(tmp_path, files={"prepare.py": text})
    given = ("--config-dir", str(conf), "baseline=toy", "scale=tiny", f"data={tmp_path / 'data'}")
    said = program("prepare", *given).ok().out
    assert "left out because they repeat held-out data: train 2 exact, 3 near; test 0 exact, 1 near" in said
    manifest = json.loads((tmp_path / "data/toy/tiny/manifest.json").read_text())
    assert manifest["repeats"] == json.loads(note)
