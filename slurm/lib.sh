# shellcheck shell=bash
# Sourced by the wrappers, which set `root`: changes to the checkout and sets `python`.
#
# The wrappers are submitted with --export=NIL, so that no API key is written to Slurm's records; so variables that a
# login shell would set are set here.
set -u

export HOME="${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}"
export SLURM_EXPORT_ENV=ALL # the jobs' own srun would obey --export=NIL otherwise
if [ -r /etc/profile ]; then
  path=${PATH:-/usr/bin:/bin}
  set +u # profiles may use unset variables
  # shellcheck disable=SC1091
  . /etc/profile
  set -u
  export PATH="$path:$PATH" # some profiles reset PATH; the previous one goes first
fi

cd "${root:?}" || exit 2
if [ -x .venv/bin/python ]; then
  python=$PWD/.venv/bin/python
else
  python=$(command -v python3) || {
    echo "error: no .venv/bin/python in $PWD and no python3 on PATH; type \`make install\` there" >&2
    exit 2
  }
fi
export python
