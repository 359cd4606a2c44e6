"""Several processes train as one does: same draws, same statistics, same gradients."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lico_bench.data import load_dataset
from lico_bench.errors import InvalidInputError, LicoBenchError, LostPeersError
from lico_bench.records import Recipe
from lico_bench.training import ARMS, train
from lico_bench.training.distributed import SINGLE_PROCESS, Peers
from lico_bench.training.loop import check_shareable, prepare

SCRIPT = Path(__file__).parent / "together.py"
# One update of at most 0.05 times a gradient of size 1, whose sums over 16 * 32 * 32 values are
# taken in another order: float32 keeps them to 1e-6, the running variances (up to 50) to 1e-5.
ATOL_ONE_UPDATE = 2e-5
RTOL_ONE_UPDATE = 2e-4  # of losses and gradient norms, some of which are differences of near values
# Its transport is differentiated through the iterations with next to no entropy, where float32
# gives a slope to a tenth (`losses.transport.sinkhorn`).
RTOL_OF = {"lico_bartak": 2e-2}
ATOL_BFLOAT16 = 2e-2  # an update of 0.05, and seven digits of two to the minus eight each
# Rounding grows from update to update, by as much as it does within one process that starts from
# weights with the last bit changed; it is another rounding, so that not just as much.
TIMES_AS_FAR = 30.0
BASE = {
    "dataset": "cifar10", "backbone": "wrn_10_1", "source": "standin", "train_limit": 16,
    "epochs": 1, "batch_size": 16, "learning_rate": 0.05,
}  # fmt: skip


def job(*, keeps: bool = False, state=None, **changes):
    return {"recipe": {**BASE, **changes}, "keeps": keeps, "state": state}


def alone(requested) -> dict:
    states = []
    trained = train(
        Recipe(**requested["recipe"]), device="cpu", state=requested["state"],
        keep=lambda state: states.append(deepcopy(state)),
    )  # fmt: skip
    history = list(trained.history.itertuples(index=False, name=None))
    return {"weights": trained.classifier.state_dict(), "history": history, "states": states}


def in_processes(jobs, folder: Path, count: int = 2):
    """What each of `count` processes made of each job."""
    torch.save(jobs, folder / "jobs.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    message = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(folder)],
            env={**os.environ, **message, "RANK": str(rank)}, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(count)
    ]  # fmt: skip
    errors = [process.communicate(timeout=900)[1] for process in running]
    assert [process.returncode for process in running] == [0] * count, errors
    return [
        [torch.load(folder / f"{number}-{rank}.pt") for rank in range(count)]
        for number in range(len(jobs))
    ]


def furthest(first, second) -> float:
    """Largest distance of two sets of weights and running statistics."""
    assert set(first) == set(second)
    return max(float((first[n].double() - second[n].double()).abs().max()) for n in first)


def nudge(state: dict, seed: int) -> dict:
    """With weights of which a third is one unit in the last place larger, a third smaller.

    All of them larger by the same factor would change nothing: batch normalisation divides it out.
    """
    generator = torch.Generator().manual_seed(seed)
    ulp = torch.finfo(torch.float32).eps
    weights = {
        name: value * (1 + ulp * torch.randint(-1, 2, value.shape, generator=generator))
        if value.is_floating_point() and "running" not in name
        else value
        for name, value in state["classifier"].items()
    }
    return {**state, "classifier": weights}


LONG = {"train_limit": 48, "epochs": 2, "ema_decay": 0.5, "gradient_clip": 1.0}
LONG_ARMS = ("baseline", "lico")


@pytest.fixture(scope="module")
def jobs():
    started = alone(job(arm="lico", train_limit=32, epochs=2))["states"][0]
    requested = {arm: job(arm=arm) for arm in ARMS}
    requested |= {f"long {arm}": job(arm=arm, keeps=True, **LONG) for arm in LONG_ARMS}
    requested["bfloat16"] = job(arm="lico", precision="bfloat16")
    requested["resumed"] = job(arm="lico", train_limit=32, epochs=2, state=started)
    requested["odd"] = job(arm="lico", batch_size=15)
    requested["diverging"] = job(arm="lico_ot", train_limit=160, learning_rate=1e30)
    return requested


@pytest.fixture(scope="module")
def made(jobs, tmp_path_factory):
    results = in_processes([*jobs.values()], tmp_path_factory.mktemp("two"))
    return dict(zip(jobs, results, strict=True))


def compare(made, expected, *, atol: float, rtol: float):
    first, second = made
    assert furthest(first["weights"], second["weights"]) == 0  # the processes agree to the bit
    assert furthest(first["weights"], expected["weights"]) <= atol
    for (epoch, name, value), (*message, single) in zip(
        first["history"], expected["history"], strict=True
    ):
        assert [epoch, name] == message
        if name != "elapsed_s":
            assert value == pytest.approx(single, rel=rtol, abs=rtol), name


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("arm", list(ARMS))
def test_two_processes_update_as_one_does(arm: str, made, jobs):
    rtol = RTOL_OF.get(arm, RTOL_ONE_UPDATE)
    compare(made[arm], alone(jobs[arm]), atol=ATOL_ONE_UPDATE, rtol=rtol)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_an_update_moves_the_weights_by_far_more_than_the_tolerance(made):
    start = prepare(Recipe(**BASE, arm="lico"), device="cpu").classifier.state_dict()
    for arm in ARMS:
        assert furthest(made[arm][0]["weights"], start) > 100 * ATOL_ONE_UPDATE
    assert furthest(made["baseline"][0]["weights"], made["lico"][0]["weights"]) > ATOL_ONE_UPDATE


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("arm", LONG_ARMS)
def test_many_updates_stay_as_near_as_rounding_lets_them(arm: str, made, jobs):
    """With averaged weights and a bound on the gradient."""
    requested = jobs[f"long {arm}"]
    expected = alone(requested)
    state = prepare(Recipe(**requested["recipe"]), device="cpu").state()
    nudged = max(
        furthest(alone({**requested, "state": nudge(state, seed)})["weights"], expected["weights"])
        for seed in range(3)
    )
    first, second = made[f"long {arm}"]
    assert furthest(first["weights"], second["weights"]) == 0
    assert 0 < furthest(first["weights"], expected["weights"]) < TIMES_AS_FAR * nudged


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_bfloat16_differs_by_its_own_rounding(made, jobs):
    compare(made["bfloat16"], alone(jobs["bfloat16"]), atol=ATOL_BFLOAT16, rtol=0.3)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_one_process_goes_on_with_what_two_began_and_two_with_what_one_began(made, jobs):
    requested = jobs["long lico"]
    (state,) = made["long lico"][0]["states"]
    ended = alone({**requested, "state": state})
    whole = alone(requested)["weights"]
    together = furthest(made["long lico"][0]["weights"], whole)
    assert furthest(ended["weights"], whole) < max(10 * together, ATOL_ONE_UPDATE)
    compare(
        made["resumed"], alone(jobs["resumed"]), atol=10 * ATOL_ONE_UPDATE, rtol=RTOL_ONE_UPDATE
    )


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_what_cannot_be_trained_ends_every_process_with_the_same_sentence(made):
    for name, message in (("odd", "multiple of the 2 processes"), ("diverging", "not finite")):
        first, second = (result["error"] for result in made[name])
        assert first == second
        assert message in first


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"batch_size": 33}, "multiple of the 2 processes"), ({"compile": True}, "compiled")],
)
def test_a_recipe_that_cannot_be_shared_is_refused(recipe, changes, message: str):
    recipe = replace(recipe, arm="baseline", **changes)
    check_shareable(recipe, SINGLE_PROCESS)
    with pytest.raises(InvalidInputError, match=message):
        check_shareable(recipe, Peers(0, 2))


def test_too_few_images_for_the_batch_are_counted(recipe):
    check_shareable(recipe, Peers(0, 4), num_images=100)
    with pytest.raises(InvalidInputError, match="batch of 10 images"):
        check_shareable(recipe, Peers(0, 4), num_images=10)


@pytest.mark.parametrize("augmentation", ["none", "crop_flip", "resized_crop_flip"])
def test_parts_of_a_batch_are_the_batch(augmentation: str):
    data = load_dataset("cifar10", "train", source="standin", limit=12)
    order = [torch.tensor([3, 1, 4, 5, 9, 2]), torch.tensor([11, 0, 10, 6, 8, 7])]

    def batches(**options):
        generator = torch.Generator().manual_seed(3)
        return list(data.batches(order, augmentation=augmentation, generator=generator, **options))

    whole = batches()
    parts = [batches(part=(index, 3)) for index in range(3)]
    for number, (images, labels) in enumerate(whole):
        assert torch.equal(torch.cat([part[number][0] for part in parts]), images)
        assert all(torch.equal(part[number][1], labels) for part in parts)


def test_one_process_has_nothing_to_exchange():
    rows = torch.rand(4, 2)
    values = {"loss": torch.tensor(3.0)}
    assert SINGLE_PROCESS.part(rows) is rows
    assert SINGLE_PROCESS.gather(rows) is rows
    assert SINGLE_PROCESS.mean(values)["loss"] is values["loss"]
    assert SINGLE_PROCESS.maximum(3) == 3
    assert SINGLE_PROCESS.broadcast("state") == "state"
    assert SINGLE_PROCESS.run_on_all(lambda: 5) == 5
    assert Peers.from_process_group() is SINGLE_PROCESS


def test_unexpected_errors_become_lost_peers_and_known_errors_stay():
    message = r"process 1 of 2 .*RuntimeError: reset by peer"
    with pytest.raises(LostPeersError, match=message), Peers(1, 2).synchronised():
        raise RuntimeError("reset by peer\nmore")
    with pytest.raises(LicoBenchError, match=r"^diverged$"), Peers(1, 2).synchronised():
        raise LicoBenchError("diverged")
    with pytest.raises(RuntimeError, match="reset"), SINGLE_PROCESS.synchronised():
        raise RuntimeError("reset by peer")
