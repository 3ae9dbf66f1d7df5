"""Worker processes and ranks end with the process that started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_POOL = """
import os, time
from astrodl.workers import WorkerPool
if __name__ == "__main__":
    pool = WorkerPool(2, [])
    pids = {pool.submit(os.getpid).result() for _ in range(20)}
    futures = [pool.submit(time.sleep, 60) for _ in range(2)]
    print(*pids, flush=True)
    time.sleep(60)
"""
_RANK = """
import os, signal, sys, time
from astrodl.workers import stop_with_launcher
def save(*ignored):
    open(sys.argv[1], "w").write("saved")
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
stop_with_launcher(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""
_GUARDED = """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "60"])
print(os.getpid(), child.pid, *sys.argv[1:], flush=True)
child.wait()
"""
_RUN = """
import os, subprocess, sys
subprocess.run([sys.executable, "-m", "astrodl.cli.guarded", str(os.getpid()), "guarded", "7"])
"""
_LAUNCHER = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])"


def kill_and_wait(parent: subprocess.Popen[str], children: list[int]) -> bool:
    """Kill a process and return whether its children end within a minute."""
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while any(is_running(child) for child in children):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def start(*words: str) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a script and return it with the process numbers that it prints."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout as printed:
        return process, [int(word) for word in printed.readline().split()]


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "pool.py"  # workers import the main module again
    script.write_text(_POOL)
    parent, workers = start(str(script))
    assert workers
    assert kill_and_wait(parent, workers)


def test_a_rank_saves_and_ends_when_its_launcher_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(_RANK)
    launcher, ranks = start("-c", _LAUNCHER, str(script), str(tmp_path / "state"))
    assert kill_and_wait(launcher, ranks)
    assert (tmp_path / "state").read_text() == "saved"


def test_a_guarded_module_and_its_children_end_when_their_launcher_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "guarded.py").write_text(_GUARDED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    launcher, (*processes, argument) = start("-c", _RUN)
    assert argument == 7
    assert kill_and_wait(launcher, processes)
