"""Habits of people who know Hydra, and what `pipeline.run` answers."""

from pipeline.setup.compose import CONF
from tests.toy import program


def test_a_bare_run_lists_experiments_and_scales() -> None:
    done = program("run")
    assert done.code == 2 and done.err == ""
    for group in ("experiment", "scale"):
        for path in (CONF / group).glob("*.yaml"):
            assert f"{group}={path.stem}" in done.out
    assert "python -m pipeline.run +experiment=evolve_posttrain scale=tiny" in done.out


def test_the_composed_configuration_can_be_printed() -> None:
    done = program("run", "+experiment=evolve_pretrain", "scale=tiny", "stop.generations=7", "--cfg", "job").ok()
    assert "name: nanogpt" in done.out and "generations: 7" in done.out and "_target_: pipeline.methods" in done.out


def test_several_values_of_a_setting_are_several_runs() -> None:
    for given in (("+experiment=evolve_posttrain", "seed=1,2,3"), ("-m", "+experiment=evolve_posttrain", "seed=1,2,3")):
        program("run", *given).refused(2, "start one run for each value: for seed in 1 2 3; do")
