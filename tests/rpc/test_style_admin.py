"""The catalogue changes while the server runs: by callers, by the operator's files, and never by halves."""

import asyncio
import errno
import functools
import io
import os
import threading
import time

import grpc
import pytest
from PIL import Image

from styleserve import images
from styleserve.callers import token_sha256
from styleserve.catalog import created
from styleserve.errors import CatalogError
from styleserve.v1 import image_pb2, job_pb2, recipe_pb2, style_catalog_pb2, style_transfer_pb2
from support.rich_errors import refused
from support.service import GREY, png, request, running

SLOWLY = functools.partial(time.sleep, 0.02)
DOTS = "styles/dots"
WHITE = image_pb2.ImageSource(inline=png(1.0))


@pytest.fixture
async def service(tmp_path):
    async with running(tmp_path) as service:
        yield service


def create(style_id="dots", image=WHITE, **facts) -> style_catalog_pb2.CreateStyleRequest:
    style = style_catalog_pb2.Style(**{"title": "Dots", **facts})
    return style_catalog_pb2.CreateStyleRequest(style_id=style_id, style=style, image=image)


def delete(name=DOTS) -> style_catalog_pb2.DeleteStyleRequest:
    return style_catalog_pb2.DeleteStyleRequest(name=name)


def reload(validate_only=False) -> style_catalog_pb2.ReloadCatalogRequest:
    return style_catalog_pb2.ReloadCatalogRequest(validate_only=validate_only)


async def get(service, name=DOTS) -> style_catalog_pb2.Style:
    return (await service.catalog.GetStyle(style_catalog_pb2.GetStyleRequest(name=name))).style


async def names(service) -> list[str]:
    listed = await service.catalog.ListStyles(style_catalog_pb2.ListStylesRequest(page_size=1000))
    return [style.name for style in listed.styles]


async def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def painted(style: str, **fields) -> style_transfer_pb2.StylizeRequest:
    made = request(10, **fields)
    made.styles[0].style = style
    return made


async def test_a_created_style_is_listed_shown_and_painted_with(service):
    made = (await service.admin.CreateStyle(create(artist="A. Painter", tags=["dots"]))).style
    assert (made.name, made.title, made.artist, list(made.tags)) == (DOTS, "Dots", "A. Painter", ["dots"])
    assert made.origin == "runtime"
    assert DOTS in await names(service)
    shown = await get(service)
    assert (shown.version, shown.thumbnail.width) == (made.version, 32)
    job = (await service.transfer.Stylize(painted(DOTS))).job
    assert list(job.provenance.styles) == [f"{DOTS}@{made.version}"]


async def test_a_created_style_survives_a_restart_with_all_that_it_had(tmp_path):
    facts = {
        "title": 'Über: "dots" # 1\n\tand more \N{ARTIST PALETTE}',
        "artist": "null",
        "date": "1889",
        "source": "- [x]: {y}",
        "license": "CC0-1.0",
        "tags": ["yes", "1e3", "ünï"],
        "recipe": recipe_pb2.Recipe(
            preset="classic",
            optimizer=recipe_pb2.OPTIMIZER_LBFGS,
            iterations=0,
            weights=recipe_pb2.LossWeights(content=1e-05, style=1e9, total_variation=0.1),
            init=recipe_pb2.CANVAS_INIT_NOISE,
            color=recipe_pb2.COLOR_MODE_CONTENT_MATCHED,
            seed=2**63 - 1,
        ),
    }
    async with running(tmp_path) as service:
        made = (await service.admin.CreateStyle(create(**facts))).style
    async with running(tmp_path) as service:
        kept = await get(service)
    for style in (made, kept):
        assert {key: getattr(style, key) for key in facts} == facts
    assert kept.version == made.version
    assert sorted(path.name for path in (tmp_path / "data" / "styles").iterdir()) == ["dots.png", "dots.yaml"]


async def test_the_version_changes_with_image_and_settings_only(service):
    made = [
        (await service.admin.CreateStyle(asked)).style.version
        for asked in (
            create("one"),
            create("two", title="Another"),
            create("three", recipe=recipe_pb2.Recipe(iterations=3)),
            create("four", image_pb2.ImageSource(inline=png(0.9))),
        )
    ]
    assert made[0] == made[1]
    assert len(set(made)) == 3


async def test_an_uploaded_image_makes_a_style_too_and_one_that_is_not_there_is_told(service):
    job = (await service.transfer.Stylize(request())).job
    made = (await service.admin.CreateStyle(create(image=image_pb2.ImageSource(image=job.result.image)))).style
    assert made.name == DOTS
    missing = create("other", image_pb2.ImageSource(image="images/" + "0" * 64))
    code, reason, _ = await refused(service.admin.CreateStyle(missing))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "IMAGE_NOT_FOUND")


async def test_everything_wrong_with_a_new_style_is_told_at_once_and_nothing_is_kept(service, tmp_path):
    asked = create(
        "No Name",
        image_pb2.ImageSource(inline=b"no image"),
        title="",
        artist="x" * 501,
        source="\x1b[2J",
        tags=["ok", "y" * 65, ""],
        recipe=recipe_pb2.Recipe(preset="best", iterations=-1, optimizer=99, weights={"content": float("nan")}),
    )
    code, reason, (bad,) = await refused(service.admin.CreateStyle(asked))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert {(one.field, one.reason) for one in bad.field_violations} == {
        ("style_id", "BAD_FORMAT"),
        ("image", "IMAGE_UNKNOWN_FORMAT"),
        ("style.title", "REQUIRED"),
        ("style.artist", "TOO_LONG"),
        ("style.source", "BAD_FORMAT"),
        ("style.tags[1]", "TOO_LONG"),
        ("style.tags[2]", "REQUIRED"),
        ("style.recipe.preset", "UNKNOWN_VALUE"),
        ("style.recipe.iterations", "OUT_OF_RANGE"),
        ("style.recipe.optimizer", "UNKNOWN_VALUE"),
        ("style.recipe.weights.content", "OUT_OF_RANGE"),
    }
    _, _, (bad,) = await refused(service.admin.CreateStyle(style_catalog_pb2.CreateStyleRequest()))
    assert {one.field for one in bad.field_violations} == {"style_id", "image", "style.title"}
    assert not list((tmp_path / "data" / "styles").iterdir())


async def test_a_style_asks_for_no_more_iterations_than_the_server_allows(tmp_path):
    async with running(tmp_path, max_iterations=50) as service:
        asked = create(recipe=recipe_pb2.Recipe(iterations=51))
        _, _, (bad,) = await refused(service.admin.CreateStyle(asked))
    assert [one.field for one in bad.field_violations] == ["style.recipe.iterations"]


async def test_the_largest_images_that_come_together_are_decoded_two_at_a_time(service, monkeypatch):
    drawn = io.BytesIO()
    Image.new("L", (6300, 6300)).save(drawn, "PNG")
    largest = image_pb2.ImageSource(inline=drawn.getvalue())
    three_at_once, measure = threading.Barrier(3), images.measure

    def meet(*arguments):
        three_at_once.wait(timeout=1)
        return measure(*arguments)

    monkeypatch.setattr(images, "measure", meet)
    calls = [service.admin.CreateStyle(create(f"large-{number}", largest)) for number in range(3)]
    await asyncio.gather(*calls, return_exceptions=True)
    assert three_at_once.broken


async def test_the_bytes_of_a_new_style_count_as_its_callers(tmp_path):
    callers = tmp_path / "callers.yaml"
    digest = token_sha256("curator's")
    callers.write_text(
        f"callers: {{curator: {{token_sha256: [{digest}], scopes: [admin], max_bytes_per_minute: 1000B}}}}"
    )
    curator = (("authorization", "Bearer curator's"),)
    large = image_pb2.ImageSource(inline=png(1.0) + b"\0" * 1500)
    async with running(tmp_path, callers=callers) as service:
        await service.admin.CreateStyle(create("one", large), metadata=curator)
        code, reason, _ = await refused(service.admin.CreateStyle(create("two"), metadata=curator))
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
        await service.admin.DeleteStyle(delete("styles/one"), metadata=curator)


async def test_a_name_that_is_taken_is_refused(service):
    await service.admin.CreateStyle(create())
    for style_id in ("dots", "mosaic"):
        code, reason, (resource,) = await refused(service.admin.CreateStyle(create(style_id)))
        assert (code, reason) == (grpc.StatusCode.ALREADY_EXISTS, "STYLE_EXISTS")
        assert (resource.resource_type, resource.resource_name) == ("styleserve.v1.Style", f"styles/{style_id}")


async def test_of_two_who_create_the_same_name_at_once_one_does(service):
    calls = [service.admin.CreateStyle(create(title=f"Dots {number}")) for number in range(8)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    (winner,) = [answer for answer in answers if not isinstance(answer, BaseException)]
    losers = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert {loser.code() for loser in losers} == {grpc.StatusCode.ALREADY_EXISTS}
    assert len(losers) == 7
    assert (await get(service)).title == winner.style.title


async def test_a_deleted_style_is_gone_for_good_and_its_name_is_free(tmp_path):
    async with running(tmp_path) as service:
        await service.admin.CreateStyle(create())
        await service.admin.DeleteStyle(delete())
        assert DOTS not in await names(service)
        assert not list((tmp_path / "data" / "styles").iterdir())
        code, reason, _ = await refused(service.admin.DeleteStyle(delete()))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "STYLE_NOT_FOUND")
    async with running(tmp_path) as service:
        assert DOTS not in await names(service)
        assert (await service.admin.CreateStyle(create())).style.name == DOTS


async def test_a_style_of_the_operators_is_not_deleted(service):
    for name, origin in (("styles/mosaic", "builtin"), (GREY, "styles")):
        code, reason, _ = await refused(service.admin.DeleteStyle(delete(name)))
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "STYLE_READ_ONLY")
        assert (await get(service, name)).origin == origin


async def test_a_version_that_is_named_is_the_only_one_deleted(service):
    made = (await service.admin.CreateStyle(create())).style
    for version in ("000000000000", ""):
        _, reason, _ = await refused(service.admin.DeleteStyle(delete(f"{DOTS}@{version}")))
        assert reason == "STYLE_NOT_FOUND"
    await service.admin.DeleteStyle(delete(f"{DOTS}@{made.version}"))
    assert DOTS not in await names(service)


@pytest.mark.parametrize("num_writes", [0, 1])
async def test_a_full_disk_is_told_and_leaves_nothing_behind(service, tmp_path, monkeypatch, num_writes):
    write, done = created.write_durably, []

    def fill_up(place, data):
        if len(done) >= num_writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(place)
        write(place, data)

    monkeypatch.setattr(created, "write_durably", fill_up)
    code, reason, _ = await refused(service.admin.CreateStyle(create()))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "STORAGE_UNAVAILABLE")
    assert not list((tmp_path / "data" / "styles").iterdir())
    assert DOTS not in await names(service)
    monkeypatch.undo()
    assert (await service.admin.CreateStyle(create())).style.name == DOTS


async def test_a_caller_who_leaves_does_not_tear_disk_and_catalogue_apart(service, tmp_path, monkeypatch):
    write = created.write_durably

    def write_slowly(place, data):
        time.sleep(0.1)
        write(place, data)

    monkeypatch.setattr(created, "write_durably", write_slowly)
    call = service.admin.CreateStyle(create())

    async def is_begun() -> bool:
        return bool(list((tmp_path / "data" / "styles").iterdir()))

    await until(is_begun)
    call.cancel()
    await service.admin.ReloadCatalog(reload())
    assert DOTS in await names(service)


async def test_a_half_written_style_is_no_style_and_a_broken_one_is_named_at_the_start(tmp_path):
    folder = tmp_path / "data" / "styles"
    folder.mkdir(parents=True)
    (folder / "orphan.png").write_bytes(png(0.5))
    (folder / ".x7.partial").write_bytes(b"half")
    async with running(tmp_path) as service:
        assert "styles/orphan" not in await names(service)
        assert not (folder / ".x7.partial").exists()
    (folder / "broken.yaml").write_text("title: Broken\nimage: none.png\n")
    with pytest.raises(CatalogError, match=str(folder / "broken.yaml")):
        async with running(tmp_path):
            pass


async def test_a_reload_tells_what_is_new_what_changed_and_what_is_gone(service, tmp_path):
    styles = tmp_path / "styles"
    before = await get(service, GREY)
    (styles / "new.yaml").write_text("title: New\nimage: grey.png\n")
    (styles / "plain-grey.yaml").write_text("title: Grey\nimage: grey.png\nrecipe: {iterations: 3}\n")
    (styles / "far-away.yaml").unlink()
    for _ in range(2):
        found = await service.admin.ReloadCatalog(reload(validate_only=True))
        assert (found.added, found.changed, found.removed) == (["styles/new"], [GREY], ["styles/far-away"])
    assert (await get(service, GREY)).version == before.version
    assert "styles/new" not in await names(service)
    assert await service.admin.ReloadCatalog(reload()) == found
    assert (await get(service, GREY)).version != before.version
    assert "styles/far-away" not in await names(service)
    assert await service.admin.ReloadCatalog(reload()) == style_catalog_pb2.ReloadCatalogResponse()


async def test_a_reload_reads_the_folder_of_created_styles_too(service, tmp_path):
    (tmp_path / "data" / "styles" / "put.png").write_bytes(png(0.3))
    (tmp_path / "data" / "styles" / "put.yaml").write_text("title: Put there\nimage: put.png\n")
    _, reason, _ = await refused(service.admin.CreateStyle(create("put")))
    assert reason == "STYLE_EXISTS"
    assert (await service.admin.ReloadCatalog(reload())).added == ["styles/put"]
    assert (await get(service, "styles/put")).origin == "runtime"


async def test_a_reload_finds_a_pack_that_was_installed_meanwhile(service, tmp_path, monkeypatch):
    site = tmp_path / "site"
    (site / "later_styles").mkdir(parents=True)
    monkeypatch.syspath_prepend(site)
    assert (await service.admin.ReloadCatalog(reload())).added == []
    (site / "later_styles" / "__init__.py").write_text("raise RuntimeError\n")
    (site / "later_styles" / "later.png").write_bytes(png(0.3))
    (site / "later_styles" / "later.yaml").write_text("title: Later\nimage: later.png\n")
    (site / "later-1.dist-info").mkdir()
    (site / "later-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: later\nVersion: 1\n")
    (site / "later-1.dist-info" / "entry_points.txt").write_text("[styleserve.styles]\nlater = later_styles\n")
    assert (await service.admin.ReloadCatalog(reload())).added == ["styles/later"]


@pytest.mark.parametrize("validate_only", [False, True])
async def test_a_broken_file_keeps_the_whole_catalogue_and_every_problem_is_told(service, tmp_path, validate_only):
    styles = tmp_path / "styles"
    before = await names(service)
    (styles / "new.yaml").write_text("title: New\nimage: grey.png\n")
    (styles / "broken.yaml").write_text("titel: Broken\nimage: none.png\nrecipe: {seed: -1, 7: 8}\n")
    (styles / "mosaic.yaml").write_text("title: Mine\nimage: grey.png\n")
    code, reason, (failure,) = await refused(service.admin.ReloadCatalog(reload(validate_only)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CATALOG_INVALID")
    told = [f"{one.subject}: {one.description}" for one in failure.violations]
    for part in (
        "styles/broken.yaml: unknown key 'titel'",
        "styles/broken.yaml: title: got none",
        "styles/broken.yaml: image: got 'none.png'",
        "styles/broken.yaml: recipe.seed",
        "styles/broken.yaml: recipe: unknown key 7",
        "styles/mosaic.yaml: the style 'mosaic' is also in builtin/mosaic.yaml",
    ):
        assert any(line.startswith(part) for line in told), (part, told)
    assert str(tmp_path) not in str(failure)
    assert await names(service) == before


async def test_a_file_that_would_keep_its_reader_waiting_is_a_problem_like_another(service, tmp_path):
    os.mkfifo(tmp_path / "styles" / "pipe.yaml")
    _, reason, (failure,) = await refused(service.admin.ReloadCatalog(reload()))
    assert reason == "CATALOG_INVALID"
    assert [one.description for one in failure.violations] == ["not a regular file"]
    assert (await service.admin.CreateStyle(create())).style.name == DOTS


async def test_styles_change_while_the_folder_of_their_images_is_gone(tmp_path):
    folder = tmp_path / "paintings"
    folder.mkdir()
    async with running(tmp_path, style_images=folder) as service:
        folder.rmdir()
        assert (await service.admin.CreateStyle(create())).style.name == DOTS
        assert (await get(service, "styles/far-away")).name == "styles/far-away"
        await service.admin.DeleteStyle(delete())
        await service.admin.ReloadCatalog(reload())
        assert DOTS not in await names(service)


async def test_a_thousand_problems_fit_into_an_answer(service, tmp_path):
    for number in range(300):
        (tmp_path / "styles" / f"broken-{number}.yaml").write_text("image: " + "x" * 1000)
    _, reason, (failure,) = await refused(service.admin.ReloadCatalog(reload()))
    assert reason == "CATALOG_INVALID"
    assert failure.ByteSize() < 3500
    assert str(600 - len(failure.violations) + 1) in failure.violations[-1].description


async def test_jobs_that_run_and_wait_keep_the_version_that_they_began_with(tmp_path):
    async with running(tmp_path, functools.partial(time.sleep, 0.08), max_running=1) as service:
        await service.admin.CreateStyle(create(recipe=recipe_pb2.Recipe(preset="classic")))
        before = (await service.transfer.Stylize(painted(DOTS))).job
        jobs = [(await service.transfer.Stylize(painted(DOTS, detached=True))).job.name for _ in range(2)]
        await service.wait_for(jobs[0], job_pb2.JOB_STATE_RUNNING)
        await service.admin.DeleteStyle(delete())
        await service.admin.CreateStyle(create(image=image_pb2.ImageSource(inline=png(0.9))))
        (tmp_path / "styles" / "grey.png").write_bytes(png(0.1, 20, 20))
        await service.admin.ReloadCatalog(reload())
        ended = [await service.wait_for(name, job_pb2.JOB_STATE_SUCCEEDED) for name in jobs]
        after = (await service.transfer.Stylize(painted(DOTS))).job
    for job in ended:
        assert job.provenance.styles == before.provenance.styles != after.provenance.styles
        assert job.progress.losses == before.progress.losses != after.progress.losses


async def test_targets_of_new_and_changed_styles_become_ready(service, tmp_path):
    async def is_ready(name: str) -> bool:
        return (await get(service, name)).targets_ready

    await until(functools.partial(is_ready, GREY))
    await service.admin.CreateStyle(create())
    await until(functools.partial(is_ready, DOTS))
    (tmp_path / "styles" / "grey.png").write_bytes(png(0.1, 20, 20))
    await service.admin.ReloadCatalog(reload())
    await until(functools.partial(is_ready, GREY))


async def test_a_watched_folder_is_reloaded_by_itself_and_a_broken_file_keeps_the_catalogue(tmp_path, caplog):
    styles = tmp_path / "styles"
    async with running(tmp_path, watch=True) as service:

        async def has(name: str) -> bool:
            return name in await names(service)

        async def is_complained_of() -> bool:
            return "broken.yaml" in caplog.text

        (styles / "new.yaml").write_text("title: New\nimage: grey.png\n")
        await until(functools.partial(has, "styles/new"))
        (styles / "broken.yaml").write_text("title: [\n")
        (styles / "other.yaml").write_text("title: Other\nimage: grey.png\n")
        await until(is_complained_of)
        assert await has("styles/new")
        assert not await has("styles/other")
        (styles / "broken.yaml").unlink()
        await until(functools.partial(has, "styles/other"))


async def test_a_watched_folder_that_is_put_in_the_place_of_another_is_watched_on(tmp_path):
    styles = tmp_path / "styles"
    async with running(tmp_path, watch=True) as service:

        async def has(name: str) -> bool:
            return name in await names(service)

        styles.rename(tmp_path / "old")
        styles.mkdir()
        (styles / "grey.png").write_bytes(png(0.6))
        for style_id in ("first", "second"):
            (styles / f"{style_id}.yaml").write_text("title: New\nimage: grey.png\n")
            await until(functools.partial(has, f"styles/{style_id}"))
        assert not await has(GREY)
