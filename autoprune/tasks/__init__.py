"""Models, data sets and metrics by name, and the embedded default."""

from autoprune.tasks.cache import cache_folder
from autoprune.tasks.checkpoints.weights import load_weights, save_weights, weights_hash
from autoprune.tasks.data import Data, DatasetSplit, LoaderSplit, Split, TensorSplit
from autoprune.tasks.datasets.augment import CropFlip
from autoprune.tasks.datasets.contract import data_of
from autoprune.tasks.datasets.sources import load_data
from autoprune.tasks.evaluate import Score, device_of, evaluate, training_mode
from autoprune.tasks.import_reference import is_reference, resolve
from autoprune.tasks.models import load_model
from autoprune.tasks.task import (
    Task,
    binary,
    classification,
    multilabel,
    regression,
    sequence,
    task_by_name,
)
from autoprune.tasks.zoo import digits_resnet, letter_lstm, resnet20

__all__ = [
    "CropFlip",
    "Data",
    "DatasetSplit",
    "LoaderSplit",
    "Score",
    "Split",
    "Task",
    "TensorSplit",
    "binary",
    "cache_folder",
    "classification",
    "data_of",
    "device_of",
    "digits_resnet",
    "evaluate",
    "is_reference",
    "letter_lstm",
    "load_data",
    "load_model",
    "load_weights",
    "multilabel",
    "regression",
    "resnet20",
    "resolve",
    "save_weights",
    "sequence",
    "task_by_name",
    "training_mode",
    "weights_hash",
]
