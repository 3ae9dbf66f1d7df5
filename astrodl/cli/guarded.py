"""Run a module that ends, with the processes that it starts, when the process that started it is killed.

``python -m astrodl.cli.guarded PROCESS MODULE [ARGUMENT ...]``, where PROCESS is the number of the one that starts it.
"""

import runpy
import sys

from astrodl.workers import stop_with_launcher

__all__: list[str] = []

if __name__ == "__main__":
    launcher, module = sys.argv.pop(1), sys.argv[1]
    del sys.argv[0]
    stop_with_launcher(int(launcher), with_children=True)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
