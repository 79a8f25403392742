"""Habits of Hydra users, and the responses of `pipeline.run`."""

from pathlib import Path

from pipeline.setup.compose import CONF
from tests.toy import program


def test_a_bare_run_lists_experiments_and_scales() -> None:
    done = program("run")
    assert done.code == 2 and done.err == ""
    for group in ("experiment", "scale"):
        for path in (CONF / group).glob("*.yaml"):
            assert f"{group}={path.stem}" in done.out
    assert "python -m pipeline.run +experiment=evolve_posttrain scale=tiny" in done.out


def test_a_bare_run_lists_the_users_own_experiments(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\n# My own search.\n")
    done = program("run", "--config-dir", str(tmp_path))
    assert done.code == 2 and " ".join(done.out.split()).count("+experiment=mine My own search.") == 1


def test_the_composed_configuration_can_be_printed() -> None:
    done = program("run", "+experiment=evolve_pretrain", "scale=tiny", "stop.generations=7", "--cfg", "job").ok()
    assert "name: nanogpt" in done.out and "generations: 7" in done.out and "_target_: pipeline.methods" in done.out


def test_several_values_of_a_setting_need_m() -> None:
    program("run", "+experiment=evolve_posttrain", "seed=1,2,3").refused(2, "add -m, which starts a run for each value")
