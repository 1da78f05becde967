"""The image loader: supported input, decoded pixels, and error messages."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from eovseg.errors import ImageError
from eovseg.images import load_image, network_size, photo_size, resize_for_network

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def _png(path: Path, tail: bytes = b"", **options: object) -> Path:
    """A PNG of 30 x 20 pixels, with additional chunks after its pixels."""
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "PNG", **options)
    whole = buffer.getvalue()
    path.write_bytes(whole[:-12] + tail + whole[-12:])
    return path


def _chunk(kind: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 6, 255 - x * 4], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(
    ("suffix", "options", "exact"),
    [
        ("png", {}, True),
        ("bmp", {}, True),
        ("tif", {"compression": "tiff_lzw"}, True),
        ("webp", {"lossless": True}, True),
        ("jpg", {"quality": 95}, False),
        ("gif", {}, False),
    ],
)
def test_formats(tmp_path: Path, suffix: str, options: dict[str, object], exact: bool) -> None:
    pixels = gradient()
    loaded = load_image(str(saved(Image.fromarray(pixels), tmp_path / f"photo.{suffix}", **options)))
    assert loaded.dtype == np.uint8
    assert loaded.shape == (40, 60, 3)
    difference = np.abs(loaded.astype(int) - pixels).mean()
    assert difference == 0 if exact else difference < 12


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = saved(Image.new("RGB", (4, 3), RED), tmp_path / "photo.png").rename(tmp_path / "photo.JPG")
    assert (load_image(path) == RED).all()


@pytest.mark.parametrize(
    ("mode", "fill", "expected"),
    [
        ("1", 1, WHITE),
        ("L", 77, (77, 77, 77)),
        ("LA", (0, 0), WHITE),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("CMYK", (0, 255, 255, 0), RED),
        ("YCbCr", (255, 128, 128), WHITE),
        ("HSV", (0, 255, 255), RED),
        ("I;16", 65_535, WHITE),
        ("I;16", 32_768, (128, 128, 128)),
        ("I", 65_535, WHITE),
        ("F", 1.0, WHITE),
        ("F", 128.0, (128, 128, 128)),
    ],
)
def test_pil_modes(mode: str, fill: object, expected: tuple[int, int, int]) -> None:
    loaded = load_image(Image.new(mode, (5, 4), fill))  # type: ignore[arg-type]
    assert loaded.shape == (4, 5, 3)
    assert np.unique(loaded.reshape(-1, 3), axis=0).tolist() == [list(expected)]


def test_palette_with_transparency_shows_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    assert load_image(saved(image, tmp_path / "plain.png"))[0].tolist() == [list(RED), list(BLUE)]
    assert load_image(saved(image, tmp_path / "clear.png", transparency=0))[0].tolist() == [list(WHITE), list(BLUE)]


def test_16_bit_png(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65_535]], dtype=np.uint16)
    assert load_image(saved(Image.fromarray(values), tmp_path / "deep.png"))[0, :, 0].tolist() == [0, 1, 255]


def test_cmyk_jpeg(tmp_path: Path) -> None:
    loaded = load_image(saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), tmp_path / "print.jpg"))
    np.testing.assert_allclose(loaded.mean((0, 1)), (0, 255, 255), atol=4)


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (0, 2)), (3, (1, 2)), (4, (1, 0)), (5, (0, 0)), (6, (0, 1)), (7, (2, 1)), (8, (2, 0))],
)
def test_exif_rotation(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (3, 2))
    image.putpixel((0, 0), RED)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(image, tmp_path / "turned.png", exif=exif)
    for source in (path, Image.open(path)):
        loaded = load_image(source)
        assert loaded.shape[:2] == ((2, 3) if orientation < 5 else (3, 2))
        assert np.argwhere(loaded[..., 0] == 255).tolist() == [list(corner)]


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    path = saved(frames[0], tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert (load_image(path) == RED).all()


def test_a_multi_picture_jpeg_of_a_phone(tmp_path: Path) -> None:
    image = Image.new("RGB", (16, 16), BLUE)
    path = saved(image, tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[image])
    with Image.open(path) as written:
        assert written.format == "MPO"
    np.testing.assert_allclose(load_image(path).mean((0, 1)), BLUE, atol=4)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[7]], dtype=np.uint8), (7, 7, 7)),
        (np.array([[[7]]], dtype=np.uint8), (7, 7, 7)),
        (np.array([[[1, 2, 3]]], dtype=np.uint8), (1, 2, 3)),
        (np.array([[[1, 2, 3, 0]]], dtype=np.uint8), WHITE),
        (np.array([[[10, 20, 30, 128]]], dtype=np.uint8), (132, 137, 142)),
        (np.array([[65_535]], dtype=np.uint16), WHITE),
        (np.array([[[0, 257, 514]]], dtype=np.uint16), (0, 1, 2)),
        (np.array([[0.5]]), (128, 128, 128)),
        (np.array([[[0, 1, 0.2]]], dtype=np.float32), (0, 255, 51)),
        (np.array([[True]]), WHITE),
    ],
)
def test_arrays(array: np.ndarray, expected: tuple[int, int, int]) -> None:
    loaded = load_image(array)
    assert loaded.shape == (1, 1, 3)
    assert loaded.dtype == np.uint8
    assert loaded[0, 0].tolist() == list(expected)


def test_the_result_is_a_copy() -> None:
    pixels = gradient()
    loaded = load_image(pixels)
    loaded[:] = 0
    assert pixels.any()
    assert load_image(pixels[:, ::-1]).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (
            np.zeros((3, 40, 60), dtype=np.uint8),
            r"must have the shape \(H, W\) or \(H, W, 1, 3 or 4\), not \(3, 40, 60\)",
        ),
        (np.zeros(5, dtype=np.uint8), r"must have the shape .*, not \(5,\)"),
        (np.zeros((0, 5), dtype=np.uint8), "no pixels"),
        (np.full((2, 2), 255.0), "finite values from 0 to 1"),
        (np.full((2, 2), np.nan), "finite values from 0 to 1"),
        (np.zeros((2, 2), dtype=np.int64), "not int64"),
        (np.zeros((2, 101), dtype=np.uint8), "101 x 2 pixels; the aspect ratio must be at most 50:1"),
    ],
)
def test_unusable_arrays(array: np.ndarray, sentence: str) -> None:
    with pytest.raises(ImageError, match=sentence):
        load_image(array)


def test_other_types_are_refused() -> None:
    with pytest.raises(ImageError, match="not bytes"):
        load_image(b"photo")  # type: ignore[arg-type]


def test_smallest_and_longest(tmp_path: Path) -> None:
    assert load_image(saved(Image.new("RGB", (1, 1), RED), tmp_path / "dot.png")).tolist() == [[list(RED)]]
    assert load_image(saved(Image.new("RGB", (1500, 30)), tmp_path / "wide.png")).shape == (30, 1500, 3)
    with pytest.raises(ImageError, match=r'^"strip.png" is 20,000 x 30 pixels; the aspect ratio must be at most 50:1'):
        load_image(saved(Image.new("RGB", (20_000, 30)), tmp_path / "strip.png"))


def test_too_many_pixels(tmp_path: Path) -> None:
    path = saved(Image.new("L", (101, 100)), tmp_path / "large.png")
    assert load_image(path, max_pixels=10_100).shape == (100, 101, 3)
    with Image.open(path) as opened:
        for source in (path, opened, np.zeros((100, 101), dtype=np.uint8)):
            with pytest.raises(ImageError, match=r"is too large: at most 0\.01 million pixels"):
                load_image(source, max_pixels=10_000)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_decompression_bombs_are_not_decoded(tmp_path: Path, side: int) -> None:
    # A PNG with a huge size in its header and no rows: decoding it would give another error.
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)
    (tmp_path / "bomb.png").write_bytes(content)
    with pytest.raises(ImageError, match=r'^"bomb.png".* is too large: at most 64 million pixels'):
        load_image(tmp_path / "bomb.png")


def jpeg_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(gradient(200, 300)[:, :, ::-1]).save(buffer, "JPEG")
    return buffer.getvalue()


def png_bytes() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(gradient(200, 300)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.jpg", b"", "is empty"),
        ("notes.jpg", b"Dear diary, today I took no photo.", "is not a readable photo"),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is not a readable photo"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a readable photo"),
        ("cut.jpg", jpeg_bytes()[:2000], "is damaged or truncated"),
        ("cut.png", png_bytes()[:600], "is damaged or truncated"),
        ("header.jpg", jpeg_bytes()[:10], "is not a readable photo"),
        ("noise.png", png_bytes()[:60] + bytes(range(256)) * 4, "is damaged or truncated"),
    ],
)
def test_unusable_files(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=sentence) as caught:
        load_image(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(f'"{name}"')
    assert "JPEG, PNG, WebP, BMP, TIFF, GIF and AVIF" in message
    assert str(tmp_path) not in message
    assert "\n" not in message


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r'nowhere.jpg" was not found \(JPEG'):
        load_image(tmp_path / "nowhere.jpg")
    with pytest.raises(ImageError, match='The photo or folder "nowhere" was not found'):
        load_image(tmp_path / "nowhere")
    with pytest.raises(ImageError, match="is a folder"):
        load_image(tmp_path)
    with pytest.raises(ImageError, match="was not found"):
        load_image("nul\0byte.jpg")


@pytest.mark.parametrize(
    ("place", "error", "sentence"),
    [
        ("PIL.Image.open", PermissionError(13, "Permission denied"), '"dot.png" cannot be read: Permission denied.'),
        ("PIL.Image.open", OSError(24, "Too many open files"), '"dot.png" cannot be read: Too many open files.'),
        ("PIL.PngImagePlugin.PngImageFile.load", OSError(5, "Input/output error"), "read: Input/output error."),
        ("PIL.PngImagePlugin.PngImageFile.load", MemoryError(), '"dot.png" needs more memory than available'),
        ("pathlib.Path.stat", OSError(40, "Too many levels of symbolic links"), "Too many levels of symbolic links."),
    ],
)
def test_system_errors_are_not_reported_as_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception, sentence: str
) -> None:
    path = saved(Image.new("RGB", (1, 1)), tmp_path / "dot.png")

    def refuse(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(place, refuse)
        with pytest.raises(ImageError) as caught:
            load_image(path)
    assert sentence in str(caught.value) and "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "expected"),
    [  # (height, width): the short side becomes 640 unless the long one would pass 2560; halves round up
        ((480, 640), (640, 853)),
        ((640, 480), (853, 640)),
        ((427, 640), (640, 959)),
        ((425, 640), (640, 964)),
        ((640, 425), (964, 640)),
        ((640, 640), (640, 640)),
        ((100, 1000), (256, 2560)),
        ((1000, 100), (2560, 256)),
        ((1080, 1920), (640, 1138)),
        ((1, 1), (640, 640)),
        ((30, 1500), (51, 2560)),
        ((1, 10_000), (1, 2560)),
    ],
)
def test_network_size(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert network_size(*size) == expected
    if max(expected) < 1000:
        assert resize_for_network(np.zeros((*size, 3), dtype=np.uint8)).shape == (*expected, 3)


def test_resizing_is_pillows_bilinear_filter() -> None:
    pixels = gradient(50, 80)
    shrunk = resize_for_network(pixels, short_side=20, long_side=100)
    expected = np.asarray(Image.fromarray(pixels).resize((32, 20), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(shrunk, expected)
    # Antialiased: an average over the source pixels, so a checkerboard becomes grey.
    board = np.tile(np.indices((64, 64)).sum(0)[..., None] % 2 * 255, 3).astype(np.uint8)
    assert np.ptp(resize_for_network(board, short_side=8)[2:-2, 2:-2]) < 16


def test_the_size_of_a_png_is_read_without_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    behind = _chunk(b"eXIf", turned.tobytes().removeprefix(b"Exif\0\0"))
    sizes = {
        _png(tmp_path / "plain.png"): (30, 20),
        _png(tmp_path / "turned.png", exif=turned): (20, 30),
        _png(tmp_path / "behind.png", behind): (20, 30),
    }
    for path, size in sizes.items():
        assert photo_size(path) == load_image(path).shape[1::-1] == size, path.name
    square = tmp_path / "square.png"
    Image.new("L", (9, 9)).save(square)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda _: pytest.fail("the pixels were decoded"))
    assert photo_size(tmp_path / "plain.png") == (30, 20)
    assert photo_size(tmp_path / "turned.png") == (20, 30)
    assert photo_size(square) == (9, 9)
