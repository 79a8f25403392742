"""The commands, one file each. `python -m pipeline` and shell completion read only this list."""

COMMANDS = {
    "run": "start a run, or resume one",
    "status": "show the progress of a run",
    "show": "show one candidate: idea, patch, scores, logs",
    "report": "write a report of runs as one HTML file",
    "view": "serve pages of runs in progress",
    "evaluate": "score a kept checkpoint again",
    "propose": "add an idea of your own to the next generation",
    "mark": "pin a candidate, or ban it",
    "pause": "start nothing new in a run",
    "resume": "undo a pause",
    "cancel": "pause a run and cancel its jobs",
    "clean": "remove checkpoints and variants that nothing needs",
    "rerun": "train a candidate again, and test whether it agrees",
    "ablate": "measure what each change of a candidate contributes",
    "export_run": "write a run as files of TensorBoard, MLflow or Weights & Biases",
    "export": "write a candidate as a git repository with its provenance",
    "prepare": "fetch and convert a baseline's data",
    "build": "fill the compiler caches that all trials share",
    "check_baseline": "check that a baseline fulfils its contract",
    "doctor": "check whether a run would work here",
    "completion": "print the shell completion",
}
"""Description by name."""
