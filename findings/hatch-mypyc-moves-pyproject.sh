#!/bin/sh
# hatch-mypyc 0.16.0 with mypy 2.4.1: while a wheel is built in a working copy, its pyproject.toml is not there.
#   - for as long as the compiler runs, the file is called pyproject.toml.bak: whatever else looks at the working copy
#     meanwhile (make, git, a linter, another build) finds a project without one; a commit of everything renames it;
#   - a build that is killed leaves it so.
# Building from an sdist, as `python -m build` without --wheel does, moves the copy's file and leaves the working copy alone.
# Seen on Linux with Python 3.11 and gcc 12. Fails if any of that is no longer so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check build==1.6.1 hatchling==1.33.0 hatch-mypyc==0.16.0 \
    mypy==2.4.1 setuptools
mkdir -p "$folder/project/tiny"
cd "$folder/project"
cat > pyproject.toml <<'TOML'
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "tiny"
version = "1"
[tool.hatch.build.targets.wheel.hooks.mypyc]
dependencies = ["hatch-mypyc"]
TOML
echo 'def twice(number: int) -> int:
    return 2 * number' > tiny/__init__.py

seen_without() {
    "$folder/venv/bin/python" -m build --no-isolation "$@" > "$folder/log" 2>&1 &
    seen=no
    while kill -0 $! 2> /dev/null; do
        [ -f pyproject.toml.bak ] && [ ! -f pyproject.toml ] && seen=yes
        sleep 0.01
    done
    wait $! || { cat "$folder/log"; exit 1; }
}

seen_without --wheel
echo "built in the working copy: pyproject.toml was away: $seen"
in_place=$seen
seen_without
echo "built from an sdist:       pyproject.toml was away: $seen"
[ "$in_place $seen" = "yes no" ] || { echo "This has changed."; exit 1; }
