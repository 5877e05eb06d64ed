"""A study on a cluster: how far down is the loss halfway? `python examples/on_a_cluster.py slurm`, `ray` or `local`.

Run it where jobs are submitted, in a folder that all machines see. The commands do the same, with more settings:
`linescape study run examples/on_a_cluster.py --executor slurm --slurm partition=short time=30`.
"""

import statistics
import sys

from linescape.recipe import MLP, Data, Optimizer, Recipe, Schedule
from linescape.studies.executors import named
from linescape.studies.run import work
from linescape.studies.store import Store
from linescape.studies.study import Study

base = Recipe(Data("fashion-mini", fraction=0.2), MLP(hidden=(64,)), Optimizer(lr=0.05), Schedule(3))
study = Study.of("steps", base, {"larger": {"lr": 0.2}}, seeds=3, title="How far down is the loss halfway?", alphas=11)


def main(executor: str = "local", folder: str = "runs") -> dict[str, float]:
    """Mean test loss of each arm halfway from start to end, in nats; its tasks are done by `executor`."""
    store = Store(folder)
    print(work(study, store, executor=named(executor)))
    halfway = {}
    for arm in study.arms:
        curves = [store.curve(run.lines["whole"]) for run in arm.runs]
        halfway[arm.name] = statistics.mean(curve["test", "cross_entropy"].mean[5] for curve in curves)
        print(f"{arm.name}: halfway the test loss is {halfway[arm.name]:.2f} nats, the mean of {len(curves)} trainings")
    return halfway


if __name__ == "__main__":
    main(*sys.argv[1:])
