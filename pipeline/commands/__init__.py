"""The commands, one file each. This list is all that `python -m pipeline` and shell completion read."""

COMMANDS = {
    "run": "start a run, or resume one",
    "status": "show what is going on in a run",
    "show": "show one candidate: idea, patch, scores, logs",
    "report": "write what happened as one HTML file",
    "view": "serve pages of runs in progress",
    "evaluate": "score a kept checkpoint again",
    "propose": "add an idea of your own to the next generation",
    "mark": "pin a candidate, or ban it",
    "pause": "start nothing new in a run",
    "resume": "let a paused run start new things again",
    "cancel": "pause a run and cancel its jobs",
    "clean": "remove checkpoints and variants that nothing needs",
    "rerun": "train a candidate again, and test whether it agrees",
    "ablate": "measure what each change of a candidate contributes",
    "export": "write a candidate as a git repository with its provenance",
    "prepare": "fetch and convert a baseline's data",
    "build": "compile what all trials share",
    "check_baseline": "check that a baseline keeps its contract",
    "doctor": "check that a run would work here",
    "completion": "print the shell completion",
}
"""Name to what it does."""
