#!/usr/bin/env bash
# Build the site as `make docs` does, from a copy of the sources: the pages that Sphinx makes beside them would be
# examples to the tests of other lanes.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export MEMMAP_DATA=${MEMMAP_DATA:-$root/.data} MEMMAP_REPORTS=${MEMMAP_REPORTS:-$root/build/lanes}
"$(find_python 3.11)" -m venv "$work/venv"
export PATH=$work/venv/bin:$PATH
pip install 'pip>=25.1'
pip install --group "$root/pyproject.toml:doc" "$root"
mkdir "$work/site"
cd "$root"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/site"
cd "$work/site"
sphinx-build -W --keep-going -q -b html doc html
