"""Training: equal to a plain loop, blind to global state, honest about what went wrong."""

from __future__ import annotations

import copy
import logging
import os
import random
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch

from scmods import training
from scmods.training import TrainingPlan, batches, train


class Net(torch.nn.Module):
    """Two layers, float64, squared error."""

    def __init__(self, seed: int = 0, width: int = 5) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.a = torch.nn.Parameter(torch.randn(3, width, generator=g, dtype=torch.float64))
        self.b = torch.nn.Parameter(torch.randn(width, 1, generator=g, dtype=torch.float64))

    def forward(self, x):
        return torch.tanh(x @ self.a) @ self.b

    def loss(self, batch):
        x, y = batch
        return (self(x) - y).square().mean()


class Noisy(Net):
    generator = None

    def loss(self, batch):
        x, y = batch
        noise = torch.randn(x.shape, generator=self.generator, dtype=x.dtype) if self.training else 0.0
        return (self(x + noise) - y).square().mean()


def data(n=50, seed=1):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=g, dtype=torch.float64)
    return x, x[:, :1] * x[:, 1:2]


def plain_loop(module, tensors, plan, optimizer):
    for epoch in range(plan.max_epochs):
        if plan.schedule == "cosine":
            optimizer.param_groups[0]["lr"] = plan.lr * (1 + np.cos(np.pi * epoch / plan.max_epochs)) / 2
        for batch in batches(tensors, plan.batch_size, seed=plan.seed, epoch=epoch):
            optimizer.zero_grad()
            module.loss(batch).backward()
            optimizer.step()
    return module


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
def test_equals_a_plain_loop(optimizer, schedule):
    plan = TrainingPlan(6, 0.05, 16, seed=3, optimizer=optimizer, schedule=schedule, weight_decay=0.1)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[optimizer]
    a, b = Net(), Net()
    train(a, data(), plan=plan)
    plain_loop(b, data(), plan, kind(b.parameters(), lr=plan.lr, weight_decay=0.1))
    torch.testing.assert_close(a.a, b.a, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(a.b, b.b, rtol=1e-10, atol=1e-10)
    assert (a.a - Net().a).abs().max() > 0.01


def test_same_seed_same_bits_and_other_seed_other_weights():
    states = []
    for seed in (0, 0, 1):
        module = Noisy()
        train(module, data(), plan=TrainingPlan(3, 0.05, 16, seed=seed))
        states.append(module.a.detach().clone())
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_global_generators_are_left_alone():
    def states():
        return torch.get_rng_state().clone(), str(np.random.get_state()), random.getstate()

    before = states()
    train(Noisy(), data(), plan=TrainingPlan(2, 0.05, 16), validation=data(20, 2))
    after = states()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


def test_module_comes_back_ready_for_use():
    module = Noisy()
    train(module, data(), plan=TrainingPlan(2, 0.05, 16))
    assert not module.training
    assert module.generator is None
    assert module.a.device.type == "cpu"
    copy.deepcopy(module)


@pytest.mark.parametrize("enabled", [True, False])
def test_gradient_mode_is_the_callers(enabled):
    module = Net()
    with torch.set_grad_enabled(enabled):
        train(module, data(), plan=TrainingPlan(2, 0.05, 16), validation=data(5))
        assert torch.is_grad_enabled() is enabled
    assert not torch.equal(module.a, Net().a)


@pytest.mark.parametrize("n", [33, 1100])
def test_validation_loss_is_the_mean_over_cells(n):
    # 1100 cells fall into one large and one small batch: the mean of the two batch means is another number
    x, y = data(n, 5)
    y[-5:] += 100.0
    module, seen = Net(), []
    history = train(
        module, data(), plan=TrainingPlan(1, 0.01, 32), validation=(x, y), on_epoch=lambda *a: seen.append(a)
    )
    exact = module.loss((x, y)).item()
    assert history.val_losses == pytest.approx([exact], rel=1e-12)
    assert seen == [(0, history.train_losses[0], history.val_losses[0])]


def test_best_validation_weights_are_kept():
    x, y = data(8, 5)
    module, states = Net(width=40), []
    history = train(
        module, (x, y + torch.randn(8, 1, generator=torch.Generator().manual_seed(0), dtype=x.dtype)),
        plan=TrainingPlan(40, 0.05, 8, schedule="constant"), validation=data(200, 6),
        on_epoch=lambda *_: states.append(module.a.detach().clone()),
    )  # fmt: skip
    best = int(np.argmin(history.val_losses))
    assert 0 < best < 39, "the example must overfit for this test to say anything"
    assert history.best_epoch == best
    assert torch.equal(module.a, states[best])


def test_early_stopping_waits_for_patience():
    plan = TrainingPlan(50, 0.05, 16, patience=3)
    losses = iter([5.0, 4.0, 4.5, 4.0, 4.2, *[9.0] * 50])
    history = train(
        Net(), data(), plan=plan, validation=data(4),
        validation_loss=lambda _: torch.tensor(next(losses)),
    )  # fmt: skip
    assert history.val_losses == pytest.approx([5.0, 4.0, 4.5, 4.0, 4.2])
    assert history.best_epoch == 1


def test_validation_sees_eval_mode_and_no_gradient():
    module, seen = Net(), []

    def check(batch):
        seen.append((module.training, torch.is_grad_enabled(), len(batch[0])))
        return torch.tensor(1.0)

    train(module, data(), plan=TrainingPlan(1, 0.05, 16), validation=data(7), validation_loss=check)
    assert seen == [(False, False, 7)]


def test_history_unpacks_to_two_lists():
    train_losses, val_losses = train(Net(), data(), plan=TrainingPlan(3, 0.05, 16))
    assert len(train_losses) == 3
    assert val_losses == []


def test_fewer_cells_than_a_batch():
    module = Net()
    history = train(module, data(5), plan=TrainingPlan(2, 0.05, 64), drop_last=True)
    assert len(history.train_losses) == 2
    assert not torch.equal(module.a, Net().a)


def test_batches_cover_every_row_once_in_a_new_order_each_epoch():
    x = torch.arange(10)
    first = torch.cat([b[0] for b in batches((x,), 4, seed=0, epoch=0)])
    second = torch.cat([b[0] for b in batches((x,), 4, seed=0, epoch=1)])
    assert first.tolist() != second.tolist()
    assert sorted(first.tolist()) == sorted(second.tolist()) == x.tolist()
    assert [len(b[0]) for b in batches((x,), 4, seed=0)] == [4, 4, 2]
    assert [len(b[0]) for b in batches((x,), 4, seed=0, drop_last=True)] == [4, 4]
    assert torch.cat([b[0] for b in batches((x,), 4)]).tolist() == x.tolist()


@pytest.mark.parametrize("n", [1, 7, 10, 12])
def test_devices_share_every_batch_evenly(n):
    x = torch.arange(n)
    parts = [[b[0] for b in batches((x,), 4, seed=2, rank=r, world_size=3)] for r in range(3)]
    whole = [b[0] for b in batches((x,), 4, seed=2)]
    assert [len(p) for p in parts] == [len(whole)] * 3
    for i, batch in enumerate(whole):
        lengths = {len(p[i]) for p in parts}
        assert len(lengths) == 1, "unequal parts would weigh cells differently"
        assert set(batch.tolist()) <= {int(v) for p in parts for v in p[i]}


def test_non_finite_loss_names_epoch_rate_and_input():
    x, y = data()
    x = x * 1e300
    with pytest.raises(
        FloatingPointError, match=r"became (inf|nan) in epoch 0 \(learning rate 0.5, largest absolute"
    ):
        train(Linear(), (x, y), plan=TrainingPlan(2, 0.5, 16))
    with pytest.raises(
        FloatingPointError, match="largest absolute input"
    ):  # a tensor without columns is no input
        train(Wide(), (x, y, x[:, :0]), plan=TrainingPlan(2, 0.5, 16))
    x[3] = torch.nan
    with pytest.raises(FloatingPointError, match="holds NaN or infinity"):
        train(Net(), (x, y), plan=TrainingPlan(2, 0.5, 16))


class Wide(Net):
    def loss(self, batch):
        return super().loss(batch[:2]) * torch.inf


class Linear(Net):
    def forward(self, x):
        return (x @ self.a).square() @ self.b


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"lr": -1.0}, ValueError, "`lr` is -1"),
        ({"lr": float("nan")}, ValueError, "`lr` is nan"),
        ({"max_epochs": 0}, ValueError, "`max_epochs` is 0"),
        ({"max_epochs": 2.5}, TypeError, "`max_epochs` is 2.5 of type float"),
        ({"batch_size": 0}, ValueError, "`batch_size` is 0"),
        ({"seed": -1}, ValueError, "`seed` is -1"),
        ({"optimizer": "adamm"}, ValueError, "Did you mean 'adam"),
        ({"schedule": "cos"}, ValueError, "`schedule` is 'cos'"),
        ({"weight_decay": -0.1}, ValueError, "`weight_decay` is -0.1"),
        ({"patience": 0}, ValueError, "`patience` is 0"),
        ({"min_delta": -0.1}, ValueError, "`min_delta` is -0.1"),
        ({"min_delta": "1"}, TypeError, "`min_delta` is '1' of type str"),
        ({"watch": "train"}, ValueError, "`watch` is 'train'.*Did you mean 'training'"),
    ],
)
def test_plan_refuses(change, kind, text):
    with pytest.raises(kind, match=text):
        TrainingPlan(**change)


def test_train_refuses():
    plan, (x, y) = TrainingPlan(1), data()
    with pytest.raises(TypeError, match="must be a tuple of tensors"):
        train(Net(), [x, y], plan=plan)
    with pytest.raises(ValueError, match=r"have \[50, 49\] rows"):
        train(Net(), (x, y[1:]), plan=plan)
    with pytest.raises(ValueError, match="`validation` has no cells. Hold out at least one"):
        train(Net(), (x, y), plan=plan, validation=(x[:0], y[:0]))
    with pytest.raises(ValueError, match="`patience` is 2, but there are no validation cells"):
        train(Net(), (x, y), plan=TrainingPlan(1, patience=2))
    with pytest.raises(ValueError, match="nothing to train"):
        train(Net().requires_grad_(False), (x, y), plan=plan)


def test_quiet_and_writes_nothing(tmp_path, monkeypatch, capfd, recwarn):
    monkeypatch.chdir(tmp_path)
    train(Net(), data(), plan=TrainingPlan(2, 0.05, 16), validation=data(5))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert [str(w.message) for w in recwarn] == []


def test_progress_is_one_line_a_second_at_most(caplog, monkeypatch):
    clock = iter(np.arange(0.0, 100.0, 0.3))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO, "scmods"):
        train(Net(), data(), plan=TrainingPlan(10, 0.05, 50, progress=True), validation=data(5))
    lines = [r.getMessage() for r in caplog.records if r.name == "scmods"]
    assert [line.split(":")[0] for line in lines] == [f"epoch {e} of 10" for e in (1, 5, 9, 10)]
    assert "validation" in lines[0]


def test_interrupt_ends_the_call_and_not_the_process():
    import signal

    def stop(*_):
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(Net(), data(), plan=TrainingPlan(3, 0.05, 16), on_epoch=stop)
    assert signal.getsignal(signal.SIGINT) is handler


def test_import_does_not_load_lightning():
    code = (
        "import sys, scmods.training as t; t.TrainingPlan(3); print({*sys.modules} & {'lightning', 'torch'})"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no distributed support")
def test_two_processes_give_the_weights_of_one(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            """
            import torch
            from scmods.training import TrainingPlan, train

            class Net(torch.nn.Module):
                def __init__(self):
                    super().__init__()
                    self.w = torch.nn.Parameter(torch.zeros(3, 1, dtype=torch.float64))
                def loss(self, batch):
                    return (batch[0] @ self.w - batch[1]).square().mean()

            if __name__ == "__main__":
                g = torch.Generator().manual_seed(0)
                x = torch.randn(48, 3, generator=g, dtype=torch.float64)
                y = x.sum(1, keepdim=True)
                held = x[:7] + 1, y[:7]
                out = []
                for extra in ({}, {"devices": 2, "strategy": "ddp_spawn"}):
                    net = Net()
                    history = train(net, (x, y), plan=TrainingPlan(3, 0.1, 16, **extra), validation=held)
                    out.append(torch.cat([net.w.detach().ravel(), torch.tensor(sum(history, []))]))
                print("difference", float((out[0] - out[1]).abs().max()), len(out[0]))
            """
        )
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, env=env, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    _, difference, size = done.stdout.split()[-3:]
    assert float(difference) < 1e-10
    assert int(size) == 9


@pytest.mark.parametrize("watch", ["training", "validation"])
def test_stops_on_the_loss_that_is_watched(watch):
    # one of the two losses stands still: only a plan that watches it stops
    class Flat(Net):
        def loss(self, batch):
            moving = super().loss(batch)
            return 0 * moving + 1.0 if watch == "training" else moving

    def held(_):
        held.value -= 1.0 if watch == "training" else 0.0
        return torch.tensor(held.value)

    held.value = 0.0
    plan = TrainingPlan(8, 0.05, 16, patience=2, watch=watch)
    assert len(train(Flat(), data(), plan=plan, validation=data(4), validation_loss=held).train_losses) == 3
    other = "validation" if watch == "training" else "training"
    plan = TrainingPlan(8, 0.05, 50, patience=2, watch=other, schedule="constant")
    assert len(train(Flat(), data(), plan=plan, validation=data(4), validation_loss=held).train_losses) == 8


def test_training_loss_is_watched_without_validation_cells():
    plan = TrainingPlan(30, 0.05, 50, patience=1, min_delta=1e6, watch="training")
    history = train(Net(), data(), plan=plan)
    assert len(history.train_losses) == 2
    assert history.best_epoch == 1, "the last weights are kept"


@pytest.mark.parametrize(("min_delta", "epochs"), [(0.0, 7), (0.5, 4)])
def test_small_gains_do_not_count(min_delta, epochs):
    losses = iter([5.0, 3.9, 3.6, 3.5, 3.4, 3.4, 3.4, *[9.0] * 9])
    plan = TrainingPlan(20, 0.05, 16, patience=2, min_delta=min_delta)
    history = train(
        Net(), data(), plan=plan, validation=data(4), validation_loss=lambda _: torch.tensor(next(losses))
    )
    assert len(history.val_losses) == epochs


def test_a_slow_gain_counts_once_it_is_large_enough():
    # measured against the last loss that was clearly better, so many small steps add up to one
    losses = iter([5.0, 4.7, 4.4, 4.1, 3.8, 3.5, *[3.4] * 9])
    plan = TrainingPlan(20, 0.05, 16, patience=2, min_delta=0.5)
    history = train(
        Net(), data(), plan=plan, validation=data(4), validation_loss=lambda _: torch.tensor(next(losses))
    )
    assert len(history.val_losses) == 7
    assert history.best_epoch == 6, "the best weights are kept, whatever the least gain"
