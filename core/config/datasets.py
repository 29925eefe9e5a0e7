"""Shape and classes of datasets, and the published files: names, sizes and SHA-256 digests."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import NamedTuple

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

    channels: int = 1  # 1: gray, 3: RGB
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

    def to_json(self) -> str:
        """The values as JSON, the same for equal values."""
        return json.dumps(asdict(self))

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


class ImageOptions(NamedTuple):
    """How images of the user's own are converted."""

    mode: str = "auto"  # "L": gray, "RGB", or "auto": gray if all images are
    size: tuple[int, ...] | None = None  # height and width, or one number for both; None: that of the images
    resize: str = "crop"  # "crop", "pad" or "stretch"
    strict: bool = False  # whether a file that cannot be read is an error


def is_path(dataset: str) -> bool:
    """Whether a dataset is a path to the user's own images, not a name: with a slash, or starting with ~ or a dot."""
    return os.sep in dataset or dataset.startswith(("~", "."))


def missing_source(path: object) -> str:
    """The message for a path to images where nothing is."""
    return f"there is no {path}; use a folder of images, or an array or Parquet file"


CHARACTERS = ("auto", "mnist", "kmnist", "glyphs")  # datasets of light characters on black
DIGITS = DatasetInfo()
_FASHION = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
_HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
_SPRITES = (
    *("ghost", "mushroom", "potion", "heart", "sword", "tree"),
    *("house", "fish", "cat", "robot", "crown", "rocket"),
)
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
INFO = {
    "mnist": DIGITS,
    "fashion-mnist": DatasetInfo(class_names=_FASHION),
    "kmnist": DatasetInfo(class_names=_HIRAGANA),
    "cifar10": DatasetInfo(channels=3, height=32, width=32, class_names=_CIFAR10),
    "glyphs": DIGITS,
    "sprites": DatasetInfo(channels=3, height=16, width=16, class_names=_SPRITES),
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


@dataclass(frozen=True)
class RecordFile:
    """One published file of records of a label and an image."""

    name: str
    records: int
    sha256: str


@dataclass(frozen=True)
class RecordSource:
    """A dataset published as an archive with a folder of record files."""

    title: str
    url: str
    archive_bytes: int
    archive_sha256: str
    folder: str  # in the archive and beside it
    splits: dict[str, tuple[RecordFile, ...]]

    @property
    def archive(self) -> str:
        """Name of the archive."""
        return self.url.rpartition("/")[2]


# The binary version (https://www.cs.toronto.edu/~kriz/cifar.html); the Python version is a pickle. Size and SHA-256 of
# the archive are those of TensorFlow Datasets (tensorflow/datasets: tensorflow_datasets/url_checksums/cifar10.txt), the
# SHA-256 of its files those of ankane/torchvision-ruby (lib/torchvision/datasets/cifar10.rb).
CIFAR10 = RecordSource(
    title="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    archive_bytes=170_052_171,
    archive_sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder="cifar-10-batches-bin",
    splits={
        "train": tuple(
            RecordFile(f"data_batch_{number}.bin", 10_000, sha256)
            for number, sha256 in enumerate(
                (
                    "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
                    "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
                    "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
                    "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
                    "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
                ),
                start=1,
            )
        ),
        "test": (
            RecordFile("test_batch.bin", 10_000, "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"),
        ),
    },
)
