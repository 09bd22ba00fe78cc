"""What a student learns from a teacher: losses against their formulas, projections, checkpoints, bad teachers."""

import copy

import pytest
import torch
from torch import Tensor, nn

from repareto.spaces.conformer.space import ConformerSpace
from repareto.spaces.errors import UserError
from repareto.spaces.hidden import HiddenLayers, nearest_layers
from repareto.spaces.space import load_space
from repareto.spaces.sparsity.space import Sparsity
from repareto.trainers.distillation import SELF_SCHEDULE, Distiller, SelfDistiller, relative_distance
from repareto.trainers.losses import CrossEntropy, Ctc
from repareto.trainers.sparsity import sparsifier_of
from repareto.trainers.supervised import SupervisedTrainer, TrainingConfig
from repareto.trainers.tokens import padded
from tests.trainers.test_supervised import small_dataset

FEATURES = torch.randn(6, 4, 10, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def chain(width: int = 6, *, layers: int = 2, stride: int = 1, classes: int = 3, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    built: list[nn.Module] = []
    for index in range(layers):
        built += [nn.Conv1d(width if index else 4, width, 3, padding=1, stride=stride), nn.ReLU()]
    return nn.Sequential(*built, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, classes))


def trainer_of(distiller, model=None, sparsifier=None, **settings) -> SupervisedTrainer:
    config = TrainingConfig(**{"epochs": 4, "batch_size": 16, **settings})
    model = model or chain()
    torch.manual_seed(0)
    return SupervisedTrainer(model, small_dataset(), config, seed=0, sparsifier=sparsifier, distiller=distiller)


def test_the_loss_is_that_of_the_formula() -> None:
    student, teacher = chain(6), chain(8, seed=1)
    distiller = Distiller(teacher, logits=0.3, layers=0.7)
    distiller.start(student, FEATURES[:2], 10)
    loss = distiller.loss(CrossEntropy(0.0), student, FEATURES, LABELS)
    ours, aims = student(FEATURES), teacher(FEATURES).detach()
    softened = (aims / 2).softmax(1)
    divergence = (softened * (softened.log() - (ours / 2).log_softmax(1))).sum(1).mean()
    expected = nn.functional.cross_entropy(ours, LABELS) + 0.3 * 4 * divergence
    layers = []
    for place in (0, 2):
        hidden, other = student[: place + 1](FEATURES), teacher[: place + 1](FEATURES)
        # The projections are the identity at first: six of eight channels of the teacher are met.
        projected = nn.functional.pad(hidden, (0, 0, 0, 2))
        layers.append((projected - other).square().mean() / other.square().mean())
    torch.testing.assert_close(loss, expected + 0.7 * (layers[0] + layers[1]) / 2)


def test_only_the_student_and_its_projections_learn() -> None:
    student, teacher = chain(6), chain(8, seed=1)
    distiller = Distiller(teacher, logits=0.3, layers=0.7)
    distiller.start(student, FEATURES[:2], 10)
    distiller.loss(CrossEntropy(0.0), student, FEATURES, LABELS).backward()
    (group,) = distiller.parameter_groups()
    assert [parameter.shape for parameter in group["params"]] == [(8, 6), (8, 6)]
    assert all(parameter.grad.abs().sum() > 0 for parameter in (*group["params"], *student.parameters()))
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it() -> None:
    student = chain()
    distiller = Distiller(copy.deepcopy(student), logits=1.0, layers=1.0)
    distiller.start(student, FEATURES[:2], 10)
    loss = distiller.loss(CrossEntropy(0.0), student, FEATURES, LABELS)
    torch.testing.assert_close(loss, nn.functional.cross_entropy(student(FEATURES), LABELS))


def test_maps_of_other_sizes_are_compared_on_the_smaller_grid() -> None:
    values = torch.randn(2, 3, 4, 6)
    pooled = nn.functional.avg_pool2d(values, 2)
    assert relative_distance(nn.Identity(), values, pooled) < 1e-12
    assert relative_distance(nn.Identity(), pooled, values) < 1e-12
    assert relative_distance(nn.Identity(), 0 * values, values) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("layers", "others", "nearest"),
    [(2, 2, [0, 1]), (2, 4, [1, 3]), (4, 2, [0, 0, 1, 1]), (1, 3, [2]), (3, 1, [0, 0, 0])],
)
def test_the_nearest_layer(layers: int, others: int, nearest: list[int]) -> None:
    assert nearest_layers(layers, others) == nearest


def conformer(blocks: int, width: int, strides: int, **changes: object) -> nn.Module:
    space = ConformerSpace()
    own = {"blocks": blocks, "width": width, "strides": strides, "stochastic_depth": 0.0, "intermediate_weight": 0.3}
    torch.manual_seed(0)
    return space.build(space.candidate({**space.middle(), **own, **changes}), (8, 24), 4)


def test_a_conformer_learns_from_a_deeper_wider_and_finer_one() -> None:
    student, teacher = conformer(1, 16, 2), conformer(3, 24, 1)
    distiller = Distiller(teacher, logits=0.1, layers=0.9)
    features, labels = torch.randn(3, 8, 24), torch.from_numpy(padded([(1, 2), (3,), (2,)]))
    distiller.start(student, features[:2], 10)
    (group,) = distiller.parameter_groups()
    assert [parameter.shape for parameter in group["params"]] == [(24, 16)]
    loss = distiller.loss(Ctc(), student, features, labels)
    assert torch.isfinite(loss) and loss > Ctc()(student, features, labels)


def test_layers_that_were_passed_by_do_not_count() -> None:
    student, teacher = conformer(2, 16, 2, stochastic_depth=0.5), conformer(2, 16, 2)
    distiller = Distiller(teacher, logits=0.0, layers=1.0)
    features, labels = torch.randn(3, 8, 24), torch.from_numpy(padded([(1, 2), (3,), (2,)]))
    distiller.start(student, features[:2], 10)
    assert all(torch.isfinite(distiller.loss(Ctc(), student, features, labels)) for _ in range(8))


def test_divergence_of_transcripts_counts_by_the_token() -> None:
    logits, teacher = torch.randn(2, 2, 5, 4, dtype=torch.double)
    labels = torch.from_numpy(padded([(1,), (2, 3)]))
    aims, tried = (teacher / 2).softmax(2), (logits / 2).log_softmax(2)
    by_example = (aims * (aims.log() - tried)).sum((1, 2))
    expected = 4 * (by_example / torch.tensor([1.0, 2.0])).mean()
    torch.testing.assert_close(Ctc().divergence(logits, teacher, labels), expected.float(), check_dtype=False)


def test_a_teacher_that_answers_more_often_is_averaged() -> None:
    labels = torch.from_numpy(padded([(1,), (2, 3)]))
    logits = torch.randn(2, 3, 4)
    often = logits.repeat_interleave(2, dim=1)
    assert Ctc().divergence(logits, often, labels) < 1e-5
    assert Ctc().divergence(often, logits, labels) < 1e-5


def test_a_network_learns_from_what_it_was_when_pruning_began() -> None:
    sparsity = Sparsity("magnitude", "channel", (0.5,))
    distiller = SelfDistiller(logits=0.5, layers=0.5)
    trainer = trainer_of(distiller, sparsifier=sparsifier_of(sparsity, SELF_SCHEDULE), epochs=5)
    for _ in range(2):
        trainer.train_epoch()
    taken = distiller.state_dict()["teacher"]
    assert taken is not None, "40 % of five epochs"
    assert torch.equal(taken["6.weight"], trainer.model[6].weight), "nothing is out yet"
    trainer.train_epoch()
    assert all(torch.equal(taken[name], now) for name, now in distiller.state_dict()["teacher"].items())
    assert not torch.equal(taken["6.weight"], trainer.model[6].weight)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("epochs", [1, 3])
def test_goes_on_from_a_checkpoint_bit_for_bit(own: bool, epochs: int) -> None:
    def new() -> SupervisedTrainer:
        teacher = chain(8, seed=1)
        weights = {"logits": 0.2, "layers": 0.5}
        distiller = SelfDistiller(**weights) if own else Distiller(teacher, **weights)
        sparsity = Sparsity("magnitude", "channel", (0.5,))
        return trainer_of(distiller, sparsifier=sparsifier_of(sparsity, SELF_SCHEDULE))

    whole = new()
    for _ in range(epochs):
        whole.train_epoch()
    saved = copy.deepcopy(whole.state_dict())
    resumed = new()
    resumed.load_state_dict(saved)
    assert resumed.train_epoch().loss == whole.train_epoch().loss
    assert all(
        torch.equal(tensor, resumed.model.state_dict()[name]) for name, tensor in whole.model.state_dict().items()
    )


def test_a_teacher_helps_where_labels_are_wrong() -> None:
    """All labels are noise; a teacher that knows better shows what they should be."""
    taught = trainer_of(None, chain(12), epochs=8, learning_rate=1e-2)
    for _ in range(8):
        taught.train_epoch()
    teacher = taught.model.eval()
    distiller = Distiller(teacher, logits=5.0, layers=0.5)
    student = chain(6, layers=1, seed=3)
    trainer = trainer_of(distiller, student, epochs=8, learning_rate=1e-2)
    generator = torch.Generator().manual_seed(0)
    trainer._labels = torch.randint(0, 3, trainer._labels.shape, generator=generator)
    for _ in range(8):
        trainer.train_epoch()
    data = small_dataset()
    features, labels = torch.from_numpy(data.test.features), torch.from_numpy(data.test.labels)
    with torch.no_grad():
        right = (student.eval()(features).argmax(1) == labels).float().mean()
    assert right > 0.45, "chance is a third, the teacher makes two"


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (chain(), chain(classes=5), "the teacher answers (5,) and the student (3,): both must have the same classes"),
        (chain(), nn.Linear(3, 3), "the teacher does not take inputs of shape (4, 10)"),
        (Odd(), chain(), "space.distillation.layers: a network of type Odd has no layers that could be compared"),
        (chain(), nn.Sequential(nn.Unflatten(1, (4, 1)), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(40, 3)),
         "space.distillation.layers: the teacher's layers have other axes than the student's (set layers: 0)"),
    ],
)  # fmt: skip
def test_teachers_that_cannot_teach(student: nn.Module, teacher: nn.Module, message: str) -> None:
    with pytest.raises(UserError) as raised:
        Distiller(teacher, logits=0.1, layers=0.1).start(student, FEATURES[:2], 10)
    assert message in str(raised.value)


def test_a_network_without_layers_learns_answers_alone() -> None:
    distiller = Distiller(chain(), logits=0.1, layers=0.0)
    distiller.start(Odd(), FEATURES[:2], 10)
    assert distiller.parameter_groups() == []


def test_hooks_are_gone_after_recording() -> None:
    network = chain()
    layers = HiddenLayers(network)
    with layers.recorded() as first:
        network(FEATURES)
    kept = dict(first)
    network(FEATURES[:1])
    assert [output.shape for output in first.values()] == [output.shape for output in kept.values()]
    assert len(layers) == 2


def test_a_network_with_early_exits_learns_from_one_without() -> None:
    space = load_space({"name": "repcnn", "stages": 1, "width": 8, "blocks": 2, "exits": {"count": 1}})
    torch.manual_seed(0)
    student, features = space.build(space.middle(), (1, 8, 8), 3), torch.randn(6, 1, 8, 8)
    larger = load_space({"name": "repcnn", "stages": 2, "width": 12, "blocks": 1})
    teacher = larger.build(larger.middle(), (1, 8, 8), 3)
    distiller = Distiller(teacher, logits=0.5, layers=0.5)
    distiller.start(student, features[:2], 10)
    task = CrossEntropy(0.0)
    assert distiller.loss(task, student, features, LABELS) > task(student, features, LABELS)
