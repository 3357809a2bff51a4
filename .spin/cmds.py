"""The commands of `spin`: they work on the Python they run in."""

import sys

import click
from spin import util

PIP_INSTALL = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation", "--no-deps"]
ARGUMENTS = {"ignore_unknown_options": True}


@click.command()
@click.option("-e", "--editable", is_flag=True, help="Import from the sources, rebuilt on import.")
def build(editable):
    """Build the package and install it."""
    util.run([*PIP_INSTALL, f"-Cbuild-dir=build/{sys.implementation.cache_tag}", *(["-e"] if editable else []), "."])


@click.command(context_settings=ARGUMENTS)
@click.argument("pytest_args", nargs=-1)
def test(pytest_args):
    """Run the same tests as `make test`; with arguments, which go to pytest, only those of pytest."""
    if not pytest_args:
        util.run(["tools/ci/region_native.sh"])
    util.run(["pytest", *pytest_args])


@click.command()
def lint():
    """Check style, types, stubs and C warnings."""
    util.run(["tools/lint.sh"])


@click.command(context_settings=ARGUMENTS)
@click.option("--peers", is_flag=True, help="Print one table beside numpy.memmap, mmap and others instead.")
@click.option("--scenarios", is_flag=True, help="Print what each of them does when a file changes under it instead.")
@click.argument("args", nargs=-1)
def bench(peers, scenarios, args):
    """Run the benchmarks in this Python; arguments go to `asv run`, or to the table's script."""
    if peers or scenarios:
        util.run([sys.executable, f"benchmarks/{'peers' if peers else 'scenarios'}.py", *args])
        return
    config = "--config=benchmarks/asv.conf.json"
    util.run(["asv", "machine", config, "--yes"], output=False)  # else the first run stops to ask
    util.run(["asv", "run", config, "--python=same", "--show-stderr", *args])


@click.command()
def docs():
    """Build the documentation in doc/_build/html; a warning is an error."""
    util.run(["sphinx-build", "-W", "--keep-going", "-b", "html", "doc", "doc/_build/html"])
