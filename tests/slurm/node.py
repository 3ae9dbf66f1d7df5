"""A real Slurm of one node for the tests: munge, MariaDB, slurmdbd, slurmctld, slurmd; no systemd, no cgroup.

`python -m tests.slurm.node start` and `stop` control it by hand. All files are in one folder of the temporary
directory, and no port is a default one. /etc/slurm links to the configuration: inside a job the executor of Snakemake
removes SLURM_CONF, so that the commands read the configuration at its default place.
"""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
FOLDER = Path(tempfile.gettempdir()) / "astrodl-slurm"
ETC = Path("/etc/slurm")
PACKAGES = {"slurmctld": "slurm-wlm", "munged": "munge", "slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
DAEMONS = ("slurmd", "slurmctld", "slurmdbd", "mariadbd", "munged")
"""Programs in the order in which they are stopped."""
ACCOUNT = "astro"
N_GPUS = 8


class NoSlurmError(Exception):
    """Slurm cannot run on this machine."""


def start() -> None:
    """Install missing packages, start all daemons and wait until the node accepts jobs."""
    check_machine()
    hold_lock()
    stop()
    install()
    write_configuration()
    munged, database = FOLDER / "munge.socket", FOLDER / "mariadb.socket"
    start_munge(munged)
    start_database(database)
    start_daemon("slurmdbd")
    wait_for("slurmdbd", "sacctmgr", "--noheader", "show", "cluster")
    sacctmgr("add", "cluster", "astrodl")
    sacctmgr("add", "account", ACCOUNT)
    sacctmgr("add", "user", "root", f"account={ACCOUNT}")
    start_daemon("slurmctld")
    start_daemon("slurmd")
    wait_for("the node", "srun", "--immediate=1", "--partition=gpu", "--gpus=1", "true")


def stop() -> None:
    """Stop the daemons of this or of a killed earlier run, and remove all files."""
    for name in DAEMONS:
        stop_daemon(name)
    for path in ETC.glob("*.conf"):
        if is_own_link(path):
            path.unlink()
    shutil.rmtree(FOLDER, ignore_errors=True)


def check_machine() -> None:
    """Raise NoSlurmError if Slurm cannot run on this machine."""
    if os.geteuid() != 0:
        raise NoSlurmError("only root can start a Slurm")
    if shutil.which("apt-get") is None:
        raise NoSlurmError("apt-get, which installs Slurm, is missing")
    path = ETC / "slurm.conf"
    if path.exists() and not is_own_link(path):
        raise NoSlurmError(f"{path} exists: this machine has another Slurm")


def is_own_link(path: Path) -> bool:
    """Return whether a file in /etc/slurm is a link to the folder of the tests."""
    return path.is_symlink() and path.readlink().parent == FOLDER


def hold_lock() -> None:
    """Hold a lock until the process ends."""
    try:
        fcntl.flock(os.open(f"{FOLDER}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NoSlurmError("other tests run a Slurm on this machine") from None


def install() -> None:
    """Install the packages of missing programs."""
    missing = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    if not missing:
        return
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", "-qq", *words], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    if done.returncode:
        raise NoSlurmError(f"apt-get cannot install {' '.join(missing)}: {done.stderr.strip().splitlines()[-1:]}")


def write_configuration() -> None:
    """Write the configuration into the folder, and link to it from /etc/slurm."""
    for name in ("", "state", "spool", "mysql"):
        (FOLDER / name).mkdir(mode=0o755)
    ETC.mkdir(exist_ok=True)
    for number in range(N_GPUS):
        (FOLDER / f"gpu{number}").touch()
    host = socket.gethostname().split(".")[0]
    words = {"folder": FOLDER, "host": host, "n_gpus": N_GPUS, "last_gpu": N_GPUS - 1}
    for source in HERE.glob("*.conf"):
        path = FOLDER / source.name
        path.write_text(Template(source.read_text()).substitute(words))
        path.chmod(0o600)  # slurmdbd requires it
        (ETC / source.name).unlink(missing_ok=True)
        (ETC / source.name).symlink_to(path)


def start_munge(address: Path) -> None:
    """Start munge with a new key and socket."""
    key = FOLDER / "munge.key"
    key.touch(mode=0o400)
    key.write_bytes(secrets.token_bytes(1024))
    files = {"key-file": key, "socket": address, "pid-file": FOLDER / "munged.pid", "log-file": FOLDER / "munged.log"}
    # --force: everybody can write in the temporary directory above the socket
    start_daemon("munged", "--force", *(f"--{name}={path}" for name, path in files.items()))


def start_database(address: Path) -> None:
    """Start MariaDB with an empty database for slurmdbd, reachable from this machine only."""
    data = f"--datadir={FOLDER / 'mysql'}"
    run("mariadb-install-db", "--no-defaults", "--user=root", "--skip-test-db", data)
    words = ["--no-defaults", "--user=root", data, f"--socket={address}", f"--pid-file={FOLDER / 'mariadbd.pid'}"]
    words += ["--bind-address=127.0.0.1", "--port=13306", "--innodb-lock-wait-timeout=900"]
    start_daemon("setsid", "--fork", "mariadbd", *words)
    wait_for("MariaDB", "mariadb-admin", "--no-defaults", f"--socket={address}", "ping")
    account = "slurm@'127.0.0.1'"
    statements = (
        f"CREATE DATABASE slurm; CREATE USER {account} IDENTIFIED BY 'slurm'; GRANT ALL ON slurm.* TO {account}"
    )
    run("mariadb", "--no-defaults", f"--socket={address}", f"--execute={statements}")


def sacctmgr(*words: str) -> None:
    run("sacctmgr", "--immediate", "--quiet", *words)


def start_daemon(name: str, *words: str) -> None:
    """Start a program that continues in the background."""
    run(name, *words, output=FOLDER / f"{name}.start.log")


def run(*words: str, output: Path | None = None) -> None:
    """Run a command with output to a file: a daemon would keep a pipe open."""
    with (output or FOLDER / "commands.log").open("a+") as log:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60, check=False)
        if done.returncode:
            log.seek(0)
            raise RuntimeError(f"{words[0]} ended with {done.returncode}: {log.read()[-2000:]}")


def wait_for(name: str, *words: str) -> None:
    """Repeat a command until it succeeds."""
    deadline = time.monotonic() + 60
    while subprocess.run(words, stdin=-3, capture_output=True, timeout=60, check=False).returncode:
        if time.monotonic() > deadline:
            logs = "".join(f"{path.name}:\n{path.read_text()[-2000:]}\n" for path in FOLDER.glob("*.log"))
            raise RuntimeError(f"{name} does not answer\n{logs}")
        time.sleep(0.3)


def stop_daemon(name: str) -> None:
    """Stop the process of a pid file if it is still the daemon."""
    path = FOLDER / f"{name}.pid"
    pid = path.read_text().strip() if path.exists() else ""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for attempt in range(100):
            if not pid or not is_running(pid, name):
                return
            if attempt == 0:
                os.kill(int(pid), number)
            time.sleep(0.1)


def is_running(pid: str, name: str) -> bool:
    """Return whether a process of a name runs; a process that has ended but was not waited for has no `exe`."""
    process = Path("/proc") / pid
    try:
        return (process / "comm").read_text().strip() == name and bool(os.readlink(process / "exe"))
    except OSError:
        return False


if __name__ == "__main__":
    {"start": start, "stop": stop}[sys.argv[1]]()
