"""The resolved configuration of a run: one frozen section per stage, validated when it is loaded.

`load_config(path, overrides)` reads a YAML file, applies `dotted.key=value` overrides and returns a `Config`. An
unknown key, a wrong type or a value out of range is a `ConfigError` that names the dotted key, what was given and
what is allowed.
"""

from vsspark.config.catalogue import CatalogueConfig as CatalogueConfig
from vsspark.config.catalogue import ColumnsConfig as ColumnsConfig
from vsspark.config.catalogue import CsvConfig as CsvConfig
from vsspark.config.encoder import EncoderConfig as EncoderConfig
from vsspark.config.encoder import PreprocessingConfig as PreprocessingConfig
from vsspark.config.load import load_config as load_config
from vsspark.config.load import load_settings as load_settings
from vsspark.config.load import recorded_settings as recorded_settings
from vsspark.config.recommend import ListConfig as ListConfig
from vsspark.config.recommend import PriceConfig as PriceConfig
from vsspark.config.recommend import RecommendConfig as RecommendConfig
from vsspark.config.sections import BlockingConfig as BlockingConfig
from vsspark.config.sections import Config as Config
from vsspark.config.sections import DemoConfig as DemoConfig
from vsspark.config.sections import EvaluationConfig as EvaluationConfig
from vsspark.config.sections import GateConfig as GateConfig
from vsspark.config.sections import ImagesConfig as ImagesConfig
from vsspark.config.sections import KnnConfig as KnnConfig
from vsspark.config.sections import LiveConfig as LiveConfig
from vsspark.config.sections import MlflowConfig as MlflowConfig
from vsspark.config.sections import OutputConfig as OutputConfig
from vsspark.config.training import TrainingConfig as TrainingConfig
