"""Shape and classes of datasets, and the published files: names, sizes and SHA-256 digests."""

from __future__ import annotations

from dataclasses import dataclass

IMAGE_SIZE = 28  # height and width of MNIST-like images, in pixels
CLASSES = 10  # of MNIST-like datasets
MIN_SIDE, MAX_SIDE = 8, 256  # of images, in pixels
MAX_CLASSES = 1000
MAX_CLASS_NAME = 64  # characters


@dataclass(frozen=True)
class DatasetInfo:
    """Shape and classes of a dataset's images.

    Raises:
        ValueError: A value is out of range.
    """

    channels: int = 1  # 1: grey, 3: RGB
    height: int = IMAGE_SIZE
    width: int = IMAGE_SIZE
    class_names: tuple[str, ...] = tuple(map(str, range(CLASSES)))  # () for a dataset without labels

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"images have 1 or 3 channels, not {self.channels}")
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in (self.height, self.width)):
            raise ValueError(f"images have sides of {MIN_SIDE} to {MAX_SIDE} pixels, not {self.height}x{self.width}")
        if len(self.class_names) > MAX_CLASSES:
            raise ValueError(f"at most {MAX_CLASSES:,} classes are supported, not {len(self.class_names):,}")
        for name in self.class_names:
            if not (0 < len(name) <= MAX_CLASS_NAME and name.isprintable()):
                raise ValueError(f"a class name has 1 to {MAX_CLASS_NAME} printable characters, unlike {name[:80]!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image: channels, height, width."""
        return self.channels, self.height, self.width

    @property
    def classes(self) -> int:
        """Number of classes; 0 for a dataset without labels."""
        return len(self.class_names)

    @property
    def null_class(self) -> int:
        """Label of the null class, for unconditional predictions."""
        return self.classes


DIGITS = DatasetInfo()
_FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
INFO = {
    "mnist": DIGITS,
    "fashion-mnist": DatasetInfo(class_names=_FASHION),
    "kmnist": DatasetInfo(class_names=_HIRAGANA),
    "glyphs": DIGITS,
    "auto": DIGITS,
}


@dataclass(frozen=True)
class File:
    """One published file, stored as the gzip archive `name.gz` or uncompressed as `name`."""

    name: str
    shape: tuple[int, ...]  # required in the IDX header
    archive_bytes: int  # of the published archive
    archive_sha256: str
    sha256: str | None  # of the uncompressed content; None if no source that we could check publishes it


@dataclass(frozen=True)
class Source:
    """A dataset: its title, its folder and class name in torchvision, and images and labels of each split."""

    title: str
    folder: str
    splits: dict[str, tuple[File, File]]


def _source(title: str, folder: str, *rows: tuple[int, str, str | None]) -> Source:
    """A set of 60,000 + 10,000 images; `rows` are training images and labels, then test images and labels."""
    files = []
    for (archive_bytes, archive_sha256, sha256), (part, count, kind) in zip(
        rows,
        [(part, count, kind) for part, count in (("train", 60_000), ("t10k", 10_000)) for kind in ("images", "labels")],
        strict=True,
    ):
        shape = (count, IMAGE_SIZE, IMAGE_SIZE) if kind == "images" else (count,)
        name = f"{part}-{kind}-idx{len(shape)}-ubyte"
        files.append(File(name, shape, archive_bytes, archive_sha256, sha256))
    return Source(title, folder, {"train": (files[0], files[1]), "test": (files[2], files[3])})


SOURCES = {
    "mnist": _source(
        "MNIST",
        "MNIST",
        (
            9_912_422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            28_881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            1_648_877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        (
            4_542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion-mnist": _source(
        "Fashion-MNIST",
        "FashionMNIST",
        (
            26_421_880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        (
            29_515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        (
            4_422_102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        (
            5_148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    "kmnist": _source(
        "KMNIST",
        "KMNIST",
        (18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", None),
        (29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", None),
        (3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5", None),
        (5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", None),
    ),
}
