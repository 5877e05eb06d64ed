"""A SLURM of one node on this machine, where Debian's packages slurmctld, slurmd, slurm-client and munge are there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "scontrol", "munged", "mungekey")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller}
SlurmdPort={node}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes={host} MaxTime=INFINITE State=UP PriorityTier=9
"""


def missing() -> str:
    """What is not there, in words; empty if all is."""
    if os.getuid():
        return "starts SLURM's daemons, as root only"
    absent = [name for name in PROGRAMS if _program(name) is None]
    return f"needs {', '.join(absent)}: apt-get install slurmctld slurmd slurm-client munge" if absent else ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@contextmanager
def running(folder: Path) -> Iterator[dict[str, str]]:
    """Start it with all its files in a folder; gives the variables by which its commands find it."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = [_free_port() for _ in range(2)]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20 - 1000
    cores = len(os.sched_getaffinity(0))
    values = {"folder": folder, "host": host, "controller": ports[0], "node": ports[1]}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**values, cores=cores, memory=memory))
    version = "v1" if Path("/sys/fs/cgroup/memory").exists() else "v2"
    (folder / "cgroup.conf").write_text(f"CgroupPlugin=cgroup/{version}\n")
    variables = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    environment = os.environ | variables
    subprocess.run([_program("mungekey") or "", "--create", "--keyfile", folder / "munge.key"], check=True)
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    commands = [
        ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files],
        ["slurmctld", "-D", "-f", str(folder / "slurm.conf")],
        ["slurmd", "-D", "-f", str(folder / "slurm.conf"), "-N", host],
    ]
    daemons: list[subprocess.Popen[bytes]] = []
    with (folder / "output.txt").open("wb") as output:
        try:
            for command in commands:
                program = [_program(command[0]) or command[0], *command[1:]]
                daemons.append(subprocess.Popen(program, env=environment, stdout=output, stderr=output))
                if command[0] == "munged":
                    _until(lambda: (folder / "munge.socket").exists(), folder)
            _until(lambda: b"idle" in _said(["sinfo", "-h", "-o", "%T"], environment), folder)
            yield variables
        finally:
            subprocess.run(["scancel", "--user=root"], env=environment, check=False, capture_output=True)
            time.sleep(1)
            for daemon in reversed(daemons):
                daemon.terminate()
            for daemon in daemons:
                daemon.wait(timeout=30)


def _said(command: list[str], environment: dict[str, str]) -> bytes:
    return subprocess.run(command, env=environment, check=False, capture_output=True).stdout


def _until(condition: Callable[[], bool], folder: Path) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.2)
    raise RuntimeError("\n".join(file.read_text(errors="replace")[-3000:] for file in folder.glob("*.log")))


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
