"""The training of the light network: what it learns from, that it goes on where it stood, and what it hands over."""

import numpy as np
import pytest
import tensorflow as tf

torch = pytest.importorskip("torch", reason="PyTorch comes with the extra `train`, which tests do without")
pytest.importorskip("sklearn", reason="scikit-learn comes with the extra `train`, which tests do without")

from benchmarks import subjects
from training.export import write
from training.networks import COMPONENTS, LIGHT, TAPS, Basis, Student, Teacher, gram
from training.pictures import Crops, collection
from training.pool import stack
from training.train import Training, losses

from styleserve.model.light import light
from styleserve.model.vgg import VggNetwork
from styleserve.model.weights import BLOCKS, kernel_shapes, untrained
from support.network import see, smooth
from training import beginning

FILTERS = {name: shape[3] for name, shape in kernel_shapes(BLOCKS).items()}


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return Student()


@pytest.fixture(scope="module")
def exported(student, tmp_path_factory):
    path = tmp_path_factory.mktemp("light") / "light.safetensors"
    write(path, student, Teacher(untrained()), {"teacher": "nobody"})
    return light(path)


def tensor(image):
    return torch.from_numpy(image.transpose(2, 0, 1)[np.newaxis].copy())


def test_the_service_sees_what_the_student_sees(student, exported):
    assert exported.blocks == LIGHT
    image = smooth(1, 64, 48)
    ours = see(VggNetwork(exported, tf.float32), image, list(TAPS), False)
    with torch.no_grad():
        own = student.see(tensor(image))
    for name in TAPS:
        expected = np.einsum("bchw,cd->bhwd", own[name].numpy(), exported.maps[name])
        np.testing.assert_allclose(ours[name], expected, atol=2e-3 * np.abs(expected).max())


def test_a_distance_of_gram_matrices_in_the_file_is_the_one_by_the_students_idea_of_its_teacher(student, exported):
    with torch.no_grad():
        images = [student.see(tensor(smooth(seed, 64, 64))) for seed in (1, 2)]
        for name in TAPS:
            ideas = [gram(student.maps[name](own[name])) for own in images]
            expected = float((ideas[0] - ideas[1]).norm() / ideas[1].norm())
            own = [exported.maps[name].T @ gram(seen[name])[0].numpy() @ exported.maps[name] for seen in images]
            assert np.linalg.norm(own[0] - own[1]) / np.linalg.norm(own[1]) == pytest.approx(expected, rel=0.01)


def test_no_picture_that_benchmarks_judge_by_is_trained_on():
    paintings = subjects.SHARED / "images" / "styles"
    kinds = collection(paintings if paintings.exists() else None, None)
    trained = {picture[::7, ::7].mean(): picture for pictures in kinds.values() for picture in pictures}
    for judged in subjects.photographs().values():
        assert all(picture.shape != judged.shape or not np.allclose(picture, judged) for picture in trained.values())
    assert len(kinds.get("paintings", [])) in (0, 2)


def test_crops_follow_their_seed_and_stay_in_range():
    kinds = collection(None, None)
    first, again, other = (stack(iter(Crops(kinds, 64, seed)), 20) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (20, 3, 64, 64)
    assert 0 <= float(first.min()) < float(first.max()) <= 1


def test_a_student_begins_nearer_to_its_teacher_than_at_random_and_learns():
    teacher = Teacher(untrained())
    chunks = stack(iter(Crops(collection(None, None), 64, 0)), 24).split(8)
    basis = Basis.of(teacher, chunks)
    assert {name: rows.shape[0] for name, rows in basis.rows.items()} == COMPONENTS
    wanted = basis.project(teacher.see(chunks[0]))
    energies = {name: float(values.square().mean()) for name, values in wanted.items()}
    torch.manual_seed(0)
    student = Student()
    by_chance = losses(student, chunks[0], wanted, energies)[0]
    beginning.begin(student, teacher, basis, chunks)
    begun = losses(student, chunks[0], wanted, energies)[0]
    assert bool((begun < by_chance).all())
    assert bool((begun < 1).all())


def test_a_training_goes_on_where_it_stood(tmp_path):
    torch.manual_seed(0)
    training = Training(tmp_path, steps=10, learning_rate=1e-3)
    training.basis = Basis({name: torch.zeros(number, FILTERS[name]) for name, number in COMPONENTS.items()})
    images = torch.rand(2, 3, 64, 64)
    wanted = {name: torch.rand_like(values) for name, values in training.student(images).items()}
    energies = dict.fromkeys(TAPS, 1.0)
    training.learn(images, wanted, energies)
    training.save()
    other = Training(tmp_path, steps=10, learning_rate=1e-3)
    assert other.resume()
    assert other.step == 1
    for one in (training, other):
        one.learn(images, wanted, energies)
    for name, values in training.student.state_dict().items():
        assert torch.equal(values, other.student.state_dict()[name]), name
