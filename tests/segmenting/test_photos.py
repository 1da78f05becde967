"""Names of photos and of their results: sorted, unique, the same for every shard and when resuming."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from eovseg.errors import ImageError
from eovseg.formats import FILES, WRITERS
from eovseg.photo_folders import PHOTO_SUFFIXES
from eovseg.result import file_of
from eovseg.segmenting.photos import Photo, list_photos, version


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def targets(photos: list[Photo]) -> dict[str, str]:
    return {Path(photo.path).name: photo.target for photo in photos}


def test_a_folder_is_read_in_order_and_subfolders_on_request(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.JPG", "notes.txt", ".hidden.jpg", "z/c.webp", "d/e/f.gif", ".cache/g.png")
    flat = list_photos([str(tmp_path)])
    assert [Path(photo.path).name for photo in flat] == ["a.JPG", "b.png"]
    deep = list_photos([str(tmp_path)], recursive=True)
    assert [photo.target for photo in deep] == ["a", "b", "d/e/f", "z/c"]


def test_links_to_folders_are_followed_unless_they_lead_back(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png", "in/deep/b.png", "else/c.png", "else/more/d.png")
    try:
        for link, target in (
            ("in/up", "."), ("in/self", "in"), ("in/again", "in/deep"), ("in/linked", "else"), ("in/twice", "else"),
            ("else/back", "in"), ("else/more/loop", "else"),
        ):  # fmt: skip
            (tmp_path / link).symlink_to(tmp_path / target, target_is_directory=True)
    except OSError:
        pytest.skip("links are not supported")
    said: list[str] = []
    found = list_photos([str(tmp_path / "in")], recursive=True, note=said.append)
    assert [photo.target for photo in found] == ["a", "deep/b", "linked/c", "linked/more/d"]
    assert 'linked folders that are read elsewhere: 6 ("again", ...)' in said[0]


def test_photos_given_repeatedly_are_listed_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    given = [str(tmp_path / "b.png"), str(tmp_path), str(tmp_path / "*.png"), str(tmp_path / "." / "a.png")]
    assert [Path(photo.path).name for photo in list_photos(given)] == ["b.png", "a.png"]


def test_readable_extensions_and_a_count_of_other_files(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.JFIF", "c.avif", "d.jpe", "e.tiff", "f.heic", "G.HEIC", "noending")
    touch(tmp_path, "README.md", "notes.txt", "labels.JSON")
    touch(tmp_path, "._a.jpg", ".DS_Store", "__MACOSX/._b.jpg", ".ipynb_checkpoints/a.jpg", "more/h.bmp", "Thumbs.db")
    said: list[str] = []
    found = list_photos([str(tmp_path)], recursive=True, note=said.append)
    assert [Path(photo.path).name for photo in found] == ["a.jpg", "b.JFIF", "c.avif", "d.jpe", "e.tiff", "h.bmp"]
    assert said == [
        f'Skipped in "{tmp_path}": .heic files: 2 ("G.HEIC", ...); '
        'files without an extension: 1 ("noending"); hidden files: 1 ("._a.jpg"); '
        'hidden folders: 2 (".ipynb_checkpoints", ...). Photos end in '
        ".jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .tif, .tiff, .gif, .avif."
    ]
    said.clear()
    assert "h.bmp" not in {Path(photo.path).name for photo in list_photos([str(tmp_path)], note=said.append)}
    assert 'folders: 1 ("more")' in said[0]


def test_results_in_every_format_are_not_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "d/b.png", "index.jsonl")
    owned: dict[str, tuple[str, int, int]] = {}
    for path in ("a.png", "d/b.png"):
        target = path.removesuffix(".png")
        owned[target] = (str(tmp_path / path), *version(str(tmp_path / path)))
        touch(tmp_path, *(file_of(kind, target).as_posix() for kind in (*FILES, *WRITERS)))
    touch(tmp_path, "yolo/data.yaml", "d/mine-overlay.png", "d/mine.heic")
    said: list[str] = []
    found = list_photos([str(tmp_path)], True, tmp_path, owned, said.append)
    assert [photo.target for photo in found] == ["a", "d/b", "d/mine-overlay"]
    assert said == [
        f'Skipped in "{tmp_path}": .heic files: 1 ("d/mine.heic"). Photos end in {", ".join(PHOTO_SUFFIXES)}.'
    ]
    said.clear()
    touch(tmp_path / "flat", "a.png", "index.jsonl", "a-cvat.xml", "a-label-studio.json", "a-coco-instances.json")
    assert list_photos([str(tmp_path / "flat")], output=tmp_path / "flat", note=said.append) and not said


def test_a_relative_path_is_the_same_photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "photos/a.jpg")
    monkeypatch.chdir(tmp_path)
    owned = {"a": ("photos/a.jpg", 7, 7)}  # the photo has changed since
    for given in ("photos/a.jpg", "photos/../photos/a.jpg", str(tmp_path / "photos" / "a.jpg")):
        (photo,) = list_photos([given], owners=owned)
        assert photo.stem == "a", given


def test_the_runs_own_results_are_not_reported(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "index.jsonl", "index-1-of-2.jsonl", "out/index.jsonl")
    touch(tmp_path, *(f"a-{end}" for end in FILES.values()))
    said: list[str] = []
    assert len(list_photos([str(tmp_path)], output=tmp_path, note=said.append)) == 1
    assert len(said) == 1 and 'folders: 1 ("out")' in said[0] and ".json" not in said[0]
    touch(tmp_path / "clean", "a.png", "out/index.jsonl")
    said.clear()
    assert list_photos([str(tmp_path / "clean")], output=tmp_path / "clean" / "out", note=said.append) and not said


def test_a_name_of_another_photo_is_not_reused(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "a.jpg").write_bytes(b"1")
    (tmp_path / "one" / "a.png").write_bytes(b"22")
    (tmp_path / "two" / "a.jpg").write_bytes(b"333")
    paths = [str(tmp_path / name) for name in ("one/a.jpg", "one/a.png", "two/a.jpg")]
    owned: dict[str, tuple[str, int, int]] = {}
    names = []
    for path in [*paths, paths[0]]:  # one run per path
        (photo,) = list_photos([path], owners=owned)
        names.append(photo.stem)
        owned[photo.target.casefold()] = (path, *version(path))
    assert names == ["a", "a-png", "a-jpg", "a"]
    moved = tmp_path / "moved"
    (tmp_path / "one").rename(moved)
    (photo,) = list_photos([str(moved / "a.jpg")], owners=owned)
    assert photo.stem == "a", "the same file elsewhere"


def test_results_are_not_treated_as_photos(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a-overlay.png", "a-panoptic.png", "a-panoptic.json", "my-overlay.png", "out/b.png")
    names = [photo.target for photo in list_photos([str(tmp_path)], recursive=True, output=tmp_path)]
    assert names == ["a", "my-overlay", "out/b"]
    names = [photo.target for photo in list_photos([str(tmp_path)], recursive=True, output=tmp_path / "out")]
    assert "out/b" not in names


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "b.jpg"], ["a", "b"]),
        (["a.jpg", "a.png", "b.jpg"], ["a-jpg", "a-png", "b"]),
        (["A.jpg", "a.png"], ["A-jpg", "a-png"]),  # the same file on Windows and macOS
        (["a.jpg", "a.png", "a-jpg.gif"], ["a-jpg-gif", "a-jpg", "a-png"]),
    ],
)
def test_results_never_share_a_name(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    touch(tmp_path, *names)
    if len(list(tmp_path.iterdir())) < len(names):
        pytest.skip("this file system is case-insensitive")
    found = [photo.stem for photo in list_photos([str(tmp_path)])]
    assert len({stem.casefold() for stem in found}) == len(names)
    if expected[0] != "a-jpg-gif":
        assert found == expected


def test_two_folders_with_the_same_names(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "deep/one/a.jpg")
    given = [str(tmp_path / name / "*.jpg") for name in ("one", "two", "deep/one")]
    stems = [photo.stem for photo in list_photos(given)]
    assert stems[1] == "two-a" and len(set(stems)) == 3
    again = {photo.path: photo.stem for photo in list_photos(given[::-1])}
    assert [again[photo.path] for photo in list_photos(given)] == stems, "the order of the arguments does not matter"


def test_shares_are_disjoint_complete_and_about_even(tmp_path: Path) -> None:
    photos = [Photo(f"photos/{number:05d}.jpg", "", f"{number:05d}") for number in range(2_000)]
    shares = [photo.share(4) for photo in photos]
    assert set(shares) == {0, 1, 2, 3}
    assert all(400 < shares.count(number) < 600 for number in range(4))
    elsewhere = [photo._replace(path=f"other/mount/{Path(photo.path).name}").share(4) for photo in photos]
    assert elsewhere == shares, "the mount point does not matter"


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_hundred_thousand_names_fit(tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"{number:06d}.jpg").touch()

    def measured() -> tuple[int, int]:
        tracemalloc.start()
        photos = list_photos([str(tmp_path)])
        memory = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(photos) == count
        return memory

    held, peak = np.min([measured(), measured()], axis=0)  # threads of other tests may allocate meanwhile
    assert held < 600 * count and peak < 1_200 * count


def test_empty_folders_and_globs_are_reported(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png")
    with pytest.raises(ImageError, match="--recursive"):
        list_photos([str(tmp_path)])
    with pytest.raises(ImageError, match="No file matches"):
        list_photos([str(tmp_path / "*.gif")])
