"""`python -m pipeline.run`: the same as `python -m pipeline run`."""
# PYTHON_ARGCOMPLETE_OK: shells may request completions from this program

import sys

from pipeline.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "run")
    main()
