"""TrainConfig: presets, limits, TOML, and error messages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError
from repository import REPOSITORY

from core import MinidiffError
from core.config.datasets import IMAGE_SIZE, MAX_CLASS_NAME, MAX_CLASSES, DatasetInfo
from core.config.training import PREDICTIONS, TrainConfig, option_fields
from core.errors import ConfigError


def test_the_default_recipe_is_noise_level_and_class_conditional_on_the_linear_path() -> None:
    config = TrainConfig()
    assert (config.preset, config.model) == ("default", "patch_unet")
    assert (config.path, config.prediction) == ("flow", "velocity")
    assert (config.time_conditioning, config.class_conditional, config.dataset, config.root) == (
        True,
        True,
        "auto",
        None,
    )


def test_options_override_a_preset() -> None:
    assert TrainConfig(preset="tutorial").model == "unet2d"
    assert TrainConfig(preset="tutorial", model="basic_unet").model == "basic_unet"
    assert TrainConfig(preset="tutorial", epochs=3).epochs == 3


def test_only_options_given_by_the_caller_count_as_set() -> None:
    assert TrainConfig(preset="tutorial", epochs=3).model_fields_set == {"preset", "epochs"}


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        TrainConfig().epochs = 3  # type: ignore[misc]


def test_changed_validates_again() -> None:
    assert TrainConfig().changed(epochs=4).epochs == 4
    with pytest.raises(ConfigError):
        TrainConfig().changed(epochs=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 0}, ["epochs", "1", "0"]),
        ({"epochs": -3}, ["epochs", "-3"]),
        ({"epochs": 1.5}, ["epochs", "1.5"]),
        ({"batch_size": 0}, ["batch_size", "0"]),
        ({"batch_size": "many"}, ["batch_size", "many"]),
        ({"learning_rate": 0}, ["learning_rate", "0"]),
        ({"learning_rate": float("nan")}, ["learning_rate", "nan"]),
        ({"limit": 0}, ["limit", "0"]),
        ({"threads": 0}, ["threads"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"seed": 2**63}, ["seed"]),
        ({"preset": "fast"}, ["preset", "'quick' or 'tutorial'", "fast"]),
        ({"model": "gan"}, ["model", "unet2d", "gan"]),
        ({"dataset": "cifar"}, ["dataset", "cifar10", "./cifar"]),
        ({"device": "tpu"}, ["device", "cuda:N", "tpu"]),
        ({"device": "cuda:x"}, ["device", "cuda:x"]),
        ({"name": "a/b"}, ["name", "a/b"]),
        ({"name": ".."}, ["name", ".."]),
        ({"name": "-rf"}, ["name", "-rf"]),
        ({"name": ""}, ["name"]),
        ({"name": "a" * 65}, ["name", "64"]),
        ({"name": "a\n"}, ["name"]),
        ({"channels": ()}, ["channels"]),
        ({"channels": (0,)}, ["channels", "0"]),
        ({"preset": "quick", "channels": (32,) * 4}, ["channels", "divisible by 8, not 28x28", "24x24 and 32x32"]),
        ({"preset": "tutorial", "channels": (8, 8)}, ["channels", "multiples of 32"]),
        ({"preset": "quick", "layers_per_block": 2}, ["layers_per_block", "basic_unet"]),
        ({"channels": (8, 8)}, ["channels", "patch_unet", "multiples of 16"]),
        ({"channels": (32,)}, ["channels", "patch_unet", "two"]),
        ({"path": "vp"}, ["prediction", "vp", "clean, noise, v", "velocity"]),
        ({"prediction": "v"}, ["prediction", "flow", "clean, noise, velocity"]),
        ({"weighting": "v"}, ["weighting", "v"]),
        ({"preset": "quick", "time_conditioning": True}, ["time_conditioning", "basic_unet"]),
        ({"preset": "tutorial", "class_conditional": True}, ["class_conditional", "unet2d", "time_conditioning"]),
        ({"preset": "quick", "size": "tiny"}, ["size", "basic_unet"]),
        ({"limt": 3}, ["limt", "limit"]),
        ({"quality": 3}, ["quality", "epochs"]),
    ],
)
def test_an_invalid_option_is_a_one_line_error_that_names_it(options: dict[str, object], words: list[str]) -> None:
    with pytest.raises(MinidiffError) as caught:
        TrainConfig(**options)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


@pytest.mark.parametrize("channels", [(1,), (8, 16), (32, 64, 64)])
def test_every_depth_that_divides_the_image_is_allowed(channels: tuple[int, ...]) -> None:
    assert IMAGE_SIZE % 2 ** (len(channels) - 1) == 0
    assert TrainConfig(preset="quick", channels=channels).model_options["channels"] == channels


def test_every_supported_pair_of_path_and_prediction_is_a_config() -> None:
    for path, predictions in PREDICTIONS.items():
        for prediction in predictions:
            assert TrainConfig(path=path, prediction=prediction).prediction == prediction


def test_basic_unet_defaults_to_no_conditioning() -> None:
    config = TrainConfig(model="basic_unet")
    assert (config.path, config.time_conditioning, config.class_conditional) == ("flow", False, False)


@pytest.mark.parametrize(
    ("size", "channels"), [("tiny", (32, 64)), ("small", (48, 96)), ("base", (64, 128)), ("large", (96, 192))]
)
def test_a_size_sets_the_channels_of_patch_unet(size: str, channels: tuple[int, int]) -> None:
    assert TrainConfig(size=size).model_options["channels"] == channels
    assert TrainConfig(size=size, channels=(16, 16)).model_options["channels"] == (16, 16)


def test_a_config_survives_a_toml_round_trip(tmp_path: Path) -> None:
    config = TrainConfig(
        preset="tutorial", name="x", limit=5, data_root=Path("/data"), layers_per_block=3, learning_rate=3e-4
    )
    (tmp_path / "config.toml").write_text(config.to_toml())
    assert TrainConfig.from_toml(tmp_path / "config.toml") == config


def test_toml_omits_the_root(tmp_path: Path) -> None:
    assert "root =" not in TrainConfig(root=tmp_path).to_toml().replace("data_root =", "")


def test_handwritten_toml_needs_only_the_options_that_differ(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('preset = "tutorial"\nepochs = 2\n')
    config = TrainConfig.from_toml(tmp_path / "mine.toml")
    assert (config.model, config.epochs, config.batch_size) == ("unet2d", 2, 128)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"epochs = ", "TOML"),
        (b"\xff\xfe", "TOML"),
        (b"epochs = 0", "epochs"),
        (b"speed = 1", "speed"),
        (b"[epochs]\na = 1", "epochs"),
    ],
)
def test_damaged_toml_is_a_one_line_error_that_names_the_file(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        TrainConfig.from_toml(tmp_path / "bad.toml")
    assert "bad.toml" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_toml_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        TrainConfig.from_toml(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="directory"):
        TrainConfig.from_toml(tmp_path)


def test_a_config_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIDIFF_EPOCHS", "7")
    monkeypatch.setenv("EPOCHS", "7")
    assert TrainConfig() == TrainConfig(epochs=option_fields()["epochs"].default)


def test_every_option_is_declared_with_a_group_and_a_description() -> None:
    for name, field in option_fields().items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["group"], name


def test_the_options_table_in_the_docs_is_up_to_date() -> None:
    """`python docs/make_options.py` writes it."""
    import runpy

    made = runpy.run_path(str(REPOSITORY / "docs" / "make_options.py"))["options_page"]()
    assert (REPOSITORY / "docs" / "options.md").read_text(encoding="utf-8") == made


@pytest.mark.parametrize(
    "text",
    [
        "seed = 0x" + "f" * 5000,
        "device = 0x" + "f" * 5000,
        "name = 0x" + "f" * 5000,
        "preset = 0x" + "f" * 5000,
        "seed = " + "9" * 5000,
        "x = " + "[" * 4000,
        "x = " + "{a=" * 2000,
        "seed" + ".a" * 4000 + " = 1",
        "preset" + ".a" * 4000 + " = 1",
        "learning_rate = nan",
        "learning_rate = inf",
        "label_dropout = nan",
        "ema = -nan",
        "epochs = 1e400",
        "warmup = 10000000000000000000000",
        "limit = 10000000000000000000000",
        "eval_every = 10000000000000000000000",
        'device = "cuda:99999999999999999999"',
        'device = "cpu\\n"',
        'name = "a\\n"',
        'data_root = "a\\u0000b"',
        "#" * 2**20,
        "\0",
    ],
)
def test_an_inconsistent_config_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_toml(tmp_path / "c.toml")
    assert str(caught.value).isprintable()


def test_a_pipe_in_place_of_a_config_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "c.toml")
    with pytest.raises(ConfigError, match="not a regular file"):
        TrainConfig.from_toml(tmp_path / "c.toml")


def of_size(height: int, width: int, **options: object) -> TrainConfig:
    return TrainConfig(dataset_info=DatasetInfo(height=height, width=width, channels=3), **options)


@pytest.mark.parametrize(
    ("height", "width", "patch", "levels"),
    [
        *[(8, 8, 1, 2), (16, 16, 1, 2), (17, 9, 2, 2), (28, 28, 2, 2), (32, 32, 2, 2)],
        *[(64, 48, 2, 3), (65, 20, 4, 3), (128, 128, 4, 3), (256, 256, 8, 3)],
    ],
)
def test_patch_and_levels_of_patch_unet_follow_from_the_image_size(
    height: int, width: int, patch: int, levels: int
) -> None:
    options = of_size(height, width).model_options
    assert (options["patch"], len(options["channels"])) == (patch, levels)
    assert (options["in_channels"], options["out_channels"]) == (3, 3)


@pytest.mark.parametrize("model", ["unet2d", "basic_unet"])
def test_an_image_size_that_a_network_cannot_halve_is_refused_with_the_nearest_ones(model: str) -> None:
    with pytest.raises(ConfigError, match="divisible by 4, not 30x45; the nearest sizes are 28x44 and 32x48"):
        of_size(30, 45, model=model)
    assert of_size(30, 45, model=model, channels=(32,)).model_options["channels"] == (32,)


def test_images_without_labels_exclude_class_conditioning() -> None:
    unlabelled = DatasetInfo(class_names=())
    with pytest.raises(ConfigError, match="have no labels; use --no-class-conditional"):
        TrainConfig(dataset_info=unlabelled)
    assert TrainConfig(dataset_info=unlabelled, class_conditional=False).info.classes == 0


def test_shape_and_class_names_survive_a_toml_round_trip(tmp_path: Path) -> None:
    config = TrainConfig(
        dataset_info=DatasetInfo(channels=3, height=20, width=12, class_names=("cat", "hot dog", "\U0001f600"))
    )
    (tmp_path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    assert TrainConfig.from_toml(tmp_path / "config.toml") == config


@pytest.mark.parametrize("character", ["\U0001f600", '"', "\\"])
def test_a_thousand_of_the_longest_class_names_survive_a_toml_round_trip(tmp_path: Path, character: str) -> None:
    config = TrainConfig(dataset_info=DatasetInfo(class_names=(character * MAX_CLASS_NAME,) * MAX_CLASSES))
    (tmp_path / "config.toml").write_text(config.to_toml(), encoding="utf-8")
    assert TrainConfig.from_toml(tmp_path / "config.toml") == config


@pytest.mark.parametrize("text", [".".join("a" * 30_000) + " = 1\n", '"a".' * 20_000 + '"a" = 1\n'])
def test_long_dotted_keys_which_take_seconds_to_parse_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.toml").write_text('names = [\n    "a",\n]\n' + text)
    with pytest.raises(ConfigError, match="larger than 8,192 bytes without class names"):
        TrainConfig.from_toml(tmp_path / "c.toml")
