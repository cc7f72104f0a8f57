"""The training of the light network: what it learns from, that it goes on where it stood, and what it hands over."""

from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

torch = pytest.importorskip("torch", reason="PyTorch comes with the extra `train`, which tests do without")

from benchmarks import subjects
from training.easels import Easels
from training.export import mean_of, write
from training.networks import COMPONENTS, LIGHT, STYLE_LAYERS, TAPS, Basis, Student, Teacher, gram, relative
from training.pictures import Crops, collection
from training.pool import stack
from training.scenes import Scenes, errors, gradients
from training.train import Lesson, Lessons, Shares, Training, losses, run

from styleserve.model.light import light
from styleserve.model.vgg import VggNetwork
from styleserve.model.weights import BLOCKS, kernel_shapes, untrained
from support.network import see, smooth
from training import beginning

#: A photograph of the collection is scikit-learn's.
needs_collection = pytest.mark.skipif(
    find_spec("sklearn") is None, reason="scikit-learn comes with the extra `train`, which tests do without"
)
CPU = torch.device("cpu")
FILTERS = {name: shape[3] for name, shape in kernel_shapes(BLOCKS).items()}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """More would wait for each other beside other tests: steps of milliseconds took seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return Student()


@pytest.fixture(scope="module")
def exported(student, tmp_path_factory):
    path = tmp_path_factory.mktemp("light") / "light.safetensors"
    write(path, student, Teacher(untrained(), CPU), {"teacher": "nobody"})
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
        expected = own[name].numpy().transpose(0, 2, 3, 1)
        np.testing.assert_allclose(ours[name], expected, atol=2e-3 * np.abs(expected).max())


def test_a_distance_of_gram_matrices_in_the_file_is_the_one_by_the_students_idea_of_its_teacher(student, exported):
    with torch.no_grad():
        images = [student.see(tensor(smooth(seed, 64, 64))) for seed in (1, 2)]
        for name in TAPS:
            ideas = [gram(student.maps[name](own[name])) for own in images]
            expected = float((ideas[0] - ideas[1]).norm() / ideas[1].norm())
            own = [exported.maps[name].T @ gram(seen[name])[0].numpy() @ exported.maps[name] for seen in images]
            assert np.linalg.norm(own[0] - own[1]) / np.linalg.norm(own[1]) == pytest.approx(expected, rel=0.01)


@needs_collection
def test_no_picture_that_benchmarks_judge_by_is_trained_on():
    paintings = subjects.SHARED / "images" / "styles"
    kinds = collection(paintings if paintings.exists() else None)
    trained = {picture[::7, ::7].mean(): picture for pictures in kinds.values() for picture in pictures}
    for judged in subjects.photographs().values():
        assert all(picture.shape != judged.shape or not np.allclose(picture, judged) for picture in trained.values())
    assert len(kinds.get("paintings", [])) in (0, 2)


@needs_collection
def test_crops_follow_their_seed_and_stay_in_range():
    kinds = collection(None)
    first, again, other = (stack(iter(Crops(kinds, 64, seed)), 20, CPU) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (20, 3, 64, 64)
    assert 0 <= float(first.min()) < float(first.max()) <= 1


@needs_collection
def test_a_student_begins_nearer_to_its_teacher_than_at_random_and_learns():
    teacher = Teacher(untrained(), CPU)
    chunks = stack(iter(Crops(collection(None), 64, 0)), 24, CPU).split(8)
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
    training = Training(tmp_path, steps=10, learning_rate=1e-3, device=CPU)
    training.basis = Basis({name: torch.zeros(number, FILTERS[name]) for name, number in COMPONENTS.items()})
    images = torch.rand(2, 3, 64, 64)
    wanted = {name: torch.rand_like(values) for name, values in training.student(images).items()}
    energies = dict.fromkeys(TAPS, 1.0)
    lesson = Lesson(images, wanted)
    training.learn(lesson, energies)
    training.save()
    other = Training(tmp_path, steps=10, learning_rate=1e-3, device=CPU)
    assert other.resume()
    assert other.step == 1
    for one in (training, other):
        one.learn(lesson, energies)
    for name, values in training.student.state_dict().items():
        assert torch.equal(values, other.student.state_dict()[name]), name


@pytest.mark.parametrize(("steps", "told"), [((2,), [2]), ((5,), [3, 5]), ((6,), [3, 6]), ((4, 8), [3, 4, 6, 8])])
def test_all_steps_are_kept_the_last_ones_too(tmp_path, monkeypatch, steps, told):
    """Each time by the mean of the steps since: each step's errors are its own number."""
    monkeypatch.setattr("training.train._SAVE_EVERY", 3)
    monkeypatch.setattr("training.train._NUM_ERRORS", 4)

    class Counting(Training):
        def learn(self, lesson, energies):
            self.step += 1
            return torch.full((4,), float(self.step))

    for number in steps:
        training = Counting(tmp_path, number, 1e-3, CPU)
        training.basis = Basis({})
        training.resume()
        run(training, SimpleNamespace(next=lambda: None, energies={}))
        resumed = Counting(tmp_path, number, 1e-3, CPU)
        assert resumed.resume()
        assert resumed.step == number
    rows = [row.split(",") for row in (tmp_path / "log.csv").read_text().splitlines()[1:]]
    assert [int(row[0]) for row in rows] == told
    begun = [0, *told[:-1]]
    means = [(first + 1 + last) / 2 for first, last in zip(begun, told, strict=True)]
    assert [float(row[-1]) for row in rows] == means


def test_gradients_of_a_scene_are_those_of_its_relative_distances():
    torch.manual_seed(0)
    weights = torch.randn(8, 3, 3, 3, dtype=torch.float64)
    names = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block4_conv2", "block5_conv1")

    def seen(images):
        return {name: torch.conv2d(images, weights * number, padding=1) ** 2 for number, name in enumerate(names, 1)}

    canvas, content, style = torch.rand(3, 1, 3, 6, 6, dtype=torch.float64)

    def distances(image):
        own, of_content, of_style = seen(image), seen(content)["block4_conv2"], seen(style)
        of_styles = [
            float((gram(own[name]) - gram(of_style[name])).norm() / gram(of_style[name]).norm())
            for name in names
            if name != "block4_conv2"
        ]
        of_contents = float((own["block4_conv2"] - of_content).norm() / of_content.norm())
        return np.array([np.mean(of_styles), of_contents])

    direction = torch.randn_like(canvas)
    expected = (distances(canvas + 1e-6 * direction) - distances(canvas - 1e-6 * direction)) / 2e-6
    found = gradients(seen, canvas, content, style, is_learnt=False)
    assert [float((gradient * direction).sum()) for gradient in found] == pytest.approx(expected, rel=1e-5)


@needs_collection
def test_gradients_are_learnt_where_they_count(tmp_path):
    """A student whose example are its own gradients errs by nothing; another comes nearer to it where they count."""
    torch.manual_seed(0)
    teacher, untaught = Student(), Student().state_dict()
    random = np.random.default_rng(0)
    easels = Easels(iter(Crops(collection(None), 48, 0)), 6, random, CPU)
    scenes = Scenes(SimpleNamespace(see=teacher), easels, teacher, 6).sample(4, random)
    assert scenes.shape == (4, 5, 3, 48, 48)
    assert errors(teacher, scenes).tolist() == pytest.approx([0, 0], abs=1e-4)
    images = scenes[:, 0]
    with torch.no_grad():
        lesson = Lesson(images, teacher(images), scenes)
    energies = {name: float(values.square().mean()) for name, values in lesson.wanted.items()}
    erring = []
    for share in (0.0, 10.0):
        pupil = Training(tmp_path, steps=10, learning_rate=1e-2, device=CPU, shares=Shares(gradients=share))
        pupil.student.load_state_dict(untaught)
        for _ in range(10):
            pupil.learn(lesson, energies)
        erring.append(errors(pupil.student, scenes).tolist())
    assert all(learnt < other for learnt, other in zip(erring[1], erring[0], strict=True)), erring


def style_distances(student, images, styles):
    with torch.no_grad():
        own, of_styles = student(images), student(styles)
    return torch.stack([relative(gram(own[name]), gram(of_styles[name])) for name in STYLE_LAYERS]).mean(0)


@needs_collection
def test_what_stands_on_an_easel_comes_nearer_to_its_style_as_the_student_sees_it(student):
    easels = Easels(iter(Crops(collection(None), 48, 0)), 6, np.random.default_rng(0), CPU)
    moved = [easels.move(student) for _ in range(9)]
    canvases, contents, styles = easels.show(24).unbind(1)
    before, after = style_distances(student, contents, styles), style_distances(student, canvases, styles)
    assert bool((after < before).all()), (before, after)
    assert all(float(seen.min()) >= 0 and float(seen.max()) <= 1 for seen in moved)


@needs_collection
def test_easels_take_turns_and_another_canvas_takes_the_place_of_one_that_is_done(student, monkeypatch):
    monkeypatch.setattr("training.easels._LIVES", (2, 3))
    easels = Easels(iter(Crops(collection(None), 48, 0)), 12, np.random.default_rng(0), CPU)

    def contents():
        return {float(content.sum()) for content in easels.show(200)[:, 1]}

    easels.move(student)
    assert len(contents()) == 6, "one half has moved"
    for _ in range(3):
        easels.move(student)
    first = contents()
    assert len(first) == 12, "the other half too"
    for _ in range(2):
        easels.move(student)
    assert not first & contents(), "every canvas had two moves, and went"


@pytest.mark.parametrize("canvases", [0.0, 1.0])
@needs_collection
def test_lessons_hold_what_the_student_paints_where_that_counts(student, monkeypatch, canvases):
    monkeypatch.setattr("training.train.POOL_SIZE", 16)
    monkeypatch.setattr("training.train.NUM_EASELS", 6)
    drawn = set()

    def crops():
        for crop in Crops(collection(None), 48, 0):
            drawn.add(float(crop.astype(np.float64).sum()))
            yield crop

    teacher, taken = Teacher(untrained(), CPU), crops()
    basis = Basis.of(teacher, [stack(taken, 4, CPU)])
    random = np.random.default_rng(0)
    lessons = Lessons(teacher, student, basis, taken, random, Shares(canvases=canvases), batch=16)
    shown = [lessons.next() for _ in range(3)][-1].images
    painted = [image for image in shown if not np.isclose(float(image.double().sum()), list(drawn), rtol=1e-9).any()]
    assert len(painted) == 6 * canvases


def test_the_mean_of_two_students_is_that_of_their_numbers():
    one, other = ({"map": torch.tensor(numbers)} for numbers in ([1.0, 2.0], [3.0, 6.0]))
    assert mean_of([one, other])["map"].tolist() == [2.0, 4.0]
