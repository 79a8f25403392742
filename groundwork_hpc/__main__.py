"""`python -m groundwork_hpc COMMAND`: the console script `groundwork` for a given interpreter."""

from groundwork_hpc import main

if __name__ == "__main__":
    main()
