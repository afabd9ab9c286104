import copy
import math

import pytest
import torch
from torch import Tensor, nn

from visarch.performance import capture
from visarch.performance.capture import CapturedStep, StaticInputs, update_if_finite

CPU = torch.device("cpu")


# Static inputs


def examples() -> dict[str, Tensor]:
    return {
        "images": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "labels": torch.tensor([1, 2]),
    }


def test_inputs_are_copied_into_places_that_stay():
    first, second = examples(), {"images": torch.rand(2, 3, 4, 5), "labels": torch.tensor([3, 4])}
    static = StaticInputs(first)
    assert static.tensors["images"].is_contiguous(memory_format=torch.channels_last)
    for given in (first, second):
        places = [tensor.data_ptr() for tensor in static.tensors.values()]
        static.fill(given)
        assert [tensor.data_ptr() for tensor in static.tensors.values()] == places
        assert all(torch.equal(static.tensors[name], given[name]) for name in given)
        assert all(static.tensors[name] is not given[name] for name in given)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"images": torch.rand(3, 3, 4, 5)}, r"images of shape \(2, 3, 4, 5\) .* \(3, 3, 4, 5\)"),
        ({"images": torch.rand(2, 3, 4, 5).double()}, r"torch.float32 .* torch.float64"),
        ({"noise": torch.rand(1)}, "images, labels and is now given images, labels, noise"),
        ({"labels": None}, "images, labels and is now given images:"),
    ],
)
def test_other_inputs_are_refused_and_change_nothing(wrong, words):
    static = StaticInputs(examples())
    before = {name: tensor.clone() for name, tensor in static.tensors.items()}
    given = {name: t for name, t in (examples() | wrong).items() if t is not None}
    with pytest.raises(ValueError, match=words):
        static.fill(given)
    assert all(torch.equal(static.tensors[name], before[name]) for name in before)


# Captured steps, with a graph that records as one of CUDA's does: nothing is computed by that


class Graph:
    def __init__(self, device: torch.device) -> None:
        self.history: list[str] = []

    def warm_up(self, work):
        self.history.append("as it is written")
        return work()

    def capture(self, work):
        self.history.append("captured")
        self._work, self._outputs = work, {"loss": torch.empty(())}
        return self._outputs

    def replay(self) -> None:
        self.history.append("replayed")
        self._outputs["loss"].copy_(self._work()["loss"])


class Refusal(Graph):
    def capture(self, work):
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch):
    def pretend(kind: type[Graph]) -> None:
        monkeypatch.setattr(capture, "_Graph", kind)

    return pretend


def training() -> tuple[nn.Module, capture.Step]:
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(x: Tensor, rate: Tensor) -> dict[str, Tensor]:
        optimizer.zero_grad()
        loss = rate * model(x).square().mean()
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    return model, step


def batches() -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        {"x": torch.randn(4, 3, generator=generator), "rate": torch.tensor(1 / (1 + number))}
        for number in range(6)
    ]


def losses(device: torch.device, step: capture.Step) -> tuple[list[float], CapturedStep]:
    captured = CapturedStep(step, device)
    return [captured(**batch)["loss"].item() for batch in batches()], captured


@pytest.mark.parametrize("kind", [Graph, Refusal, None])
def test_each_call_does_its_work_once_however_it_is_done(graph, kind):
    if kind is not None:
        graph(kind)
    torch.manual_seed(0)
    model, step = training()
    expected = [step(**batch)["loss"].item() for batch in batches()]
    torch.manual_seed(0)
    other, again = training()
    found, captured = losses(CPU if kind is None else torch.device("cuda"), again)
    assert found == expected
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True)
    )
    assert captured.captures.value is (kind is Graph)


def test_it_is_captured_once_when_warm(graph):
    graph(Graph)
    _, captured = losses(torch.device("cuda"), training()[1])
    assert captured._graph.history == [*["as it is written"] * 3, "captured", *["replayed"] * 3]


def test_why_it_is_not_captured_is_told(graph):
    graph(Refusal)
    _, captured = losses(torch.device("cuda"), training()[1])
    assert captured.captures.reason.endswith("not permitted when stream is capturing")
    _, captured = losses(CPU, training()[1])
    assert captured.captures.reason == "there are no graphs on cpu"


def test_a_mistake_of_the_step_itself_is_not_hidden(graph):
    graph(Graph)

    def step(x: Tensor) -> dict[str, Tensor]:
        raise KeyError("x")

    with pytest.raises(KeyError):
        CapturedStep(step, torch.device("cuda"))(x=torch.rand(1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_replays_what_was_captured():
    device = torch.device("cuda")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1)).to(device)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=torch.tensor(0.1, device=device), fused=True, capturable=True
    )
    averages = dict(zip(model.parameters(), average.parameters(), strict=True))

    def step(x: Tensor, rate: Tensor, share: Tensor) -> dict[str, Tensor]:
        optimizer.param_groups[0]["lr"].copy_(rate)
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        norm, good = update_if_finite(optimizer, loss, averages, share, clip=1.0)
        return {"loss": loss.detach(), "norm": norm, "good": good}

    def run(step: capture.Step) -> tuple[list[float], list[Tensor]]:
        found = []
        for number in range(8):
            torch.cuda.manual_seed(number)
            x = torch.randn(16, 3, generator=torch.Generator().manual_seed(number)).to(device)
            numbers = torch.tensor([0.1 / (1 + number), 1 / (1 + number)], device=device)
            found.append(step(x=x, rate=numbers[0], share=numbers[1])["loss"].item())
        return found, [tensor.clone() for tensor in (*model.parameters(), *average.parameters())]

    start, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    expected, weights = run(step)
    model.load_state_dict(start)
    average.load_state_dict(start)
    optimizer.load_state_dict(state)
    captured = CapturedStep(step, device)
    found, same = run(captured)
    assert captured.captures.value, captured.captures.reason
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(same, weights)


# The update that is decided on the device


OPTIMIZERS = {
    "adamw": lambda weights: torch.optim.AdamW(weights, lr=0.01, fused=True),
    "sgd": lambda weights: torch.optim.SGD(
        weights, lr=0.1, momentum=0.9, nesterov=True, fused=True
    ),
}


def steps(name: str, gradients: list[float], *, ours: bool, clip: float) -> list[Tensor]:
    """Weights, averages and state after steps with gradients of these sizes."""
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4))]
    averages = [weight.detach().clone() for weight in weights]
    optimizer = OPTIMIZERS[name](weights)
    for number, size in enumerate(gradients):
        for weight in weights:
            weight.grad = size * torch.randn(weight.shape)
        loss, share = torch.tensor(size), 1 / (1 + number)
        if ours:
            pairs = dict(zip(weights, averages, strict=True))
            update_if_finite(optimizer, loss, pairs, torch.tensor(share), clip=clip)
        elif math.isfinite(size):
            nn.utils.clip_grad_norm_(weights, clip)
            optimizer.step()
            for weight, average in zip(weights, averages, strict=True):
                average.lerp_(weight.detach(), share)
    state = [tensor for weight in weights for tensor in optimizer.state[weight].values()]
    return [*weights, *averages, *state]


@pytest.mark.parametrize("clip", [math.inf, 1.0])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_update_is_clipping_then_the_optimizer_then_the_average(name, clip):
    gradients = [1.0, 0.01, 3.0]
    ours = steps(name, gradients, ours=True, clip=clip)
    expected = steps(name, gradients, ours=False, clip=clip)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("where", [0, 1])
def test_what_is_not_finite_changes_nothing(name, bad, where):
    """Not even when it is the first step of all; weights, state and averages stay to the bit."""
    gradients = [1.0, 2.0]
    gradients.insert(where, bad)
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.randn(5, 3))]
    average = torch.randn(5, 3)
    optimizer = OPTIMIZERS[name](weights)
    for size in gradients:
        weights[0].grad = size * torch.ones(5, 3)
        before = [weights[0].detach().clone(), average.clone()]
        state = copy.deepcopy(optimizer.state[weights[0]])
        pairs = {weights[0]: average}
        norm, good = update_if_finite(
            optimizer, torch.tensor(1.0), pairs, torch.tensor(0.5), clip=1.0
        )
        assert good.item() is math.isfinite(size)
        assert norm.item() == pytest.approx(size * math.sqrt(15), nan_ok=True)
        after = [weights[0].detach(), average]
        assert all(torch.equal(*pair) for pair in zip(before, after, strict=True)) is not (
            math.isfinite(size)
        )
        if not math.isfinite(size):
            found = optimizer.state[weights[0]]
            zero = torch.zeros(())
            assert all(torch.equal(found[k], state.get(k, zero.expand_as(found[k]))) for k in found)


def test_a_loss_that_is_not_finite_counts_as_well():
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    optimizer = OPTIMIZERS["adamw"]([weight])
    _, good = update_if_finite(
        optimizer, torch.tensor(math.nan), {weight: torch.zeros(3)}, torch.tensor(1.0)
    )
    assert not good
    assert torch.equal(weight, torch.ones(3))
